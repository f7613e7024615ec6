"""The client under TLS and logged in: against mailstack's own server, and against whoever stands in between."""

import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

from mailstack import Listener, Reply, Server, Stack, hookimpl
from mailstack.middleware import tls as offering
from mailstack.middleware.auth import Auth
from mailstack.option import ConfigError
from mailstack.services.client import (
    TLS,
    Client,
    Content,
    Disconnected,
    Envelope,
    Login,
    NoMechanism,
    NotAuthenticated,
    NotSecure,
    Timeouts,
    begin,
    open_client,
)
from mailstack.services.transport import BrokenStream, tls
from mailstack.session.credentials import SECRET, Challenge, Credentials, Token
from mailstack.testing import Collect, Vouch
from tests.services.test_client import Fake, Script, talking
from tests.tls import authority_pem, pem, server_context, write_pem

HERE = ("mx.test", 25)
MESSAGE = Content.of(b"Subject: hi\r\n\r\nhi\r\n")


def checked(**options: Any) -> TLS:
    return TLS("verify", ca=authority_pem(), **options)


async def under_tls(fake: Fake, context: ssl.SSLContext | None = None) -> None:
    """The rest is under TLS."""
    fake.stream = await tls.wrap(fake.stream, context or server_context("mx.test"))  # type: ignore[assignment]


async def greets(fake: Fake, *keywords: str) -> None:
    await fake.line()
    await fake.say(*(f"250-{word}" for word in ("mx.test", *keywords)), "250 HELP")


def offering_tls(*keywords: str, answer: str = "220 go", context: ssl.SSLContext | None = None) -> Script:
    """A server with STARTTLS; the keywords are those under TLS."""

    async def script(fake: Fake) -> None:
        await fake.hello("STARTTLS", "AUTH PLAIN", "SIZE 5")
        if await fake.line() == b"STARTTLS":
            await fake.say(*answer.split("|"))
            if answer.startswith("220"):
                await under_tls(fake, context)
                await greets(fake, *keywords)
        await fake.answers(AUTH="235 in")

    return script


def until_cut(script: Script) -> Script:
    """A script whose end may be that the client leaves."""

    async def run(fake: Fake) -> None:
        with suppress(BrokenStream, tls.HandshakeFailed):
            await script(fake)

    return run


@asynccontextmanager
async def opened(
    script: Script, policy: TLS | None = None, login: Login | None = None, **options: Any
) -> AsyncIterator[tuple[Client, Fake]]:
    """What goes wrong at the beginning is raised as it is, and not in a group."""
    failure = None
    async with talking(until_cut(script), **options) as (client, fake):
        try:
            await begin(client, HERE, "me.test", policy, login)
        except Exception as error:
            failure = error
        else:
            yield client, fake
    if failure is not None:
        raise failure


# STARTTLS.


@pytest.mark.parametrize("policy", [TLS("may"), TLS("encrypt"), checked()], ids=lambda policy: policy.level)
async def test_after_starttls_all_that_was_known_is_forgotten(policy: TLS) -> None:
    seen: list[str] = []
    async with opened(offering_tls("CHUNKING"), policy, transcript=lambda who, line: seen.append(line)) as (client, _):
        assert dict(client.keywords) == {"CHUNKING": "", "HELP": ""}
        assert client.encryption.startswith("TLSv1.3 ")
        assert client.private
        assert f"({client.encryption})" in seen
        assert (await client.transact(Envelope.of("a@example.org", ["b@example.net"]), MESSAGE)).complete


async def test_in_clear_only_where_tls_is_not_offered_and_not_required() -> None:
    async def plain(fake: Fake) -> None:
        await fake.hello("SIZE 5")
        await fake.answers()

    async with opened(plain, TLS("may")) as (client, _):
        assert not client.private
    async with opened(offering_tls(), TLS("none")) as (client, fake):
        assert not client.encryption
        assert b"STARTTLS" not in fake.heard
    for policy in (TLS("encrypt"), checked()):
        with pytest.raises(NotSecure, match="not offered") as error:
            async with opened(plain, policy):
                pass
        assert not error.value.offered


@pytest.mark.parametrize("answer", ["454 4.7.0 not now", "501 no", "554 never", "250 well", "354 go"])
@pytest.mark.parametrize("level", ["may", "encrypt"])
async def test_nothing_goes_on_in_clear_where_starttls_was_refused(answer: str, level: Any) -> None:
    with pytest.raises(NotSecure, match="refused") as error:
        async with opened(offering_tls(answer=answer), TLS(level)):
            pass
    assert error.value.offered
    assert error.value.reply is not None
    assert error.value.reply.code == int(answer[:3])


