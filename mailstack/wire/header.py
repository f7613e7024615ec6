"""The header section of a message: found in the stream, looked at, edited, all over raw octets (RFC 5322).

`HeaderSplitter` takes the decoded octets of a message and tells header section from body. `Header` is an immutable view
of the section: every edit returns a new one, so that keeping the old one is the undo.

    splitter = HeaderSplitter()
    body = splitter.feed(octets)
    if splitter.complete:
        header = Header(splitter.raw).prepend("X-Spam-Flag", "YES")

Promises: an edit leaves the octets of all other fields as they came, folding, odd spacing and lines that are no fields
included. What `format_field` builds is one field and nothing more, whatever the value.

Failure: ValueError for a name or a value that cannot be written. Reading never fails: what cannot be decoded is shown
with U+FFFD, or as it came. Limits on size are the splitter's `fault`.
"""

import binascii
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.header import Header as EncodedHeader
from encodings import normalize_encoding
from encodings.aliases import aliases
from itertools import groupby
from operator import itemgetter
from typing import Final, overload

import idna

from .slots import setters

_CRLF: Final = b"\r\n"
_SECTION_END: Final = b"\r\n\r\n"
_LINE_SOFT: Final = 78  # RFC 5322 §2.1.1, octets without CRLF
_LINE_HARD: Final = 998

_FTEXT: Final = re.compile(r"[!-9;-~]+")  # RFC 5322 §3.6.8
_FIELD_NAME: Final = re.compile(rb"([!-9;-~]+)[ \t]*:")  # blanks before the colon: RFC 5322 §4.5
_UNFINISHED_NAME: Final = re.compile(rb"\r?|[!-9;-~]+[ \t]*")
_PART_END: Final = re.compile(rb"\r\n(?![ \t])")  # what begins with a blank continues the line before it
_FOLD: Final = re.compile(r"\r\n(?=[ \t]+[^ \t\r])")  # a line of blanks only is no folding
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")  # C0, C1 and Unicode's line ends
_BLANKS_AND_WORD: Final = re.compile(rb"[ \t]*[^ \t]+(?:[ \t]+\Z)?")


@dataclass(frozen=True, slots=True)
class Field:
    """One header field: `name` as written, `raw` with its folding and the CRLF at its end."""

    name: str
    raw: bytes

    @property
    def value(self) -> str:
        """The value unfolded and stripped, as UTF-8; encoded words (RFC 2047) are left as they are."""
        return self.raw.partition(b":")[2].replace(_CRLF, b"").strip(b" \t").decode("utf-8", "replace")

    @property
    def decoded(self) -> str:
        """The value with its encoded words decoded. Any character may come out of one, line breaks included."""
        return _ENCODED_WORDS.sub(_decode_words, self.value)


