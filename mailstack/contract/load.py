"""From a plugin object to an `Entry`: pluggy collects and names, these checks make every mistake a load error.

pluggy is silent about some mistakes that would surface as a mail lost or a check never run: a method with a hook's name
but no mark, a misspelt mark, a default value, a wrong annotation. Each is refused here with plugin, file and line.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, MutableMapping
from typing import Any, Literal

import pluggy

from ..option import ConfigError
from ..wire.reply import Reply
from . import hookspec as hookspec_module
from .entry import Entry, Impl, Origin
from .extension import check_mechanisms, check_openings, offer_keywords
from .function import FunctionHandler
from .hookspec import LIVES, NOTICES, PHASES, PLAIN_NOTICES, PROJECT, Hooks

HOOKS = LIVES + PHASES + NOTICES
_MARK = f"{PROJECT}_impl"
_ALLOWED = {
    hook: tuple(name for name in inspect.signature(getattr(Hooks, hook)).parameters if name != "self") for hook in HOOKS
}
_OF_EVERY_OBJECT = frozenset(dir(type("", (), {})()))  # most attributes of a plugin, and never hooks


class _Manager(pluggy.PluginManager):
    """pluggy's, that looks only where a hook may be. It looks long, and a test makes a stack for each conversation."""

    def parse_hookspec_opts(self, module_or_class: object, name: str) -> pluggy.HookspecOpts | None:
        return super().parse_hookspec_opts(module_or_class, name) if name in _ALLOWED else None  # type: ignore[arg-type]

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        return None if name in _OF_EVERY_OBJECT else super().parse_hookimpl_opts(plugin, name)


class Loader:
    """Loads the entries of one stack and sees to it that their names differ."""

    def __init__(self) -> None:
        self._manager = _Manager(PROJECT)
        self._manager.add_hookspecs(Hooks)

    def load(self, plugin: object, origin: Origin) -> Entry:
        """Check `plugin` and return its entry. ConfigError tells what is wrong, where, and the remedy."""
        name = self._unused(name_of(plugin))
        if isinstance(plugin, (types.FunctionType, types.MethodType)):
            plugin = _handler(plugin)
        if isinstance(plugin, type):
            raise _error(origin, f"{name} is a class, not a plugin", f"make one: {plugin.__name__}(…)")
        marked = _marked(plugin, name)
        _check_marks(plugin, name, origin)
        entry = Entry(name, plugin, origin)
        for hook in HOOKS:
            if hook in marked:
                entry.impls[hook] = _implementation(name, hook, marked[hook])
        offer_keywords(entry)
        check_mechanisms(entry)
        check_openings(entry)
        if not entry.impls:
            raise _error(origin, *_no_hook(plugin, name))
        self._register(plugin, name, origin)
        _hasten(plugin)
        return entry

    def _register(self, plugin: object, name: str, origin: Origin) -> None:
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise _error(origin, f"{name}: {error}", "`mailstack hooks` lists the hooks and their arguments") from error
        except ValueError as error:
            if any(known is plugin for known in self._manager.get_plugins()):
                words, remedy = "the same object stands twice in the stack", "make a second instance of it"
            else:
                words, remedy = (
                    "it equals an entry before it",
                    "plugins are told apart by identity: @dataclass(eq=False)",
                )
            raise _error(origin, f"{name}: {words}", remedy) from error

    def _unused(self, name: str) -> str:
        taken = self._manager.has_plugin
        if not taken(name):
            return name
        number = 2
        while taken(f"{name}#{number}"):
            number += 1
        return f"{name}#{number}"


