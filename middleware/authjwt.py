"""authjwt: logins by tokens that another server has signed (JWT, RFC 7519), for OAUTHBEARER and XOAUTH2.

    authjwt.AuthJWT("/etc/mailstack/jwks.json", issuer="https://login.example.org/", audience="mail")
    authjwt.AuthJWT(keys, issuer=…, audience=…, identity="email", scope="smtp", algorithms="ES256")

It stands below `auth.Auth()`. Needs `pip install "mailstack[auth]"`.

keys is the path of a file, or its text: a JWK Set (RFC 7517) as issuers publish it, one JWK, or a public key in PEM.
A file is read again when it has changed; while the new one cannot be read, the last good one stays and the log says so
once. A token names its key (`kid`); one that names none is compared with all.

A token must be signed by one of the keys, with one of the `algorithms`; what the token says of its own key ("jwk",
"jku", "x5u") is not looked at, "none" is not to be had, and a public key is never taken for a shared secret. It must be
of the issuer, for the audience, not over, and not for later (`leeway` for clocks that are wrong). With `scope` it must
have all those words (RFC 8693 §4.2: "scope" or "scp"). An access token says so in its `typ` (RFC 9068), but many
issuers do not, so an ID token for the same audience would be taken too: have issuers give mail an audience of its own.

The login is the claim `identity`, "sub" by default; where it is "email", a token that says "email_verified": false is
refused. A client that names a user must name that one, letter case apart.

Who has signed a token that is none of ours is not told: the next provider is asked. What is signed and not good is 535,
and the log says why.

Not here: asking the issuer for each token (introspection, RFC 7662), and fetching its keys by HTTP: a timer with curl
does the latter.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from mailstack import extra, log, option
from mailstack.contract.hookspec import hookimpl
from mailstack.option import ConfigError
from mailstack.services.files import Latest
from mailstack.session.credentials import TOKEN, Credentials, Token
from mailstack.session.session import Session
from mailstack.wire.reply import Reply

__all__ = ["AuthJWT"]

EXTRAS = ("auth",)

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "Ed25519", "EdDSA", "HS256", "HS384", "HS512"),
)
USUAL: Final = ("RS256", "ES256")
SHORTEST: Final = 43  # digits of base64 that are 256 bits
LARGEST: Final = 1024 * 1024  # octets of a file of keys
_NAMELESS: Final = ""  # a key in PEM has no name, whatever tokens call it
_RIGHT: Final = Reply(235)
_WRONG: Final = Reply(535)

Claims = Mapping[str, Any]


class AuthJWT:
    """keys -- a file, or text. issuer, audience -- one or several.

    algorithms -- RS256 and ES256, or others of RS, PS, ES, HS with 256, 384 or 512, and Ed25519, EdDSA. Those with HS
        want shared secrets (kty "oct") as keys, and no others beside them.
    identity -- the claim that is the login. scope -- words that a token must have, parted by blanks.
    leeway -- how wrong clocks may be, at most 10 minutes.

    ConfigError for keys that cannot be read, and for anything else.
    """

    name = "authjwt"
    rehearsable = True
    mechanisms = TOKEN

    def __init__(
        self,
        keys: str | os.PathLike[str],
        *,
        issuer: str | Iterable[str],
        audience: str | Iterable[str],
        algorithms: str | Iterable[str] = USUAL,
        identity: str = "sub",
        scope: str = "",
        leeway: float | str = "30s",
    ) -> None:
        self._jwt = extra.require("joserfc.jwt", "mailstack[auth]")
        self._jwk = extra.require("joserfc.jwk", "mailstack[auth]")
        self._jws = extra.require("joserfc.jws", "mailstack[auth]")
        named = _several(algorithms)
        self._algorithms = [option.choice(each, *ALGORITHMS, name="AuthJWT(algorithms)") for each in named]
        shared = {each.startswith("HS") for each in self._algorithms}
        if len(shared) != 1:
            raise ConfigError(
                "AuthJWT(algorithms): shared secrets and public keys do not go together",
                remedy='write algorithms=("RS256", "ES256"), or "HS256" alone',
            )
        self._shared = shared.pop()
        self._issuers = _several(issuer)
        self._audiences = _several(audience)
        if not (all(self._issuers) and self._issuers and all(self._audiences) and self._audiences):
            raise ConfigError(
                "AuthJWT: without an issuer and an audience every token would do",
                remedy='write issuer="https://login.example.org/", audience="mail"',
            )
        self._identity = identity
        self._scope = frozenset(scope.split())
        seconds = option.duration(leeway, name="AuthJWT(leeway)")
        if seconds > 600:
            raise ConfigError(f"AuthJWT(leeway): {seconds:g} s is too long", remedy="write at most 10 minutes")
        self._leeway = int(seconds)
        self._keys = _Keys(keys, self._read)

    @hookimpl
    def auth(self, session: Session, credentials: Credentials) -> Reply | None:
        if not isinstance(credentials, Token):
            return None
        claims = self._claims(credentials.token)
        if claims is None or claims.get("iss") not in self._issuers:
            return None
        reason = self._objection(claims) or _not_of(credentials.user, claims[self._identity])
        if reason:
            log.info("token refused", session=session.id, client=str(session.client), reason=reason)
            return _WRONG
        credentials.identity = claims[self._identity]
        return _RIGHT

    def _claims(self, token: str) -> Claims | None:
        """What the token says, if one of the keys has signed it."""
        try:
            header = self._jws.extract_compact(token.encode()).headers()
        except Exception:  # a stranger's text: whatever the library stumbles over makes it no token
            return None
        for key in self._keys.named(header.get("kid")):
            try:
                claims: Claims = self._jwt.decode(token, key, algorithms=self._algorithms).claims
            except Exception:
                continue
            return claims
        return None

    def _objection(self, claims: Claims) -> str:
        """Why these claims are not good enough, "" if they are."""
        registry = self._jwt.JWTClaimsRegistry(
            leeway=self._leeway, exp={"essential": True}, aud={"essential": True, "values": self._audiences}
        )
        try:
            registry.validate(dict(claims))
        except Exception as error:
            return f"{type(error).__name__}: {getattr(error, 'description', '')}"
        who = claims.get(self._identity)
        if not isinstance(who, str) or not who:
            return f"it has no {self._identity}"
        if self._identity == "email" and claims.get("email_verified") in (False, "false"):
            return "its address is not verified"
        missing = self._scope - _words(claims.get("scope", claims.get("scp")))
        return f"it is not for {' '.join(sorted(missing))}" if missing else ""

    def _read(self, text: str) -> dict[str, Any]:
        """Keys by name, for who names none by number. ValueError, TypeError or the library's for what is none."""
        if not text.lstrip().startswith("{"):
            return {_NAMELESS: self._one(text, None)}
        given = json.loads(text)
        several = given.get("keys", [given])
        usable = [each for each in several if (each.get("kty") == "oct") is self._shared and each.get("use") != "enc"]
        found = {each.get("kid") or str(number): self._one(each, each.get("kty")) for number, each in enumerate(usable)}
        if not found:
            raise ValueError("there is no key among them for these algorithms")
        return found

    def _one(self, given: Any, kind: str | None) -> Any:
        if kind == "oct" and len(given.get("k", "")) < SHORTEST:
            raise ValueError("a shared secret has at least 32 octets (RFC 7518 §3.2)")
        if kind is not None:
            return self._jwk.import_key(given, kind)
        if self._shared or "PUBLIC KEY" not in given:
            raise ValueError("it is neither a JWK nor a public key in PEM")
        for each in ("RSA", "EC", "OKP"):
            try:
                return self._jwk.import_key(given, each)
            except Exception:
                continue
        raise ValueError("it is no key of RSA, EC or Ed25519")