@dataclass(frozen=True, slots=True, init=False)
class Header:
    """A header section: the field lines with their CRLF, without the empty line after them.

    Field names compare without case. A line that is no field (no colon), with its continuations, is kept in `raw` but
    is not among the `fields`.
    """

    raw: bytes
    _parts: tuple[Field, ...] | None = field(repr=False, compare=False)

    def __init__(self, raw: bytes = b"") -> None:
        _set_raw(self, raw)
        _set_parts(self, None)

    @property
    def parts(self) -> tuple[Field, ...]:
        """The whole section in order; what is no field has an empty name. Parsed when first asked for."""
        if self._parts is None:
            _set_parts(self, _parse(self.raw))
        return self._parts or ()

    @property
    def fields(self) -> tuple[Field, ...]:
        return tuple(part for part in self.parts if part.name)

    def __len__(self) -> int:
        return len(self.fields)

    def __bool__(self) -> bool:
        return bool(self.raw)

    def __contains__(self, name: str) -> bool:
        return any(True for _ in self._named(name))

    def count(self, name: str) -> int:
        return sum(1 for _ in self._named(name))

    @overload
    def get(self, name: str, default: None = None) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of the first field of this name."""
        return next((part.value for part in self._named(name)), default)

    def get_all(self, name: str) -> list[str]:
        return [part.value for part in self._named(name)]

    def prepend(self, name: str, value: str, *, utf8: bool = False) -> "Header":
        """With a new field on top. ValueError as `format_field`."""
        return Header(format_field(name, value, utf8) + self.raw)

    def prepend_raw(self, block: bytes) -> "Header":
        """With fields on top that are formatted already. ValueError unless they are whole lines and no more."""
        lines = block.count(_CRLF)
        whole = block.endswith(_CRLF) and lines == block.count(b"\r") == block.count(b"\n")
        if not whole or b"\0" in block or _SECTION_END in block or not _FIELD_NAME.match(block):
            raise ValueError("not a block of header fields")
        return Header(block + self.raw)

    def append(self, name: str, value: str, *, utf8: bool = False) -> "Header":
        """With a new field at the end. ValueError as `format_field`."""
        gap = b"" if not self.raw or self.raw.endswith(_CRLF) else _CRLF
        return Header(self.raw + gap + format_field(name, value, utf8))

    def replace(self, name: str, value: str, *, utf8: bool = False) -> "Header":
        """With a new value in the place of the first field of this name, or appended. ValueError as `format_field`."""
        old = next(self._named(name), None)
        if old is None:
            return self.append(name, value, utf8=utf8)
        new = format_field(name, value, utf8)
        return self._rewrite(lambda part: new if part is old else part.raw)

    def put_in_front(self, name: str, text: str, *, utf8: bool = False) -> "Header":
        """With this text in front of the value of the first field of this name, whose octets stay; or with a new field.

        ValueError as `format_field`.
        """
        old = next(self._named(name), None)
        if old is None:
            return self.append(name, text, utf8=utf8)
        front = format_field(name, text, utf8).rstrip() + b" "
        new = front + old.raw.partition(b":")[2].lstrip(b" \t")
        return self._rewrite(lambda part: new if part is old else part.raw)

    def remove(self, name: str, index: int | None = None) -> "Header":
        """Without the fields of this name, or without one: `index` counts them from 0, or from the end with -1.

        A field that is not there is no error.
        """
        found = list(self._named(name))
        if index is not None:
            found = found[index:][:1] if -len(found) <= index else []
        return self._without(found)

    def rename(self, old: str, new: str) -> "Header":
        """With another name for all fields called `old`; their values keep their octets. ValueError for a bad name."""
        octets = _checked_name(new)
        found = set(map(id, self._named(old)))
        return self._rewrite(lambda part: octets + part.raw[len(part.name) :] if id(part) in found else part.raw)

    def without_results_of(self, hostname: str) -> "Header":
        """Without the Authentication-Results that claim to be by `hostname` (RFC 8601 §5).

        A field that is unreadable but mentions the name goes too: some reader behind us might be less strict.
        """
        if self.raw.lower().find(b"authentication-results") < 0:
            return self
        ours = hostname.lower().rstrip(".")
        results = self._named("Authentication-Results")
        return self._without([part for part in results if _claims(part.value, ours)])

    def _named(self, name: str) -> Iterator[Field]:
        wanted = name.lower()
        return (part for part in self.parts if part.name.lower() == wanted and wanted)

    def _without(self, parts: list[Field]) -> "Header":
        gone = set(map(id, parts))
        return self._rewrite(lambda part: b"" if id(part) in gone else part.raw) if gone else self

    def _rewrite(self, octets_of: Callable[[Field], bytes]) -> "Header":
        return Header(b"".join(map(octets_of, self.parts)))


_set_raw, _set_parts = setters(Header)


def _parse(raw: bytes) -> tuple[Field, ...]:
    """Each field or other line, with its continuations."""
    *lines, rest = _PART_END.split(raw)
    parts = [line + _CRLF for line in lines]
    if rest:
        parts.append(rest)
    name_of = _FIELD_NAME.match
    return tuple([Field(named[1].decode() if (named := name_of(part)) else "", part) for part in parts])


def format_field(name: str, value: str, utf8: bool = False) -> bytes:
    """Build one field, folded at blanks near 78 octets, CRLF included.

    A value that is not ASCII is written as UTF-8 when `utf8` (the message is sent with SMTPUTF8), else as encoded words
    (RFC 2047). Folding in the value (CRLF and a blank) is kept. ValueError for a name that is not RFC 5322 ftext, for
    any other control character but a tab, and for a line that would exceed 998 octets.
    """
    start = _checked_name(name) + b":"
    value = value.strip(" \t")
    if _CONTROL.search(_FOLD.sub("", value)):
        raise ValueError(f"control character in the value of {name}")
    if not utf8 and not value.isascii():
        value = EncodedHeader(_FOLD.sub("", value), "utf-8", _LINE_SOFT, name).encode(linesep="\r\n")
    gap = b"" if not value or value.startswith("\r\n") else b" "
    first, *others = (start + gap + value.encode("utf-8")).split(_CRLF)
    octets = _fold(first, len(start)) + b"".join(_fold(line, 0) for line in others)
    if max(map(len, octets.split(_CRLF))) > _LINE_HARD:
        raise ValueError(f"a line of {name} would exceed {_LINE_HARD} octets")
    return octets


def _checked_name(name: str) -> bytes:
    if not _FTEXT.fullmatch(name):
        raise ValueError(f"not a header field name: {name!r}")
    return name.encode("ascii")


def _fold(line: bytes, glued: int) -> bytes:
    """The line with CRLF put before some of its blanks; the first word stays with the `glued` octets before it."""
    if len(line) <= _LINE_SOFT:
        return line + _CRLF
    words = _BLANKS_AND_WORD.findall(line, glued)
    folded = [line[:glued] + b"".join(words[:1])]
    length = len(folded[0])
    for word in words[1:]:
        if length + len(word) > _LINE_SOFT:
            folded.append(_CRLF)
            length = 0
        folded.append(word)
        length += len(word)
    return b"".join(folded) + _CRLF


class HeaderSplitter:
    """Finds the end of the header section in the octets of a message, however they are cut.

    The section ends before the first empty line (a line of blanks only is not empty). When the first line is no header
    field, the section is empty and all octets are body.

    `complete`: the end was found. `raw`: the section without the empty line, once complete. `separator`: whether the
    empty line was there. `fault`: None, "header section too large" (more than `max_size` octets), or "header line too
    long" (more than `max_line` octets without CRLF); once faulty nothing is kept or returned, and complete stays False.
    """

    __slots__ = ("_buffer", "_max_line", "_max_size", "_named", "complete", "fault", "raw", "separator")

    def __init__(self, max_size: int = 262144, max_line: int = 65536) -> None:
        self._max_size = max_size
        self._max_line = max_line
        self._buffer: bytearray | None = None  # only where the section comes in several pieces
        self._named = False  # the first line is a header field
        self.complete = False
        self.raw = b""
        self.separator = False
        self.fault: str | None = None

    def feed(self, data: bytes) -> bytes:
        """Return the octets that belong to the body: none until complete, all of them after."""
        if self.complete:
            return data
        if self.fault is not None:
            return b""
        octets: bytes | bytearray = data
        searched = 0
        if self._buffer is not None:
            searched = max(0, len(self._buffer) - len(_SECTION_END) + 1)
            self._buffer += data
            octets = self._buffer
        if not self._named:
            self._named = _FIELD_NAME.match(octets, 0, _LINE_HARD) is not None
            if not self._named:
                return self._without_section(octets)
        end = octets.find(_SECTION_END, searched, self._max_size + len(_CRLF))
        if end >= 0:
            self.separator = True
            whole = data if self._buffer is None else bytes(self._buffer)
            return self._complete(whole[: end + len(_CRLF)], whole[end + len(_SECTION_END) :])
        if len(octets) >= self._max_size + len(_CRLF):
            return self._fail("header section too large")
        if self._buffer is None:
            self._buffer = bytearray(data)
        return b""

    def finish(self) -> bytes:
        """The message has ended: without an empty line all of it is header. Returns what turns out to be body."""
        if self.complete or self.fault is not None:
            return b""
        octets = bytes(self._buffer or b"")
        return self._complete(octets, b"") if self._named else self._complete(b"", octets)

    def _without_section(self, octets: bytes | bytearray) -> bytes:
        """The octets do not begin with a header field, or not yet."""
        if len(octets) < _LINE_HARD and _UNFINISHED_NAME.fullmatch(octets):
            self._buffer = bytearray(octets)
            return b""
        self.separator = octets.startswith(_CRLF)
        return self._complete(b"", bytes(octets[len(_CRLF) :] if self.separator else octets))

    def _complete(self, raw: bytes, body: bytes) -> bytes:
        if len(raw) > self._max_size:
            return self._fail("header section too large")
        if len(raw) > self._max_line and max(map(len, raw.split(_CRLF))) > self._max_line:
            return self._fail("header line too long")
        self.raw = raw
        self.complete = True
        self._buffer = None
        return body

    def _fail(self, fault: str) -> bytes:
        self.fault = fault
        self.separator = False
        self._buffer = None
        return b""


# RFC 8601 §2.2: CFWS, then a token (RFC 2045) or a quoted string.
_COMMENT_MARK: Final = re.compile(r"\\.|[()]", re.DOTALL)
_TOKEN: Final = re.compile(r"""[^\s\x00-\x1f\x7f()<>@,;:\\"/\[\]?=]+""")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_QUOTED_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)