async def test_what_is_said_in_clear_behind_the_220_is_an_error() -> None:
    async with talking(until_cut(offering_tls(answer="220 go|250-mx.test|250 AUTH PLAIN"))) as (client, fake):
        with pytest.raises(Disconnected, match="came between"):
            await begin(client, HERE, "me.test", TLS("may"), Login("ann", password="secret"))
        assert not client.usable
        assert all(b"AUTH" not in line for line in fake.heard)


@pytest.mark.parametrize("more", [b"2", b"250 half", b"250 AUTH PLAIN\r\n"])
async def test_an_injected_piece_of_a_reply_is_an_error_too(more: bytes) -> None:
    async def script(fake: Fake) -> None:
        await fake.hello("STARTTLS")
        await fake.line()
        await fake.stream.send(b"220 go\r\n" + more)
        await fake.line()

    async with talking(script) as (client, _):
        with pytest.raises(Disconnected):
            await begin(client, HERE, "me.test", TLS("may"), None)


async def test_octets_that_come_later_in_clear_break_the_handshake() -> None:
    async def script(fake: Fake) -> None:
        await fake.hello("STARTTLS")
        await fake.line()
        await fake.say("220 go")
        await fake.fill()  # the client's first flight
        await fake.say("250-mx.test", "250 AUTH PLAIN")
        await fake.line()

    with pytest.raises(NotSecure, match="no TLS"):
        async with opened(script, TLS("may")):
            pass


async def test_a_server_that_makes_no_handshake_is_not_waited_for() -> None:
    async def script(fake: Fake) -> None:
        await fake.hello("STARTTLS")
        await fake.line()
        await fake.say("220 go")
        while True:
            await fake.fill()

    with pytest.raises(Disconnected, match="no answer within"):
        async with opened(script, TLS("may"), timeouts=Timeouts(connect=0.05)):
            pass


# Certificates.


def expired(tmp_path: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(write_pem(tmp_path / "old.pem", days=(-9, -1)))
    return context


def unknown(_: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("mx.test").configure_cert(context)
    return context


@pytest.mark.parametrize("wrong", ["expired", "unknown", "another name"])
async def test_a_certificate_that_is_not_right_is_refused_where_it_is_checked(wrong: str, tmp_path: Path) -> None:
    made: dict[str, Callable[[Path], ssl.SSLContext]] = {
        "expired": expired,
        "unknown": unknown,
        "another name": lambda _: server_context("other.test"),
    }
    words = {"expired": "expired", "unknown": "issuer|self-signed", "another name": "mx.test"}
    context = made[wrong](tmp_path)
    with pytest.raises(NotSecure, match=words[wrong]):
        async with opened(offering_tls(context=context), checked()):
            pass
    for level in ("may", "encrypt"):
        async with opened(offering_tls(context=context), TLS(level)) as (client, _):
            assert client.encryption


async def test_the_system_does_not_know_the_authority_of_these_tests() -> None:
    with pytest.raises(NotSecure):
        async with opened(offering_tls(), TLS("verify")):
            pass


async def test_a_name_that_was_given_is_what_counts() -> None:
    async with opened(offering_tls(context=server_context("other.test")), checked(name="other.test")) as (client, _):
        assert client.encryption
    with pytest.raises(NotSecure):
        async with opened(offering_tls(), checked(name="other.test")):
            pass


def fingerprint_of(file: Path) -> str:
    import hashlib

    certificate = file.read_text().partition("-----BEGIN CERTIFICATE")
    text = certificate[1] + certificate[2].partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(text)).hexdigest()


async def test_a_fingerprint_is_enough_and_is_needed(tmp_path: Path) -> None:
    context = expired(tmp_path)
    hexed = fingerprint_of(tmp_path / "old.pem").upper()
    pin = ":".join(hexed[at : at + 2] for at in range(0, 64, 2))
    async with opened(offering_tls(context=context), TLS("verify", fingerprint=["0" * 64, pin])) as (client, _):
        assert client.encryption
    with pytest.raises(NotSecure, match="fingerprint"):
        async with opened(offering_tls(context=context), TLS("verify", fingerprint="0" * 64)):
            pass


async def test_a_client_shows_its_certificate_and_takes_a_new_one_when_the_file_changes(
    tmp_path: Path, caplog: Any
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem())
    context.load_verify_locations(authority_pem())
    context.verify_mode = ssl.CERT_REQUIRED
    names: list[Any] = []

    def script() -> Script:
        async def run(fake: Fake) -> None:
            await fake.hello("STARTTLS")
            await fake.line()
            await fake.say("220 go")
            await under_tls(fake, context)
            names.append(fake.stream.names)  # type: ignore[attr-defined]
            await greets(fake)
            await fake.answers()

        return run

    policy = checked(certificate=write_pem(tmp_path / "me.pem", "one.test"))
    async with opened(script(), policy):
        pass
    write_pem(tmp_path / "me.pem", "two.test", rsa=True)
    async with opened(script(), policy):
        pass
    (tmp_path / "me.pem").write_text("broken")
    async with opened(script(), policy):
        pass
    assert [dict(each)["DNS"] for each in names] == ["one.test", "two.test", "two.test"]
    assert "cannot be used" in caplog.text


async def test_nothing_older_than_tls_1_2_is_spoken() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem())
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(NotSecure):
        async with opened(offering_tls(context=context), TLS("may")):
            pass


