"""maildir: each message becomes one file in a Maildir, on the disk before the client hears 250.

    maildir.Maildir("/var/mail/in")                          # one Maildir for everybody
    maildir.Maildir("/var/mail/{domain}/{local}")            # one for each recipient
    maildir.Maildir("~/Mail/{domain}", eol="crlf")

A file begins with `Return-Path` and a `Delivered-To` for each recipient whose copy it is; then comes the message, octet
for octet but for its line ends. Recipients whose paths are the same share one file. Reading needs nothing of ours: any
program that knows Maildirs will do.

Placeholders: `{local}` and `{domain}` are the two sides of the recipient's address, `{address}` is local@domain; bare
postmaster is postmaster at the server's own name. What a client wrote is a name and never a path: in lower case,
letters, digits and `+_=-.@` stand for themselves, every other octet and a dot in front are written %XX, and what would
be longer than 255 octets ends in "~" and a hash instead. Different addresses have different names. Local parts that
differ in case alone are one Maildir, as senders expect; `keep_case=True` tells them apart.

Promises: the file and its folder are synced before 250. A message to several Maildirs is in all of them or in none (the
files are written and synced before the first one is shown). Folders are made where they are missing, with mode 0700;
files have 0600. A message is read in pieces, so that its size does not matter to memory.

Fails: a path without placeholders that cannot be made or written stops the start. A full disk or quota is 452 4.3.1,
any other error of the system a fault (451, with the path in the log); either way no file stays behind.

Caveats: with placeholders, whoever decides which recipients exist decides which folders are made: put
`recipients.Addresses` in front, or clients will make folders for you. Delivered-To in a shared Maildir tells its reader
of all recipients, blind copies too. The message's own Return-Path and Delivered-To fields, if any, are left below ours.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from mailstack import log, option
from mailstack.contract.hookspec import LiveOn, hookimpl
from mailstack.option import ConfigError
from mailstack.session.message import Message
from mailstack.session.session import Session
from mailstack.wire.address import Address
from mailstack.wire.header import format_field
from mailstack.wire.reply import Reply

__all__ = ["Maildir"]

_NO_SPACE = Reply(452, "no space to keep the message, try again later", status="4.3.1")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Maildir:
    """The handler.

    path -- the Maildir, "~" for home; with placeholders, one for each recipient.
    eol -- the line ends in the files: "lf" (what programs on this side of the wire expect) or "crlf" (as received).
        A BINARYMIME message is always stored as received: what looks like a line end there may be none.
    keep_case -- whether local parts that differ in case alone have Maildirs of their own.
    writers -- messages that are written at the same time, each in a thread.

    ConfigError: an option that makes no sense; at the start, a Maildir that cannot be made or written.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, eol: str = "lf", keep_case: bool = False, writers: int = 8
    ) -> None:
        self.path = _checked(os.fspath(path))
        self._divided = _PLACEHOLDER.search(self.path) is not None
        self.crlf = option.choice(eol, "lf", "crlf", name="Maildir(eol)") == "crlf"
        self.keep_case = option.boolean(keep_case, name="Maildir(keep_case)")
        self.writers = option.integer(writers, name="Maildir(writers)", minimum=1)
        self._limiter: CapacityLimiter | None = None

    @hookimpl
    async def lifespan(self, call_next: LiveOn) -> None:
        self._limiter = CapacityLimiter(self.writers)  # of this event loop
        if not self._divided:
            await to_thread.run_sync(_prove, self.path)
        try:
            await call_next()
        finally:
            self._limiter = None

    @hookimpl
    async def queue(self, session: Session, message: Message) -> Reply:
        letters = self._letters(session)
        try:
            # The thread is waited for whatever happens: the delivery takes place or not, and the reply says which.
            as_it_is = self.crlf or _is_binary(session)
            await to_thread.run_sync(_deliver, letters, message, as_it_is, limiter=self._limiter)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            log.error("no space", queue_id=message.id, who="maildir", reason=str(error))
            return _NO_SPACE
        return Reply(250, f"queued as {message.id}")

    def _letters(self, session: Session) -> list[_Letter]:
        """One for each Maildir that the message goes to."""
        transaction = session.transaction
        assert transaction is not None
        copies: dict[str, dict[str, None]] = {}
        for recipient in transaction.recipients:
            if recipient.verdict is None:  # nobody has answered for it: neither refused nor taken care of
                address = recipient.address
                if address.postmaster:
                    address = Address(address.local, session.hostname)
                copies.setdefault(self.folder_of(address), {})[str(address)] = None
        top = format_field("Return-Path", transaction.sender.address.path, utf8=True)
        return [_Letter(folder, top + _delivered_to(addresses)) for folder, addresses in copies.items()]

    def folder_of(self, address: Address) -> str:
        """The Maildir of a recipient."""
        if not self._divided:
            return self.path
        local = address.local if self.keep_case else address.local.lower()
        names = {
            "local": _escape(local),
            "domain": _escape(address.domain.lower()),
            "address": _escape(f"{local}@{address.domain.lower()}"),
        }
        parts = [_PLACEHOLDER.sub(lambda found: names[found[1]], part) for part in self.path.split("/")]
        return "/".join(map(_bounded, parts))


@dataclass(frozen=True, slots=True)
class _Letter:
    """What goes into one Maildir: `folder`, and the fields on top of the message."""

    folder: str
    head: bytes


def _delivered_to(addresses: Iterable[str]) -> bytes:
    return b"".join(format_field("Delivered-To", address, utf8=True) for address in addresses)


# Paths.

_PLACEHOLDER = re.compile(r"\{(local|domain|address)\}")
_UNSAFE = re.compile(rb"\A\.|[^a-zA-Z0-9+_=.@-]")
_LONGEST_NAME = 255  # octets: what Linux's file systems take