def authserv_id(value: str) -> str:
    """The authserv-id of the value of an Authentication-Results field, in lower case; "" when it is unreadable."""
    start = _skip_comments(value)
    if quoted := _QUOTED.match(value, start):
        return _QUOTED_PAIR.sub(r"\1", quoted[1]).strip().lower()
    token = _TOKEN.match(value, start)
    return token[0].lower() if token else ""


def _skip_comments(text: str) -> int:
    """Where the first thing stands that is neither blank nor comment; the end of the text if a comment is open."""
    start = 0
    depth = 0
    for mark in _COMMENT_MARK.finditer(text):
        if depth == 0 and (mark[0] != "(" or text[start : mark.start()].strip()):
            break
        depth += {"(": 1, ")": -1}.get(mark[0], 0)
        if depth == 0:
            start = mark.end()
    if depth:
        return len(text)
    return len(text) - len(text[start:].lstrip())


_LONGEST_NAME: Final = 255  # characters, RFC 1035 §2.3.4


def _claims(value: str, hostname: str) -> bool:
    claimed = authserv_id(value).rstrip(".")
    if not claimed.isascii() and len(claimed) <= _LONGEST_NAME:
        with suppress(UnicodeError):
            claimed = idna.encode(claimed, uts46=True).decode("ascii")  # RFC 8616 §5: both forms are one name
    return claimed == hostname or (not claimed and hostname in value.lower())