@pytest.mark.parametrize(
    "options",
    [
        {"level": "must"},
        {"level": "none", "implicit": True},
        {"level": "may", "ca": "/etc/passwd"},
        {"level": "encrypt", "fingerprint": "0" * 64},
        {"ca": "/nonexistent"},
        {"ca": "/etc/passwd"},
        {"fingerprint": "12:34"},
        {"fingerprint": "0" * 64, "ca": "/etc/passwd"},
        {"certificate": "/etc/passwd"},
        {"key": "/etc/passwd"},
        {"name": "not a name"},
        {"minimum": "SSLv3"},
    ],
)
def test_a_policy_that_makes_no_sense_is_told(options: Any) -> None:
    with pytest.raises(ConfigError) as error:
        TLS(**options)
    assert error.value.remedy


# mailstack on the other side.

USERS = {"ann": "right", "Käthe": "geheim €"}


class Known:
    """Judges by passwords in clear, by every mechanism."""

    mechanisms = SECRET

    @hookimpl
    async def auth(self, credentials: Credentials) -> Reply | None:
        known = USERS.get(credentials.user)
        if known is None or isinstance(credentials, Token):
            return None
        right = (
            await credentials.matches(known) if isinstance(credentials, Challenge) else credentials.password == known
        )
        return Reply(235 if right else 535)


@asynccontextmanager
async def served(*, implicit: bool = False) -> AsyncIterator[tuple[tuple[str, int], Collect]]:
    box = Collect()
    stack = Stack(
        offering.TLS(str(pem())),
        Auth(mechanisms=["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"]),
        Known(),
        Vouch(),
        box,
    )
    server = Server(stack, [Listener("127.0.0.1:0", tls=implicit)], hostname="mx.test")
    async with server:
        yield server.addresses[0], box  # type: ignore[misc]


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_message_goes_to_a_server_that_wants_tls_and_a_login(implicit: bool) -> None:
    async with served(implicit=implicit) as (address, box):
        policy = checked(name="mx.test", implicit=implicit)
        login = Login("Käthe", password="geheim €")
        async with await open_client(address, hostname="me.test", tls=policy, login=login) as client:
            assert client.user == "Käthe"
            assert client.encryption
            assert (await client.transact(Envelope.of("a@example.org", ["b@example.net"]), MESSAGE)).complete
        assert len(box.messages) == 1


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"])
async def test_each_mechanism_lets_in_who_knows_the_password_and_nobody_else(mechanism: str) -> None:
    seen: list[str] = []
    async with served() as (address, _):
        policy = TLS("encrypt")
        how: Any = {"hostname": "me.test", "tls": policy, "transcript": lambda who, line: seen.append(line)}
        login = Login("ann", password="right", mechanisms=mechanism)
        async with await open_client(address, login=login, **how) as client:
            assert client.user == "ann"
        with pytest.raises(NotAuthenticated) as error:
            await open_client(address, login=Login("ann", password="wrong", mechanisms=mechanism), **how)
    assert not error.value.temporary
    assert error.value.reply is not None
    assert error.value.reply.code == 535
    assert any(line.startswith(f"AUTH {mechanism}") for line in seen)
    for secret in ("right", "wrong"):
        for form in (secret, b64encode(secret.encode()).decode(), b64encode(f"\0ann\0{secret}".encode()).decode()):
            assert form not in "\n".join(seen) + str(error.value) + repr(error.value)