def name_of(plugin: object) -> str:
    """The word that stands for a plugin in logs: its `name`, or its file's name if a package brought it.

    mailstack.middleware.greylist.Greylist is "greylist"; what is written in a configuration is called as there. A
    function is called as it is everywhere.
    """
    given = getattr(plugin, "name", None)
    if isinstance(given, str) and given:
        return given
    if isinstance(plugin, types.ModuleType):
        return plugin.__name__.rpartition(".")[2]
    if isinstance(plugin, (types.FunctionType, types.MethodType)):
        return plugin.__name__
    named = plugin if isinstance(plugin, type) else type(plugin)
    package, _, module = named.__module__.rpartition(".")
    return module if package else named.__name__


def is_marked(function: object) -> bool:
    """Whether it carries `@hookimpl`."""
    return _options(function) is not None


def _options(function: object) -> dict[str, Any] | None:
    """What `@hookimpl` left on a function; it may stand above or below `@staticmethod` and `@classmethod`."""
    if not inspect.isroutine(function):
        return None
    inner = getattr(function, "__func__", function)
    options: dict[str, Any] | None = getattr(function, _MARK, None) or getattr(inner, _MARK, None)
    return options


def _marked(plugin: object, name: str) -> dict[str, Callable[..., Any]]:
    """The marked functions of a plugin by their hooks; a hook that does not exist is an error."""
    marked: dict[str, Callable[..., Any]] = {}
    for attribute in dir(plugin):
        if attribute in _OF_EVERY_OBJECT:
            continue
        options = _options(inspect.getattr_static(plugin, attribute, None))
        if options is None:
            continue
        function = getattr(plugin, attribute)
        hook = options["specname"] or attribute
        place = Origin(*_place(function))
        if hook not in HOOKS:
            close = difflib.get_close_matches(hook, HOOKS, n=1)
            remedy = f"did you mean {close[0]}?" if close else "`mailstack hooks` lists the hooks"
            raise _error(place, f"{name}.{attribute}: there is no hook {hook!r}", remedy)
        if any(options[word] for word in ("tryfirst", "trylast", "wrapper", "hookwrapper")):
            raise _error(
                place, f"{name}.{hook}: @hookimpl takes no options", "the order is the stack's; take call_next to wrap"
            )
        marked[hook] = function
    return marked


def _hasten(plugin: object) -> None:
    """Make the plugin's attributes quick to read again.

    Before Python 3.13, who looks at an instance's `__dict__`, as `dir` does, leaves it in a form for which the
    interpreter has no short way: each `self.limit` then costs 200 instructions more. A dict filled anew is quick.
    """
    attributes = getattr(plugin, "__dict__", None)
    if sys.version_info < (3, 13) and type(attributes) is dict and not isinstance(plugin, types.ModuleType):
        values = dict(attributes)
        attributes.clear()
        attributes.update(values)


def _handler(function: Callable[..., Any]) -> FunctionHandler:
    try:
        return FunctionHandler(function)
    except ConfigError as error:
        error.file, error.line = _place(function)
        raise


def _no_hook(plugin: object, name: str) -> tuple[str, str]:
    """Message and remedy for something in the stack that is no plugin."""
    made = getattr(plugin, "__all__", ()) if isinstance(plugin, types.ModuleType) else ()
    if made:
        return f"{name} is a module, not a plugin", "make one: " + " or ".join(f"{name}.{each}(…)" for each in made)
    if type(plugin).__module__ == "builtins" and not isinstance(plugin, types.ModuleType):
        return f"{plugin!r} is not a plugin", "put an object with hooks there, or a function that takes the message"
    return f"{name} implements no hook", "mark its hooks with @hookimpl; `mailstack hooks` lists them"


def _check_marks(plugin: object, name: str, origin: Origin) -> None:
    """A method that has a hook's name and no mark would be ignored without a word."""
    there = frozenset(dir(plugin))
    for hook in HOOKS:
        function = inspect.getattr_static(plugin, hook, None) if hook in there else None
        if inspect.isroutine(function) and not is_marked(function):
            where = Origin(*_place(function)) if inspect.isfunction(function) else origin
            raise _error(
                where, f"{name}.{hook} has a hook's name but is not marked", "put @hookimpl above it, or rename it"
            )


