"""authjwt: whose tokens are taken, and for whom; what looks like one and is none."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

from mailstack import ConfigError
from mailstack.middleware import auth, authjwt
from mailstack.testing import Dialog

ISSUER = "https://login.example.org/"


@cache
def rsa() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "one"}, auto_kid=False)


@cache
def other() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "one"}, auto_kid=False)


@cache
def ec() -> ECKey:
    return ECKey.generate_key("P-256", {"kid": "two"}, auto_kid=False)


def jwks() -> str:
    return json.dumps(KeySet([rsa(), ec()]).as_dict(private=False))


def provider(**options: Any) -> authjwt.AuthJWT:
    given = {"keys": jwks(), "issuer": ISSUER, "audience": "mail", **options}
    return authjwt.AuthJWT(given.pop("keys"), **given)


def token(key: Any = None, header: Any = None, **claims: Any) -> str:
    now = int(time.time())
    said = {"iss": ISSUER, "aud": "mail", "sub": "ann", "exp": now + 60, **claims}
    said = {name: value for name, value in said.items() if value is not None}
    key = key or rsa()
    algorithm = {"RSA": "RS256", "EC": "ES256", "oct": "HS256", "OKP": "Ed25519"}[key.key_type]
    whole = {"alg": algorithm, "kid": "two" if key.key_type == "EC" else "one", **(header or {})}
    whole = {name: value for name, value in whole.items() if value is not None}
    return jwt.encode(whole, said, key, algorithms=[whole["alg"]])


async def log_in(given: str, *providers: authjwt.AuthJWT, user: str = "") -> tuple[int, str | None]:
    """The last code, and who the client is."""
    async with Dialog(auth.Auth(insecure=True, delay=0), *(providers or [provider()])) as smtp:
        assert (await smtp.say("EHLO laptop")).keywords["AUTH"] == "OAUTHBEARER XOAUTH2"
        words = f"user={user}\1auth=Bearer {given}\1\1".encode()
        said = await smtp.say(f"AUTH XOAUTH2 {base64.b64encode(words).decode()}")
        if said == 334:
            said = await smtp.say("")
        assert [each for each in smtp.evidence if each.outcome == "fault"] == []
        return said.code, smtp.session.user


async def test_a_token_of_the_issuer_s_is_a_login() -> None:
    assert await log_in(token()) == (235, "ann")
    assert await log_in(token(ec()), user="Ann") == (235, "ann")
    assert await log_in(token(header={"kid": None})) == (235, "ann")
    assert await log_in(token(aud=["web", "mail"])) == (235, "ann")


WRONG: dict[str, Callable[[], str]] = {
    "over": lambda: token(exp=int(time.time()) - 31),
    "without an end": lambda: token(exp=None),
    "not yet": lambda: token(nbf=int(time.time()) + 100),
    "of another issuer": lambda: token(iss="https://evil.example/"),
    "of no issuer": lambda: token(iss=None),
    "of an odd issuer": lambda: token(iss=[ISSUER]),
    "for others": lambda: token(aud="web"),
    "for nobody": lambda: token(aud=None),
    "nobody's": lambda: token(sub=None),
    "an odd one's": lambda: token(sub=17),
    "an empty one's": lambda: token(sub=""),
    "unprintable": lambda: token(sub="a\nb"),
    "signed by another": lambda: token(other()),
    "with a key of its own": lambda: token(other(), {"jwk": other().as_dict(private=False)}),
    "with the public key for a secret": lambda: confused(),
    "with an unknown key": lambda: token(header={"kid": "three"}),
    "with an odd key": lambda: tampered({"alg": "RS256", "kid": ["one"]}),
    "not signed": lambda: tampered({"alg": "none"}, signature=""),
    "signed for something else": lambda: tampered({"alg": "RS256", "kid": "one"}),
    "too deep": lambda: f"{b64(b'[' * 6000)}.e30.AAAA",
    "no token": lambda: "abc",
    "five parts": lambda: "a.b.c.d.e",
}


def b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def tampered(header: dict[str, Any], signature: str | None = None) -> str:
    """Another's name under a good signature."""
    return f"{unsigned(header)}.{token().split('.')[2] if signature is None else signature}"