async def test_a_password_is_not_said_in_clear_unless_told() -> None:
    async with served() as (address, _):
        with pytest.raises(NoMechanism):
            await open_client(address, hostname="me.test", login=Login("ann", password="right"))

    async def script(fake: Fake) -> None:
        await fake.hello("AUTH PLAIN LOGIN")
        await fake.answers(AUTH="235 in")

    login = Login("ann", password="right")
    async with talking(script) as (client, fake):
        with pytest.raises(NoMechanism, match="in clear"):
            await begin(client, HERE, "me.test", TLS("may"), login)
        assert not any(line.startswith(b"AUTH") for line in fake.heard)
    async with opened(script, None, Login("ann", password="right", insecure=True)) as (client, fake):
        assert client.user == "ann"


@pytest.mark.parametrize(
    ("answer", "temporary"),
    [("454 4.7.0 later", True), ("421 bye", True), ("535 no", False), ("534 weak", False), ("504 what", False)],
)
async def test_a_refusal_is_told_as_what_it_is(answer: str, temporary: bool) -> None:
    async def script(fake: Fake) -> None:
        await fake.hello("AUTH PLAIN")
        await fake.answers(AUTH=answer)

    with pytest.raises(NotAuthenticated, match="AUTH PLAIN is refused: ") as error:
        async with opened(script, None, Login("ann", password="right", insecure=True)):
            pass
    assert error.value.temporary is temporary
    assert error.value.user == "ann"


async def test_a_server_that_says_the_secret_after_us_is_not_quoted() -> None:
    seen: list[str] = []

    async def script(fake: Fake) -> None:
        await fake.hello("AUTH PLAIN")
        line = (await fake.line()).decode()
        await fake.say(f"535 not {line.split()[-1]} and not right-password")
        await fake.answers()

    with pytest.raises(NotAuthenticated) as error:
        async with opened(script, None, Login("ann", password="right-password", insecure=True),
                          transcript=lambda who, line: seen.append(line)):  # fmt: skip
            pass
    told = str(error.value) + "\n".join(seen)
    assert "not (hidden) and not (hidden)" in told
    assert "right-password" not in told
    assert b64encode(b"\0ann\0right-password").decode() not in told


async def test_a_challenge_of_any_size_ends_the_conversation() -> None:
    async def script(fake: Fake) -> None:
        await fake.hello("AUTH LOGIN")
        await fake.line()
        await fake.stream.send(b"334 " + b"A" * 1_000_000)
        await fake.line()

    with pytest.raises((Disconnected, NotAuthenticated)):
        async with opened(script, None, Login("ann", password="right", insecure=True)):
            pass


async def test_tokens_come_from_a_function_each_time() -> None:
    tokens = iter(["first", "second"])

    async def fresh() -> str:
        await anyio.lowlevel.checkpoint()
        return next(tokens)

    async def script(fake: Fake) -> None:
        await fake.hello("AUTH XOAUTH2")
        await fake.answers(AUTH="235 in")

    login = Login("ann", token=fresh, insecure=True)
    for token in ("first", "second"):
        async with opened(script, None, login) as (_, fake):
            said = b64encode(f"user=ann\1auth=Bearer {token}\1\1".encode())
            assert b"AUTH XOAUTH2 " + said in fake.heard


async def test_a_function_that_fails_or_hangs_is_no_login_and_its_words_stay_with_it() -> None:
    async def fails() -> str:
        raise ValueError("secret words")

    async def hangs() -> str:
        await anyio.sleep_forever()
        return ""

    async def script(fake: Fake) -> None:
        await fake.hello("AUTH XOAUTH2")
        await fake.answers()

    for function, words in ((fails, "ValueError"), (hangs, "does not come")):
        with pytest.raises(NotAuthenticated, match=words) as error:
            login = Login("ann", token=function, insecure=True)
            async with opened(script, None, login, timeouts=Timeouts(command=0.05)):
                pass
        assert "secret words" not in str(error.value)


async def test_auth_has_no_place_in_a_transaction() -> None:
    async def script(fake: Fake) -> None:
        await fake.hello("AUTH PLAIN")
        await fake.answers()

    async with opened(script) as (client, _):
        await client.mail(Envelope.of("a@example.org", ["b@example.org"]).mail)
        with pytest.raises(RuntimeError):
            await client.authenticate(Login("ann", password="x", insecure=True))
