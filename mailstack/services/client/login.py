"""Who we are to a server, and how we show it: the value `Login`.

    Login("ann@example.net", password_file="/etc/mailstack/smarthost.password")
    Login("ann@example.net", token=fresh)                     # an async function that gives a token
    Login("ann", password="secret", mechanisms="PLAIN")

The strongest mechanism that the server offers and that is wanted is used: SCRAM-SHA-256, SCRAM-SHA-1, PLAIN, LOGIN;
with a token OAUTHBEARER, XOAUTH2. CRAM-MD5 is used only if it is named in `mechanisms`. What says the password or the
token to whoever listens (all but SCRAM and CRAM-MD5) is used under TLS and over UNIX sockets, elsewhere only with
`insecure=True`.

A file is read anew for each connection, in a thread; its first line is the password. No secret stands in a repr, in
an error or in the log.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final, TypeAlias

from anyio import CapacityLimiter, to_thread

from ... import log, option
from ...option import ConfigError
from ..files import mark
from .sasl import CLEAR, PASSWORDS, TOKENS
from .values import NoMechanism

__all__ = ["Login", "TokenSource"]

TokenSource: TypeAlias = Callable[[], Awaitable[str]]

LARGEST: Final = 16 * 1024  # octets of a password file

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 §2.1
_WORD: Final = re.compile(r"[A-Z0-9_-]{1,20}")  # RFC 4422 §3.1


class Login:
    """See the module. ConfigError for what makes no sense, and for a file that cannot be read.

    user -- the name there. One of: password -- in clear. password_file -- whose first line it is. token -- a bearer
    token, or an async function without parameters that gives one for each connection.
    mechanisms -- those that may be used, by their names; None: as the module says.
    insecure -- passwords and tokens may go in clear.
    """

    __slots__ = ("_file", "_mechanisms", "_secret", "_warned", "insecure", "user")

    def __init__(
        self,
        user: str,
        *,
        password: str | None = None,
        password_file: str | os.PathLike[str] | None = None,
        token: str | TokenSource | None = None,
        mechanisms: str | Iterable[str] | None = None,
        insecure: bool = False,
    ) -> None:
        if sum(each is not None for each in (password, password_file, token)) != 1:
            raise ConfigError("Login: one secret is needed", remedy="write password=, password_file= or token=")
        self.user = _name(user)
        self.insecure = option.boolean(insecure, name="Login(insecure)")
        self._warned = False
        self._file = None if password_file is None else Path(password_file).expanduser().absolute()
        self._secret: str | TokenSource | None = None
        if isinstance(password, str):
            self._secret = _password(password, "Login(password)")
        elif token is not None:
            self._secret = _token(token) if isinstance(token, str) else token
        self._mechanisms = _mechanisms(mechanisms, TOKENS if token is not None else PASSWORDS)
        if self._file is not None:
            self._read()

    def __repr__(self) -> str:
        return f"Login({self.user!r})"

    def choose(self, offered: str | None, private: bool) -> str:
        """The mechanism to use. offered -- what EHLO said behind AUTH. private -- nobody listens. NoMechanism."""
        words = (offered or "").upper().split()
        common = [each for each in self._mechanisms if each in words]
        usable = [each for each in common if private or self.insecure or each not in CLEAR]
        if usable:
            return usable[0]
        if offered is None:
            why = "AUTH is not offered"
        elif common:
            why = f"{' '.join(common)} would say the secret in clear, without TLS"
        else:
            told = " ".join(filter(_WORD.fullmatch, words[:20]))
            why = f"it offers {told or 'nothing'}, and {' '.join(self._mechanisms)} may be used"
        raise NoMechanism(why, self.user)

    async def secret(self) -> str:
        """The password or the token. ConfigError when there is none now; what a function of yours raises."""
        if self._file is not None:
            return await to_thread.run_sync(self._read, limiter=CapacityLimiter(1))
        if isinstance(self._secret, str):
            return self._secret
        assert self._secret is not None
        return _token(str(await self._secret()))

    @property
    def stamp(self) -> object:
        """Differs when the file does."""
        return None if self._file is None else mark(self._file)

    def _read(self) -> str:
        assert self._file is not None
        what = f"password file {self._file}"
        try:
            with self._file.open("rb") as file:
                everybody = stat.S_IMODE(os.fstat(file.fileno()).st_mode) & stat.S_IROTH
                octets = file.read(LARGEST + 1)
        except OSError as error:
            raise ConfigError(f"{what}: {error.strerror}", remedy="name a file that this user may read") from None
        if everybody and not self._warned:
            log.warning("everybody can read the password file", file=str(self._file), remedy=f"chmod o= {self._file}")
        self._warned = bool(everybody)
        try:
            line = octets.decode().removeprefix("\ufeff").split("\n")[0].removesuffix("\r")
        except UnicodeDecodeError:
            line = ""
        if not line or len(octets) > LARGEST:
            raise ConfigError(f"{what} has no password in its first line", remedy="write it there, as UTF-8")
        return _password(line, what)


def _name(user: str) -> str:
    if not user or not user.isprintable():
        raise ConfigError(f"Login(user): {user!r} is no name", remedy='write "ann@example.net"')
    return user


def _password(text: str, what: str) -> str:
    if not text or "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ConfigError(f"{what}: this can be no password", remedy="write one, without NUL")
    return text


def _token(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ConfigError("Login(token): this is no bearer token (RFC 6750)", remedy="give it as it was issued")
    return text


def _mechanisms(given: str | Iterable[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    if given is None:
        return tuple(each for each in known if each != "CRAM-MD5")
    words = given.split() if isinstance(given, str) else given
    wanted = {option.choice(each, *known, name="Login(mechanisms)") for each in words}
    if not wanted:
        raise ConfigError("Login(mechanisms): there is none", remedy=f"write some of {' '.join(known)}")
    return tuple(each for each in known if each in wanted)
