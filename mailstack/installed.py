"""What installed distributions say of themselves: the entry points of plugins, and extras. Nothing is imported here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import metadata

# Entry point groups, in the order in which a name is looked up, and the packages of what is bundled.
GROUPS = {"mailstack.middleware": "mailstack.middleware", "mailstack.handlers": "mailstack.handlers"}


def entry_points(group: str) -> Mapping[str, list[metadata.EntryPoint]]:
    """The entry points of one group by their names; more than one where distributions quarrel."""
    found: dict[str, list[metadata.EntryPoint]] = {}
    for point in metadata.entry_points(group=group):
        found.setdefault(point.name, []).append(point)
    return found


def home(point: metadata.EntryPoint) -> tuple[str, str]:
    """The distribution that brings it, and its version."""
    return (point.dist.name, point.dist.version) if point.dist is not None else ("", "")


def extra_for(module: str) -> str | None:
    """ "mailstack[ldap]", if a distribution that brings plugins has an extra that requires this module."""
    points = [point for group in GROUPS for point in metadata.entry_points(group=group)]
    for distribution in sorted({point.dist.name for point in points if point.dist is not None}) if module else ():
        for extra, requirement in _extras(distribution):
            if _plain_name(requirement) == _plain_name(module):
                return f"{distribution}[{extra}]"
    return None


def missing(distribution: str, extra: str) -> bool:
    """Whether something that this extra requires is not installed, or there is no such extra."""
    required = [requirement for name, requirement in _extras(distribution) if name == extra]
    return not required or not all(map(_is_installed, required))


_REQUIREMENT = re.compile(r"([\w.-]+)[^;]*;.*\bextra\s*==\s*['\"]([^'\"]+)['\"]")


def _extras(distribution: str) -> Iterator[tuple[str, str]]:
    """Each extra of a distribution with each distribution that it requires."""
    for requirement in metadata.requires(distribution) or ():
        match = _REQUIREMENT.match(requirement)
        if match is not None:
            yield match[2], match[1]


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _plain_name(name: str) -> str:
    """A distribution's name as its module is likely to be called: python-ldap is ldap, PyMySQL is pymysql."""
    return re.sub(r"[-_.]+", "_", name.lower()).removeprefix("python_").removesuffix("_python")