# RFC 2047 §2. Neither part holds "?", so that a search is linear whatever the text.
_WORD: Final = r"=\?[!->@-~]+\?[bBqQ]\?[!->@-~]*\?="
_ENCODED_WORDS: Final = re.compile(rf"{_WORD}(?:[ \t]+{_WORD})*")
# Named charsets only: asking codecs for any word at all would keep every unknown one for ever, and would find codecs
# that are no charsets and quadratic (punycode).
_CHARSETS: Final = frozenset(aliases) | frozenset(aliases.values()) | {"cp874", "koi8_t", "koi8_u"}


def _decode_words(run: re.Match[str]) -> str:
    """A run of encoded words, the blanks between them dropped; the run as it is when one cannot be read."""
    octets: list[tuple[str, bytes]] = []
    try:
        for word in run[0].split():
            _, charset, encoding, text, _ = word.split("?")
            charset = normalize_encoding(charset.partition("*")[0]).lower()  # RFC 2231 §5: charset*language
            if charset not in _CHARSETS:
                return run[0]
            octets.append((charset, _decode_octets(encoding, text)))
        return "".join(_decode_alike(octets))
    except (LookupError, ValueError):
        return run[0]


def _decode_octets(encoding: str, text: str) -> bytes:
    if encoding in "bB":
        return binascii.a2b_base64(text + "=" * (-len(text) % 4))
    return binascii.a2b_qp(text, header=True)


def _decode_alike(words: list[tuple[str, bytes]]) -> Iterable[str]:
    """Neighbours of one charset are decoded together: some writers cut a character in two."""
    for charset, group in groupby(words, key=itemgetter(0)):
        yield b"".join(octets for _, octets in group).decode(charset, "replace")