class _Keys:
    """The keys of a file or a text. read -- makes them of the text."""

    __slots__ = ("_keys", "_path")

    def __init__(self, given: str | os.PathLike[str], read: Callable[[str], dict[str, Any]]) -> None:
        text = given if isinstance(given, str) and given.lstrip().startswith(("{", "-----BEGIN")) else None
        self._path = None if text is not None else Path(given)
        files = [] if self._path is None else [self._path]
        try:
            self._keys = Latest(lambda: read(text or self._text()), *files, complain=self._complain)
        except Exception as error:
            place = "the text" if self._path is None else self._path
            raise ConfigError(
                f"AuthJWT(keys): {place}: {_reason(error)}",
                remedy="give a JWK Set, a JWK or a public key in PEM, or the path of a file with one",
            ) from error

    def named(self, name: object) -> list[Any]:
        """The key of this name, or all of them for who names none."""
        keys = self._keys.value
        if name is None:
            return list(keys.values())
        key = keys.get(name, keys.get(_NAMELESS)) if isinstance(name, str) else None
        return [] if key is None else [key]

    def _complain(self, error: Exception) -> None:
        log.warning("keys", path=str(self._path), problem=_reason(error), kept=True)

    def _text(self) -> str:
        assert self._path is not None
        with self._path.open("rb") as file:
            octets = file.read(LARGEST + 1)
        if len(octets) > LARGEST:
            raise ValueError("it is too large")
        return octets.decode()


def _reason(error: Exception) -> str:
    """Words that have nothing of a key in them."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error) if type(error) is ValueError else f"it cannot be read ({type(error).__name__})"


def _several(given: str | Iterable[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _words(scope: object) -> frozenset[str]:
    if isinstance(scope, str):
        return frozenset(scope.split())
    return frozenset(map(str, scope)) if isinstance(scope, list) else frozenset()


def _not_of(user: str, who: str) -> str:
    """A token of one, brought by another."""
    return "" if user.casefold() in ("", who.casefold()) else "it is somebody else's"