def unsigned(header: dict[str, Any]) -> str:
    claims = {"iss": ISSUER, "aud": "mail", "sub": "root", "exp": int(time.time()) + 60}
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"


def confused() -> str:
    """Signed with what everybody knows (the oldest trick: RS256 read as HS256)."""
    text = unsigned({"alg": "HS256", "kid": "one"})
    return f"{text}.{b64(hmac.digest(rsa().as_pem(private=False), text.encode(), 'sha256'))}"


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG.keys())
async def test_any_other_is_none(make: Callable[[], str]) -> None:
    assert await log_in(make()) == (535, None)


async def test_clocks_may_be_wrong_a_little() -> None:
    assert (await log_in(token(exp=int(time.time()) - 20)))[0] == 235
    assert (await log_in(token(exp=int(time.time()) - 20), provider(leeway=0)))[0] == 535


async def test_it_is_for_whom_it_names() -> None:
    assert (await log_in(token(), user="bob"))[0] == 535
    mail = {"email": "ann@example.org"}
    assert await log_in(token(**mail), provider(identity="email"), user="ann@example.org") == (235, "ann@example.org")
    assert (await log_in(token(**mail, email_verified=True), provider(identity="email")))[0] == 235
    assert (await log_in(token(**mail, email_verified=False), provider(identity="email")))[0] == 535
    assert (await log_in(token(), provider(identity="email")))[0] == 535


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"scope": "mail smtp offline"}, 235),
        ({"scp": ["smtp", "mail"]}, 235),
        ({"scope": "smtp"}, 535),
        ({"scope": 1}, 535),
        ({}, 535),
    ],
)
async def test_it_must_be_for_what_is_asked(claims: dict[str, Any], code: int) -> None:
    assert (await log_in(token(**claims), provider(scope="smtp mail")))[0] == code


async def test_several_issuers_each_with_a_provider() -> None:
    second = provider(issuer="https://other.example/", keys=other().as_pem(private=False).decode())
    assert await log_in(token(other(), iss="https://other.example/"), provider(), second) == (235, "ann")
    assert (await log_in(token(other()), provider(), second))[0] == 535


async def test_other_algorithms() -> None:
    secret = OctKey.generate_key(256, {"kid": "one"}, auto_kid=False)
    assert (await log_in(token(secret), provider(keys=json.dumps(secret.as_dict()), algorithms="HS256")))[0] == 235
    edwards = OKPKey.generate_key("Ed25519")
    pem = edwards.as_pem(private=False).decode()
    assert (await log_in(token(edwards), provider(keys=pem, algorithms=["Ed25519"])))[0] == 235
    assert (await log_in(token(ec()), provider(algorithms="RS256")))[0] == 535


async def test_a_file_is_read_again_and_the_last_good_one_stays(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(other().as_dict(private=False)))
    judge = provider(keys=file)
    assert (await log_in(token(), judge))[0] == 535
    file.write_text(jwks())
    assert (await log_in(token(), judge))[0] == 235
    for broken in ('{"keys": [', '{"keys": []}', "", "-----BEGIN", "\0" * 2_000_000):
        file.write_text(broken)
        assert (await log_in(token(), judge))[0] == 235
    file.unlink()
    assert (await log_in(token(), judge))[0] == 235


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keys": "/nonexistent/jwks.json"}, "No such file"),
        ({"keys": '{"keys": []}'}, "no key among them"),
        ({"keys": '{"kty": "RSA"}'}, "cannot be read"),
        ({"keys": "-----BEGIN CERTIFICATE-----\n"}, "neither a JWK nor"),
        ({"keys": '{"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQ"}'}, "no key among them"),
        ({"keys": '{"kty": "oct", "k": "c2VjcmV0"}', "algorithms": "HS256"}, "at least 32"),
        ({"algorithms": "none"}, "none"),
        ({"algorithms": ["RS256", "HS256"]}, "do not go together"),
        ({"issuer": ""}, "every token would do"),
        ({"audience": ()}, "every token would do"),
        ({"leeway": "1h"}, "too long"),
    ],
)
def test_what_cannot_be_is_told_at_the_start(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        provider(**options)


def test_a_private_key_is_not_told() -> None:
    pem = rsa().as_pem(private=True).decode()
    with pytest.raises(ConfigError) as caught:
        provider(keys=pem)
    assert pem[60:90] not in str(caught.value)