def _implementation(name: str, hook: str, function: Callable[..., Any]) -> Impl:
    """Check one marked function against the contract."""
    place = Origin(*_place(function))
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        _check_parameter(name, hook, parameter, place)
    _check_annotations(name, hook, function, place)
    is_async = inspect.iscoroutinefunction(function)
    onion = "call_next" in signature.parameters
    if (onion or hook in LIVES) and not is_async:
        raise _error(place, f"{name}.{hook} takes call_next but is a plain def", "make it async def")
    if hook in PLAIN_NOTICES and is_async:
        raise _error(
            place, f"{name}.{hook} is async, but it is called in the middle of a dialog", "make it a plain def"
        )
    if hook in LIVES and not onion:
        raise _error(place, f"{name}.{hook} must take call_next", "add the argument and `await call_next()`")
    return Impl(name, hook, function, tuple(signature.parameters), is_async, onion, answers=_answers(function))


def _answers(function: Callable[..., Any]) -> Literal["always", "never", "maybe"]:
    """What its annotation says: it returns `Reply`, None, or the one or the other."""
    annotation = getattr(function, "__annotations__", {}).get("return", "")
    return "always" if annotation in (Reply, "Reply") else "never" if annotation in (None, "None") else "maybe"


def _check_parameter(name: str, hook: str, parameter: inspect.Parameter, place: Origin) -> None:
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    allowed = ", ".join(_ALLOWED[hook])
    if parameter.kind not in plain:
        raise _error(place, f"{name}.{hook}: {parameter} is not a plain parameter", f"it may take: {allowed}")
    if parameter.name not in _ALLOWED[hook]:
        raise _error(place, f"{name}.{hook}: there is no argument {parameter.name!r}", f"it may take: {allowed}")
    if parameter.default is not inspect.Parameter.empty:
        raise _error(
            place, f"{name}.{hook}: {parameter} has a default value", "the core always passes it; remove the default"
        )


def _check_annotations(name: str, hook: str, function: Callable[..., Any], place: Origin) -> None:
    """Where an implementation says a type, it must be the contract's; but a Host may be called a Server."""
    try:
        theirs = _hints(getattr(function, "__func__", function))
    except Exception:  # a name that exists for type checkers only
        return
    ours = _spec_hints(hook)
    for argument, annotation in theirs.items():
        if argument == "return":
            _check_return(name, hook, annotation, place)
        elif argument not in ("call_next", "server") and annotation not in (Any, ours.get(argument, annotation)):
            raise _error(
                place,
                f"{name}.{hook}: {argument} is annotated {_words(annotation)}",
                f"the contract says {_words(ours[argument])}",
            )


def _check_return(name: str, hook: str, annotation: object, place: Origin) -> None:
    allowed = {Reply, type(None)} if hook in PHASES else {type(None)}
    parts = set(typing.get_args(annotation)) or {annotation}
    if annotation is not Any and not parts <= allowed:
        raise _error(
            place,
            f"{name}.{hook} is annotated to return {_words(annotation)}",
            "a phase returns Reply | None, a life or a notice None",
        )


@functools.lru_cache(maxsize=512)
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return typing.get_type_hints(function)


@functools.cache
def _spec_hints(hook: str) -> dict[str, Any]:
    scope = {**vars(hookspec_module), "MutableMapping": MutableMapping}
    return typing.get_type_hints(getattr(Hooks, hook), globalns=scope)


def _words(annotation: object) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _place(function: Any) -> tuple[str, int]:
    code = inspect.unwrap(getattr(function, "__func__", function)).__code__
    return code.co_filename, code.co_firstlineno


def _error(origin: Origin, message: str, remedy: str) -> ConfigError:
    error = ConfigError(message, remedy=remedy)
    error.file, error.line = origin.file or None, origin.line or None
    return error
