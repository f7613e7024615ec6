"""What an entry adds to SMTP itself: EHLO keywords, parameters of MAIL and RCPT, verbs; and what it does for listeners.

    class Priority:
        keywords = {"MT-PRIORITY": "MIXER"}       # offered in EHLO: keyword to argument, "" for none
        parameters = (Parameter(name="MT-PRIORITY", verb="MAIL", keyword="MT-PRIORITY", parse=priority),)
        verbs = ("XQUEUE",)                       # listed by HELP; `command` answers them
        mechanisms = ("PLAIN", "LOGIN")           # what its `auth` can judge; may be a property
        fulfils = ("tls",)                        # its `session` is for listeners that have Listener(tls=True)

A declared keyword is offered where the entry's `ehlo` would be asked (it is given one, if it has none), so that a
condition around the entry holds for it. With an `ehlo` of its own the keyword is there before that runs, which may then
change or drop it. The parser takes a parameter only if its keyword was in the last answer.

What the core knows cannot be declared, nor what another entry has declared. Instances of one class may declare the
same: the first of them in the stack decides how a parameter is read. Every mistake is a ConfigError at load.

`Parameter.parse` says ValueError for a value that it does not take. What else it raises is a fault of its entry: the
session goes on, and the client hears 451.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import replace
from typing import Any

from ..option import ConfigError
from ..wire.command import VERBS, CommandError
from ..wire.parameter import PARAMETERS, Parameter
from .entry import Entry, Impl
from .fault import DEFER

_KEYWORD = re.compile(r"[A-Z0-9][A-Z0-9-]*")  # RFC 5321 §4.1.1.1, in upper case
_ARGUMENT = re.compile(r"(?:[!-~]+(?: [!-~]+)*)?")
OPENINGS = ("tls", "proxy")  # what a listener may want before the banner
_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}")  # RFC 4422 §3.1
_VERB = re.compile(r"[A-Z][A-Z0-9-]{0,19}")  # what `wire.command` reads as one


class ParameterFault(CommandError):
    """A `Parameter.parse` failed. who -- its entry. phase -- "mail" or "rcpt". error -- what it raised."""

    def __init__(self, who: str, phase: str, error: Exception) -> None:
        super().__init__(DEFER)
        self.who = who
        self.phase = phase
        self.error = error


def offer_keywords(entry: Entry) -> None:
    """Give an entry that declares keywords the `ehlo` that offers them."""
    keywords = _keywords(entry)
    if keywords:
        impl = entry.impls.get("ehlo")
        entry.impls["ehlo"] = _offering(entry.name, keywords) if impl is None else _before(impl, keywords)


def _offering(who: str, keywords: Mapping[str, str]) -> Impl:
    def offer(offered: MutableMapping[str, str]) -> None:
        offered.update(keywords)

    return Impl(who, "ehlo", offer, ("keywords",), False, False)


def _before(impl: Impl, keywords: Mapping[str, str]) -> Impl:
    """The entry's own `ehlo`, which finds its keywords there."""

    def offer(offered: MutableMapping[str, str], *given: Any) -> Any:
        offered.update(keywords)
        return impl.function(*given)

    return replace(impl, function=offer, arguments=("keywords", *impl.arguments))


def known_parameters(entries: Iterable[Entry]) -> dict[tuple[str, str], Parameter]:
    """The MAIL and RCPT parameters that the parser knows, by verb and name: the core's, and what entries declare."""
    known = dict(PARAMETERS)
    owners: dict[object, Entry] = {}
    for entry in entries:
        for parameter in _parameters(entry):
            key = parameter.verb, parameter.name
            words = f"the {parameter.verb} parameter {parameter.name}"
            if known.get(key) != parameter and _is_first(entry, key, words, PARAMETERS, owners):
                known[key] = replace(parameter, parse=_guarded(entry.name, parameter))
    return known


def _guarded(who: str, parameter: Parameter) -> Callable[[str | None], object]:
    def parse(text: str | None) -> object:
        try:
            return parameter.parse(text)
        except (ValueError, CommandError):
            raise
        except Exception as error:
            raise ParameterFault(who, parameter.verb.lower(), error) from error

    return parse


def known_verbs(entries: Iterable[Entry]) -> tuple[str, ...]:
    """The verbs that entries declare, in the order of the stack."""
    owners: dict[object, Entry] = {}
    return tuple(verb for entry in entries for verb in _verbs(entry) if _is_first(entry, verb, verb, VERBS, owners))


def check_openings(entry: Entry) -> None:
    """What the entry's `session` sees to before the banner, of `OPENINGS`."""
    given = _tuple(entry, "fulfils", str, "something that a listener wants")
    for opening in given:
        if opening not in OPENINGS:
            raise _no_such(entry, "fulfils", f"a tuple of {', '.join(OPENINGS)}", "something that a listener wants")
    if given and "session" not in entry.impls:
        raise _error(entry, f"{entry.name} fulfils {given[0]} and has no `session`", "do it in a `session` hook")
    if given:
        entry.impls["session"] = replace(entry.impls["session"], fulfils=given)


