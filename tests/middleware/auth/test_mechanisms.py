"""auth: what clients may say, octet by octet."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from anyio import run
from hypothesis import example, given
from hypothesis import strategies as st
from scramp import ScramMechanism  # type: ignore[import-untyped]

from mailstack import Reply, hookimpl
from mailstack.middleware.auth import cram_md5, login, names, oauth, plain, scram
from mailstack.services.passwords import make_keys
from mailstack.session.credentials import Challenge, Credentials, ScramKeys
from mailstack.testing import Dialog
from tests.middleware.auth.users import Users, b64, begin, open_auth, unb64
from tests.middleware.auth.users import scram as log_in

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=40)

PARSERS: list[Callable[[bytes], object]] = [
    plain.parse,
    lambda octets: login.parse(octets, octets),
    cram_md5.parse,
    scram.parse_first,
    scram.parse_last,
    oauth.parse_bearer,
    oauth.parse_xoauth2,
    names.escaped,
]


def refused(parse: Callable[[Any], object], given: object) -> bool:
    try:
        parse(given)
    except ValueError:
        return True
    return False


WORDS = b"\0", b"\1", b",", b"=", b"n", b"y", b"a=", b"n=", b"r=", b"c=", b"p=", b"user=", b"auth=Bearer ", b"x", b" "


@given(st.binary(max_size=200) | st.lists(st.sampled_from(WORDS)).map(b"".join))
@example(b"n,,\1\1")
@example(b",,,,")
def test_nonsense_is_a_value_error_and_nothing_else(octets: bytes) -> None:
    for parse in PARSERS:
        refused(parse, octets)


# PLAIN.


@given(NAMES, st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60))
def test_plain_is_read_as_it_was_said(user: str, password: str) -> None:
    try:
        prepared = names.user(user)
    except ValueError:
        return
    assert plain.parse(f"\0{user}\0{password}".encode()) == ("", prepared, password)
    assert plain.parse(f"{user}\0{user}\0{password}".encode()) == (prepared, prepared, password)


@pytest.mark.parametrize(
    "octets", [b"", b"\0\0", b"ann\0right", b"\0ann\0right\0", b"\0a\x01n\0right", b"\0\xff\0right", b"\0ann\0\xff"]
)
def test_what_is_no_plain(octets: bytes) -> None:
    assert refused(plain.parse, octets)


# Names.


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\xadX", "IX"),  # the examples of RFC 4013 §3
        ("user", "user"),
        ("USER", "USER"),
        ("\xaa", "a"),
        ("\u2168", "IX"),
        ("a\xa0b", "a b"),
        ("ju\u0308rgen", "jürgen"),
    ],
)
def test_names_are_prepared(text: str, prepared: str) -> None:
    assert names.user(text) == prepared


@pytest.mark.parametrize("text", ["", "\x07", "a\nb", "\u06271", "a\u0627", "\xad", "\u202ea", "\ufffd", "a" * 513])
def test_what_is_no_name(text: str) -> None:
    assert refused(names.user, text)


# SCRAM.

# RFC 7677 §3, RFC 5802 §5.
EXAMPLES = {
    "SHA-256": (
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        "W22ZaJ0SNY7soEsUEjb6gQ==",
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
    "SHA-1": (
        b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        "fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
        "QSXCR+Q6sek8bf92",
        b"p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
}


@pytest.mark.parametrize("hash", EXAMPLES)
def test_the_examples_of_the_rfcs(hash: str) -> None:
    message, nonce, salt, proof, signature = EXAMPLES[hash]
    first = scram.parse_first(message)
    said = f"r={nonce},s={salt},i=4096".encode()
    last = scram.parse_last(b"c=biws,r=" + nonce.encode() + b"," + proof)
    assert (first.user, first.header, last.binding) == ("user", b"n,,", b"n,,")
    signed = b",".join((first.bare, said, last.without_proof))
    keys = make_keys(hash, "pencil", b64decode(salt), 4096)
    assert scram.is_proof(keys, last.proof, signed)
    assert b64encode(scram.sign(keys, signed)) == signature
    assert not scram.is_proof(make_keys(hash, "Pencil", b64decode(salt), 4096), last.proof, signed)
    assert not scram.is_proof(keys, last.proof[:-1], signed)


@pytest.mark.parametrize(
    "message",
    [
        b"n,,n=user",
        b"n,n=user,r=a",
        b"x,,n=user,r=a",
        b"p=tls-exporter,,n=user,r=a",
        b"n,b=x,n=user,r=a",
        b"n,,m=x,n=user,r=a",
        b"n,,n=user,r=a,m=x",
        b"n,,n=user,r=a,b",
        b"n,,n=,r=a",
        b"n,,n=user,r=",
        b"n,,n=user,r=a b",
        b"n,,n=user,r=\xc3\xa9",
        b"n,,n=us=er,r=a",
        b"n,,n=us=2cer,r=a",
        b"n,,n=\xff,r=a",
        b"n,,r=a,n=user",
        b"n,,n=user,r=" + b"a" * 129,
        b"n,,n=" + b"u" * 9000 + b",r=a",
    ],
)
def test_what_is_no_first_message(message: bytes) -> None:
    assert refused(scram.parse_first, message)


@pytest.mark.parametrize("message", [b"n,,n=user,r=a", b"y,,n=user,r=a", b"n,a=user,n=user,r=a,x=future"])
def test_what_is_one(message: bytes) -> None:
    assert scram.parse_first(message).user == "user"


@pytest.mark.parametrize(
    "lie",
    [
        lambda said: "c=biws,r=abcother,p=AAAA",
        lambda said: f"c=eSws,{said},p=AAAA",
        lambda said: f"c=biws,{said}",
        lambda said: f"c=biws,{said},p=!",
        lambda said: f"c=biws,{said},m=x,p=AAAA",
        lambda said: f"{said},c=biws,p=AAAA",
        lambda said: "",
        lambda said: "A" * 9000,
    ],
)
async def test_a_last_message_that_is_none_is_501(lie: Callable[[str], str]) -> None:
    async with Dialog(open_auth(), Users(ann="right")) as smtp:
        await begin(smtp)
        for user in ("ann", "nobody"):
            challenge = unb64((await smtp.say(f"AUTH SCRAM-SHA-256 {b64(f'n,,n={user},r=abc')}")).text)
            assert await smtp.say(b64(lie(challenge.split(",")[0]))) == 501
        assert [each for each in smtp.evidence if each.outcome == "fault"] == []


@pytest.mark.parametrize("proof", ["", b64(b"\0" * 32), b64(b"\0" * 31), b64(b"\0" * 4000)])
async def test_a_wrong_proof_is_535(proof: str) -> None:
    async with Dialog(open_auth(failures=9), Users(ann="right")) as smtp:
        await begin(smtp)
        for user in ("ann", "nobody"):
            challenge = unb64((await smtp.say(f"AUTH SCRAM-SHA-256 {b64(f'n,,n={user},r=abc')}")).text)
            assert await smtp.say(b64(f"c=biws,{challenge.split(',')[0]},p={proof}")) == 535


@pytest.mark.parametrize(("mechanism", "hash"), scram.HASHES.items())
async def test_keys_that_another_library_made(mechanism: str, hash: str) -> None:
    salt, stored_key, server_key, iterations = ScramMechanism(mechanism).make_auth_info("pässword", 5000)
    keys = ScramKeys(hash, salt, iterations, stored_key, server_key)
    assert make_keys(hash, "pässword", salt, iterations) == keys
    async with Dialog(open_auth(failures=9), Users(ann=keys)) as smtp:
        await begin(smtp)
        assert await log_in(smtp, mechanism, "ann", "password") == 535
        assert await log_in(smtp, mechanism, "ann", "pässword") == 235


async def test_keys_of_the_other_hash_make_a_user_unknown() -> None:
    keys = make_keys("SHA-1", "right", b"0123456789ab", 4096)
    async with Dialog(open_auth(failures=9), Users(ann=keys)) as smtp:
        await begin(smtp)
        assert await log_in(smtp, "SCRAM-SHA-256", "ann", "right") == 535
        assert await log_in(smtp, "SCRAM-SHA-1", "ann", "right") == 235


async def salt_of(user: str, *, secret: str | None = None, users: Mapping[str, str] | None = None) -> str:
    async with Dialog(open_auth(secret=secret), Users(users)) as smtp:
        await begin(smtp)
        challenge = unb64((await smtp.say(f"AUTH SCRAM-SHA-256 {b64(f'n,,n={user},r=abc')}")).text)
        await smtp.say("*")
        assert challenge.startswith("r=abc")
        return challenge.split(",", 1)[1]


async def test_the_salt_tells_nobody_who_exists() -> None:
    there, gone = await salt_of("ann", users={"ann": "right"}), await salt_of("ann")
    assert there == gone
    assert await salt_of("bob") != gone
    assert await salt_of("ann", secret="x") == await salt_of("ann", secret="x") != gone
    assert there.endswith(",i=4096")


def test_where_a_machine_has_no_name_salts_are_new_with_each_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scram, "_MACHINE", Path("/nonexistent"))
    assert scram.salter(None)("SHA-256", "ann") != scram.salter(None)("SHA-256", "ann")


class Several:
    """A user with an old password and a new one."""

    mechanisms = ("SCRAM-SHA-256",)

    @hookimpl
    async def auth(self, credentials: Credentials) -> Reply:
        assert isinstance(credentials, Challenge)
        tried = [await credentials.matches(secret) for secret in ("old", "right")]
        return Reply(235 if any(tried) else 535)


async def test_several_secrets_may_be_tried_in_one_exchange() -> None:
    async with Dialog(open_auth(), Several()) as smtp:
        await begin(smtp)
        assert await log_in(smtp, "SCRAM-SHA-256", "ann", "right") == 235


def test_one_hash_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """However a user is kept, and whether there is one, an exchange hashes once, and as often."""
    counted: list[int] = []
    real = hashlib.pbkdf2_hmac

    def count(algorithm: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        counted.append(iterations)
        return real(algorithm, password, salt, iterations)

    keys = make_keys("SHA-256", "right", b"0123456789ab", 4096)

    async def all_three() -> None:
        async with Dialog(open_auth(failures=9), Users(ann="right", bob=keys)) as smtp:
            await begin(smtp)
            for user in ("ann", "bob", "nobody"):
                challenge = unb64((await smtp.say(f"AUTH SCRAM-SHA-256 {b64(f'n,,n={user},r=abc')}")).text)
                assert await smtp.say(b64(f"c=biws,{challenge.split(',')[0]},p={b64(bytes(32))}")) == 535

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", count)
    run(all_three)
    assert counted == [4096] * 3


class Wrong:
    """Puts secrets to the client that its mechanism cannot judge."""

    mechanisms = ("CRAM-MD5", "SCRAM-SHA-256")

    def __init__(self, *secrets: ScramKeys) -> None:
        self.secrets = secrets

    @hookimpl
    async def auth(self, credentials: Credentials) -> Reply | None:
        assert isinstance(credentials, Challenge)
        return Reply(235 if [await credentials.matches(secret) for secret in self.secrets] else 535)


async def test_a_secret_of_another_kind_is_its_provider_s_fault() -> None:
    other, endless = make_keys("SHA-1", "x", b"salt", 1), make_keys("SHA-256", "x", b"s" * 65, 1)
    for keys in (other, endless):
        async with Dialog(open_auth(), Wrong(keys)) as smtp:
            await begin(smtp)
            assert await smtp.say(f"AUTH SCRAM-SHA-256 {b64('n,,n=ann,r=abc')}") == 454
            assert await smtp.say("AUTH CRAM-MD5") == 334
            assert await smtp.say(b64(f"ann {'0' * 32}")) == 454
            assert len([each for each in smtp.evidence if each.outcome == "fault"]) == 2


async def test_cram_md5_knows_nobody_who_has_keys_alone() -> None:
    async with Dialog(open_auth(), Users(ann=make_keys("SHA-256", "right", b"salt", 1))) as smtp:
        await begin(smtp)
        challenge = unb64((await smtp.say("AUTH CRAM-MD5")).text)
        assert await smtp.say(b64(f"ann {cram_md5.digest('right', challenge.encode())}")) == 535
        for words in ("", "ann", f"ann {'0' * 31}", f"ann {'G' * 32}", f" {'0' * 32}", b"\xff " + b"0" * 32):
            await smtp.say("AUTH CRAM-MD5")
            assert await smtp.say(b64(words)) == 501


# Tokens.


@given(NAMES, st.from_regex(r"[A-Za-z0-9._~+/-]{1,40}={0,2}", fullmatch=True))
def test_tokens_are_read_as_they_were_said(user: str, token: str) -> None:
    try:
        prepared = names.user(user)
    except ValueError:
        return
    escaped = user.replace("=", "=3D").replace(",", "=2C")
    bearer = oauth.parse_bearer(f"n,a={escaped},\1host=mx\1port=587\1auth=Bearer {token}\1\1".encode())
    google = oauth.parse_xoauth2(f"user={user}\1auth=Bearer {token}\1\1".encode())
    assert (bearer.user, bearer.token) == (google.user, google.token) == (prepared, token)


@pytest.mark.parametrize(
    "message",
    [
        b"n,,\1auth=Bearer x\1",
        b"n,,auth=Bearer x\1\1",
        b"p=x,,\1auth=Bearer x\1\1",
        b"n,b=x,\1auth=Bearer x\1\1",
        b"n,,\1auth=Basic x\1\1",
        b"n,,\1auth=\1\1",
        b"n,,\1auth=Bearer x\1auth=Bearer y\1\1",
        b"n,,\1auth=Bearer x y\1\1",
        b"n,,\1auth=Bearer x\1\1\1",
        b"n,a=,\1auth=Bearer x\1\1",
    ],
)
def test_what_is_no_bearer(message: bytes) -> None:
    assert refused(oauth.parse_bearer, message)


def test_what_is_said_of_a_refused_token_fits_into_a_line() -> None:
    assert len(oauth.bearer_error(oauth.check("https://" + "a" * 248))) <= 360
