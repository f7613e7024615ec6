"""Who a server of its own runs as: it binds its addresses as root, and serves as somebody else.

    account = privileges.account("mail")      # looked up at the start: ConfigError when there is none
    account.take_over(spool)                  # root makes the folder that the account will own
    account.become()                          # for good, with all groups of the account

Nothing of a plugin has run between the two but its constructor, in the configuration file.
"""

from __future__ import annotations

import codecs
import fcntl
import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..option import ConfigError

UMASK = 0o077
_CODECS = ("ascii", "latin-1", "utf-8", "unicode_escape", "idna", "punycode")  # loaded from files at their first use
ANYWAY = "MAILSTACK_AS_ROOT"  # in the environment: serve as root, as `mailstack serve --as-root` does


@dataclass(frozen=True, slots=True)
class Account:
    """name -- of the user. uid, gid -- its numbers; groups -- all that it belongs to."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    def take_over(self, folder: Path) -> None:
        """Make the folder for the account, 0700; one that is there must be its own. ConfigError."""
        if not folder.exists():
            for parent in reversed(folder.parents):
                if not parent.exists():
                    parent.mkdir()
                    parent.chmod(0o755)  # root's, whatever the umask: or the account would not get to its own
            folder.mkdir(mode=0o700)
            os.chown(folder, self.uid, self.gid)
        elif folder.stat().st_uid != self.uid:
            raise ConfigError(f"{folder} does not belong to {self.name}", remedy=f"chown {self.name} {folder}")

    def become(self) -> None:
        """Give up what we are, for good. ConfigError when we may not, or already are somebody else."""
        if os.geteuid() == self.uid and os.geteuid() != 0:
            return
        if os.geteuid() != 0:
            raise ConfigError(f"only root can become {self.name}", remedy="start it as root, or leave out user=")
        for codec in _CODECS:
            codecs.lookup(codec)
        os.setgroups(self.groups)
        os.setgid(self.gid)
        os.setuid(self.uid)
        if self.uid == 0:
            return
        try:
            os.setuid(0)
        except PermissionError:
            return
        raise ConfigError(f"root's rights came back after becoming {self.name}", remedy="look at its capabilities")


def account(user: str, group: str | None = None) -> Account:
    """The account of a user name; `group` takes the place of its own group. ConfigError when there is none."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise ConfigError(f"there is no user {user!r}", remedy=f"useradd --system {user}") from None
    try:
        gid = entry.pw_gid if group is None else grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(f"there is no group {group!r}", remedy=f"groupadd --system {group}") from None
    return Account(user, entry.pw_uid, gid, tuple(sorted({*os.getgrouplist(user, gid), gid})))


def must_not_be_root(as_root: bool) -> None:
    """ConfigError when plugins would run with root's rights and nobody has said that they may."""
    anyway = os.environ.get(ANYWAY, "").strip().lower() in ("1", "true", "t", "yes", "y", "on")
    if os.geteuid() == 0 and not as_root and not anyway:
        remedy = 'give Server(user="mail"), or say `mailstack serve --as-root`'
        raise ConfigError("this server would run as root", remedy=remedy)


@contextmanager
def pid_file(path: Path | None) -> Iterator[None]:
    """Our process id in a file, locked while we run. ConfigError when another server has it."""
    if path is None:
        yield
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise ConfigError(
            f"no PID file at {path}: {error.strerror}", remedy="name a file in a folder that is there"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(descriptor, 32).decode("ascii", "replace").strip()
            raise ConfigError(
                f"it runs already: {path} is held by process {who}", remedy="stop that one first"
            ) from None
        with suppress(PermissionError):  # who has made it before us, has chosen
            os.fchmod(descriptor, 0o644)  # others read it, whatever the umask
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
        yield
        os.ftruncate(descriptor, 0)  # who has given up root's rights may not be able to remove it
        with suppress(OSError):
            path.unlink()
    finally:
        os.close(descriptor)


def name_process(words: str) -> None:
    """What `ps` shows; where setproctitle is not installed, the command line stays."""
    try:
        from setproctitle import setproctitle
    except ImportError:
        return
    setproctitle(words)