def fulfilled(entries: Iterable[Entry]) -> frozenset[str]:
    """What entries see to before the banner: a listener that wants it may rely on them."""
    impls = (entry.impls.get("session") for entry in entries)
    return frozenset(opening for impl in impls if impl is not None for opening in impl.fulfils)


def check_mechanisms(entry: Entry) -> None:
    """Who judges credentials says which mechanisms lead to them, or nobody would ever be asked for any."""
    impl = entry.impls.get("auth")
    if impl is None:
        if getattr(entry.plugin, "mechanisms", ()):
            raise _error(entry, f"{entry.name} declares mechanisms and has no `auth`", "judge in an `auth` hook")
        return
    named = _mechanisms(entry)
    if not hasattr(entry.plugin, "mechanisms") and not impl.onion:
        problem = f"{entry.name} has `auth` and declares no mechanisms"
        raise _error(entry, problem, 'say what it can judge: mechanisms = ("PLAIN", "LOGIN")')
    for mechanism in named:
        _check(entry, "mechanism", mechanism, _MECHANISM, "upper-case letters, digits, - and _, at most 20")
    entry.impls["auth"] = replace(impl, mechanisms=lambda: _mechanisms(entry))


def _mechanisms(entry: Entry) -> tuple[str, ...]:
    return _tuple(entry, "mechanisms", str, "what it can judge")


def _is_first(entry: Entry, key: object, words: str, core: Iterable[object], owners: dict[object, Entry]) -> bool:
    """Whether nobody has declared it yet. ConfigError where it is the core's, or that of another kind of entry."""
    if key in core:
        raise _error(entry, f"{entry.name} declares {words}, which is the core's", "leave it out; the core reads it")
    owner = owners.setdefault(key, entry)
    if _kind(owner) is not _kind(entry):
        problem = f"{entry.name} declares {words}, and so does {owner.name} ({owner.origin})"
        raise _error(entry, problem, "take one of the two out of the stack")
    return owner is entry


def _kind(entry: Entry) -> object:
    return entry.plugin if isinstance(entry.plugin, types.ModuleType) else type(entry.plugin)


# What is declared, checked.


def _keywords(entry: Entry) -> Mapping[str, str]:
    given = getattr(entry.plugin, "keywords", {})
    if not isinstance(given, Mapping) or not all(isinstance(word, str) for pair in given.items() for word in pair):
        raise _no_such(entry, "keywords", 'a dict like {"KEYWORD": "argument"}', "an EHLO keyword")
    for keyword, argument in given.items():
        _check(entry, "keyword", keyword, _KEYWORD, "upper-case letters, digits and hyphens")
        _check(entry, f"argument of {keyword}", argument, _ARGUMENT, "printable ASCII, words parted by single blanks")
    return dict(given)


def _parameters(entry: Entry) -> tuple[Parameter, ...]:
    given = _tuple(entry, "parameters", Parameter, "a MAIL or RCPT parameter")
    for parameter in given:
        _check(entry, "parameter", parameter.name, _KEYWORD, "upper-case letters, digits and hyphens")
        _check(entry, f"verb of {parameter.name}", parameter.verb, re.compile("MAIL|RCPT"), '"MAIL" or "RCPT"')
    return given


def _verbs(entry: Entry) -> tuple[str, ...]:
    given = _tuple(entry, "verbs", str, "an SMTP verb")
    for verb in given:
        _check(entry, "verb", verb, _VERB, "upper-case letters, digits and hyphens, at most 20")
    if given and "command" not in entry.impls:
        raise _error(entry, f"{entry.name} declares {given[0]} and has no `command`", "answer it in a `command` hook")
    return given


def _tuple(entry: Entry, attribute: str, kind: type, what: str) -> tuple[Any, ...]:
    given = getattr(entry.plugin, attribute, ())
    if not isinstance(given, (tuple, list)) or not all(isinstance(each, kind) for each in given):
        raise _no_such(entry, attribute, f"a tuple of {kind.__name__}", what)
    return tuple(given)


def _check(entry: Entry, what: str, text: str, pattern: re.Pattern[str], remedy: str) -> None:
    if not pattern.fullmatch(text):
        problem = f"{entry.name}: its {what} is nothing that SMTP has words for: {text!r}"
        raise _error(entry, problem, f"write {remedy}")


def _no_such(entry: Entry, attribute: str, expected: str, what: str) -> ConfigError:
    return _error(entry, f"{entry.name}.{attribute} is not {expected}", f"give another name to what is not {what}")


def _error(entry: Entry, message: str, remedy: str) -> ConfigError:
    error = ConfigError(message, remedy=remedy)
    error.file, error.line = entry.origin.file or None, entry.origin.line or None
    return error