def _checked(path: str) -> str:
    """The path as configured, absolute. It is never looked at again after client text came in."""
    rest = _PLACEHOLDER.sub("", path)
    if not path or "{" in rest or "}" in rest or "\0" in path:
        raise ConfigError(
            f"Maildir(path): {path!r} is not a path",
            remedy='write "/var/mail/in", or use {local}, {domain} and {address} as in "/var/mail/{domain}/{local}"',
        )
    try:
        return os.path.abspath(Path(path).expanduser())
    except RuntimeError:
        raise ConfigError(f"Maildir(path): {path!r} is in nobody's home", remedy="write the whole path") from None


def _escape(text: str) -> str:
    """A name that holds nothing of a path; "%" for the empty one, which no other text can become."""
    return _UNSAFE.sub(lambda found: b"%%%02X" % found[0][0], text.encode()).decode("ascii") or "%"


def _bounded(name: str) -> str:
    """A name that file systems take: the end of a long one becomes a hash, after a "~" that escaping never leaves."""
    octets = os.fsencode(name)
    if len(octets) <= _LONGEST_NAME:
        return name
    ending = b"~" + sha256(octets).hexdigest()[:40].encode()
    return os.fsdecode(octets[: _LONGEST_NAME - len(ending)] + ending)


# Files. All of this runs in a worker thread.

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_making = threading.Lock()
_serial = itertools.count(1)


class _File:
    """One file on its way into a Maildir: `write()` in tmp, `show()` in new; or `remove()`, wherever it is."""

    __slots__ = ("_folder", "_name", "_path", "_size")

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._name = _unique_name(socket.gethostname())
        self._path = ""
        self._size = 0

    def write(self, pieces: Iterable[bytes]) -> None:
        path = f"{self._folder}/tmp/{self._name}"
        descriptor = _open_new(self._folder, path)
        self._path = path
        try:
            for piece in pieces:
                with _blaming(path):
                    _write_all(descriptor, piece)
                self._size += len(piece)
            with _blaming(path):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def show(self) -> None:
        """Readers see it from here on. The size in the name (Maildir++) spares quota programs a look into the file."""
        path = f"{self._folder}/new/{self._name},S={self._size}"
        os.rename(self._path, path)
        self._path = path

    def settle(self) -> None:
        """Its name is on the disk too."""
        _sync_folder(f"{self._folder}/new")

    def remove(self) -> None:
        if self._path:
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                pass  # a reader was faster, and has it
            except OSError as error:
                log.error("could not remove a file", who="maildir", reason=str(error))


def _is_binary(session: Session) -> bool:
    return session.transaction is not None and session.transaction.sender.binary


def _deliver(letters: list[_Letter], message: Message, crlf: bool) -> None:
    """Put the message into all Maildirs, or into none: then OSError, and nothing is left."""
    files = [_File(letter.folder) for letter in letters]
    try:
        for file, letter in zip(files, letters, strict=True):
            file.write(_octets(letter.head, message, crlf))
        for file in files:
            file.show()
        for file in files:
            file.settle()
    except BaseException:
        for file in files:
            file.remove()
        raise


def _octets(head: bytes, message: Message, crlf: bool) -> Iterator[bytes]:
    """The file's octets: one piece when the message is small."""
    pieces: Iterator[bytes] = itertools.chain((head,), message.blocks())
    if not message.on_disk:
        pieces = iter((b"".join(pieces),))
    return pieces if crlf else _with_lf(pieces)


def _with_lf(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """CRLF becomes LF, also where a border parts the two; a CR or LF alone stays."""
    carry = b""
    for piece in pieces:
        piece = carry + piece
        carry = b"\r" if piece.endswith(b"\r") else b""
        yield piece[: len(piece) - len(carry)].replace(b"\r\n", b"\n")
    yield carry


def _write_all(descriptor: int, octets: bytes) -> None:
    rest = memoryview(octets)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _open_new(folder: str, path: str) -> int:
    """Create the file; a Maildir that is not there is made."""
    try:
        return os.open(path, _NEW_FILE, 0o600)
    except FileNotFoundError:
        _make(folder)
        return os.open(path, _NEW_FILE, 0o600)


def _make(folder: str) -> None:
    """Make a Maildir. Its tmp comes last, when all else is on the disk, so that who finds tmp may rely on the rest."""
    with _making:
        for each in ("new", "cur", "tmp"):
            _make_folder(f"{folder}/{each}")


def _make_folder(path: str) -> None:
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    _make_folder(parent)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    _sync_folder(parent)


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _blaming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _blaming(path: str) -> Iterator[None]:
    """A failed write or sync does not know its path, and whoever reads the log needs it."""
    try:
        yield
    except OSError as error:
        error.filename = path
        raise


def _prove(folder: str) -> None:
    """At the start: the Maildir is there and takes files, or ConfigError."""
    file = _File(folder)
    try:
        _make(folder)
        file.write(())
        if not os.access(f"{folder}/new", os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), f"{folder}/new")
    except OSError as error:
        raise ConfigError(
            f"Maildir(path): cannot write to {error.filename}: {error.strerror}",
            remedy=f"make {folder} a folder that user {os.geteuid()} may write to, or name another one",
        ) from error
    finally:
        file.remove()


def _unique_name(host: str) -> str:
    """https://cr.yp.to/proto/maildir.html: the time, what tells deliveries of one second apart, and the machine."""
    now = time.time_ns() // 1000
    machine = host.replace("/", r"\057").replace(":", r"\072")
    return f"{now // 1_000_000}.M{now % 1_000_000:06}P{os.getpid()}Q{next(_serial)}.{machine}"
