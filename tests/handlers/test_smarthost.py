"""forward before a server that wants TLS and a login: what goes well, and that nothing else ever bounces a message."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest

from mailstack import Listener, Reply, Server, Session, Stack, hookimpl
from mailstack.handlers.forward import Forward
from mailstack.handlers.lmtp import Lmtp
from mailstack.middleware import tls
from mailstack.middleware.auth import Auth
from mailstack.option import ConfigError
from mailstack.services.client import TLS, Login
from mailstack.session.credentials import PASSWORD, Credentials, Password
from mailstack.session.transaction import Sender
from mailstack.testing import Collect, Conversation, Dialog, Vouch
from tests.nexthop import NextHop
from tests.tls import authority_pem, pem

ANN = "ann@example.org"


class Users:
    """One user, whose password may change; counts who asks."""

    mechanisms = PASSWORD

    def __init__(self, password: str = "right", answer: int = 535) -> None:
        self.password = password
        self.answer = answer
        self.asked = 0

    @hookimpl
    def auth(self, credentials: Credentials) -> Reply | None:
        assert isinstance(credentials, Password)
        self.asked += 1
        return Reply(235 if credentials.password == self.password else self.answer)


class Seen:
    """Who sent, as MAIL said it."""

    def __init__(self) -> None:
        self.parameters: list[dict[str, Any]] = []
        self.users: list[str | None] = []

    @hookimpl
    def mail(self, session: Session, sender: Sender) -> None:
        self.parameters.append(dict(sender.parameters))
        self.users.append(session.user)


class Smarthost:
    """A running one. lmtp -- over a UNIX socket."""

    def __init__(self, users: Users | None = None, *, implicit: bool = False, required: bool = True) -> None:
        self.users = users or Users()
        self.seen = Seen()
        self.box = Collect()
        entries = (
            tls.TLS(str(pem())),
            Auth(required=required, delay=0, trusted=("ann",)),
            self.users,
            self.seen,
            Vouch(),
            self.box,
        )
        self._server = Server(Stack(*entries), [Listener("127.0.0.1:0", tls=implicit)], hostname="mx.test")

    async def __aenter__(self) -> "Smarthost":
        await self._server.__aenter__()
        self.address = ":".join(map(str, self._server.addresses[0]))
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._server.__aexit__(*error)


def checked(**options: Any) -> TLS:
    return TLS("verify", ca=authority_pem(), name="mx.test", **options)


@asynccontextmanager
async def before(*places: str, above: Any = (), **how: Any) -> AsyncIterator[Conversation]:
    with anyio.fail_after(30):
        async with Dialog(*above, Vouch(), handler=Forward(*places, timeout=20, final=20, **how)) as smtp:
            yield smtp


@pytest.mark.parametrize("implicit", [False, True])
async def test_mail_goes_by_a_server_that_wants_tls_and_a_login(implicit: bool, caplog: Any) -> None:
    caplog.set_level("INFO")
    async with Smarthost(implicit=implicit) as host:
        how: Any = {"tls": checked(implicit=implicit), "user": "ann", "password": "right"}
        async with before(host.address, **how) as smtp:
            for _ in range(3):
                assert await smtp.message("a@example.net", ANN) == 250
        assert host.seen.users == ["ann"] * 3
        assert len(host.box.messages) == 3
        assert host.users.asked <= 2  # a login for each connection; the first look at the server is one
    assert "TLSv1.3" in caplog.text
    assert "right" not in caplog.text


@pytest.mark.parametrize(
    ("wrong", "answer", "words"),
    [
        ({"password": "wrong"}, (451, "4.7.0"), "login at the next server failed"),
        ({"login": Login("ann", token="t")}, (451, "4.7.0"), "may be used"),
        ({"tls": TLS("verify", ca=authority_pem(), name="other.test")}, (451, "4.7.5"), "no TLS with the next server"),
        ({"tls": "verify"}, (451, "4.7.5"), "no TLS with the next server"),
        ({"tls": "none"}, (451, "4.7.0"), "AUTH is not offered"),
    ],
)
async def test_what_we_cannot_do_there_is_put_off_and_the_log_says_why(
    wrong: dict[str, Any], answer: tuple[int, str], words: str, caplog: Any
) -> None:
    how = {"tls": checked(), "user": "ann", "password": "right", **wrong}
    if "login" in wrong:
        how = {"tls": checked(), **wrong}
    async with Smarthost() as host, before(host.address, **how) as smtp:
        heard = await smtp.message("a@example.net", ANN)
        assert (heard.code, heard.status) == answer
        assert not host.box.messages
        errors = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
        assert any(words in each and host.address in each for each in errors)
        assert ("user" in errors[0]) is (answer[1] == "4.7.0")
        for secret in ("right", "wrong"):
            assert secret not in caplog.text


async def test_a_server_that_offers_no_tls_gets_nothing_where_it_is_wanted() -> None:
    async with NextHop("SIZE 1") as hop:
        for level in ("encrypt", "verify"):
            async with before(hop.address, tls=level) as smtp:
                heard = await smtp.message("a@example.net", ANN)
                assert (heard.code, heard.status) == (451, "4.7.4")
        async with before(hop.address) as smtp:
            assert await smtp.message("a@example.net", ANN) == 250
        assert len(hop.messages) == 1


async def test_where_one_server_cannot_be_trusted_another_is_tried() -> None:
    async with Smarthost(required=False) as one, NextHop() as clear, Smarthost() as other:
        how: Any = {"tls": checked(), "user": "ann", "password": "right"}
        async with before(clear.address, other.address, **how) as smtp:
            assert await smtp.message("a@example.net", ANN) == 250
        assert len(other.box.messages) == 1
        assert not clear.messages
        async with before(one.address, tls="may") as smtp:  # any certificate
            assert await smtp.message("a@example.net", ANN) == 250


async def test_trouble_at_the_other_side_is_a_warning_and_a_refused_login_is_not_tried_for_each_message(
    tmp_path: Path, caplog: Any
) -> None:
    file = tmp_path / "password"
    file.write_text("wrong\n")
    file.chmod(0o600)
    async with Smarthost(Users(answer=454)) as host:
        async with before(host.address, tls=checked(), user="ann", password_file=file) as smtp:
            assert await smtp.message("a@example.net", ANN) == 451
            host.users.answer = 535
            asked = host.users.asked
            for _ in range(5):
                assert await smtp.message("a@example.net", ANN) == 451
            assert host.users.asked <= asked + 2  # the first look at the server may be late
            levels = [each.levelname for each in caplog.records if "login at the next" in each.getMessage()]
            assert levels[0] == "WARNING"
            assert levels[-1] == "ERROR"
            file.write_text("right!\n")
            host.users.password = "right!"
            assert await smtp.message("a@example.net", ANN) == 250


# AUTH= of MAIL.


class Somebody:
    """Everybody has logged in as this."""

    def __init__(self, user: str) -> None:
        self.user = user

    @hookimpl
    def connect(self, session: Session) -> None:
        session.user = self.user


class Offers:
    """AUTH= of MAIL is heard."""

    keywords: ClassVar = {"AUTH": "PLAIN"}

    @hookimpl
    def connect(self) -> None:
        pass


@pytest.mark.parametrize(
    ("above", "said", "logged_in", "passed_on"),
    [
        ((), "", True, ""),
        ((), " AUTH=eve@example.net", True, ""),
        ((Somebody("eve"),), " AUTH=eve@example.net", True, "eve@example.net"),
        ((Somebody("eve"),), "", True, ""),
        ((), " AUTH=eve@example.net", False, None),
        ((), "", False, None),
    ],
)
async def test_who_gave_a_message_up_is_passed_on_only_for_who_is_known(
    above: tuple[object, ...], said: str, logged_in: bool, passed_on: str | None
) -> None:
    how: Any = {"user": "ann", "password": "right"} if logged_in else {}
    async with Smarthost(required=False) as host:
        host.seen.parameters.clear()
        async with before(host.address, above=(*above, Offers()), tls=checked(), **how) as smtp:
            await smtp.say("EHLO client.example.org")
            assert await smtp.say(f"MAIL FROM:<a@example.net>{said}") == 250
            await smtp.say(f"RCPT TO:<{ANN}>")
            await smtp.say("DATA")
            await smtp.send(b"Subject: x\r\n\r\n.\r\n")
            assert await smtp.reply() == 250
        [parameters] = host.seen.parameters
        found = parameters.get("AUTH")
        assert (None if found is None else str(found)) == passed_on


# LMTP, and options.


async def test_lmtp_takes_the_same_options(tmp_path: Path) -> None:
    box = Collect()
    stack = Stack(tls.TLS(str(pem())), Auth(required=True, delay=0), Users(), Vouch(), box)
    server = Server(stack, [Listener(f"unix:{tmp_path}/lmtp", lmtp=True)], hostname="mx.test")
    async with server:
        for how in ({"tls": checked()}, {"login": Login("ann", password="right"), "tls": checked()}):
            given: Any = {"user": "ann", "password": "right", **how}
            if "login" in how:
                given = how
            with anyio.fail_after(30):
                async with Dialog(Vouch(), handler=Lmtp(f"unix:{tmp_path}/lmtp", **given)) as smtp:
                    assert await smtp.message("a@example.net", ANN) == 250
    assert len(box.messages) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"tls": "always"},
        {"tls": "none", "implicit_tls": True},
        {"tls": TLS("may"), "implicit_tls": True},
        {"user": "ann"},
        {"password": "x"},
        {"password_file": "/nonexistent"},
        {"user": "ann", "password_file": "/nonexistent"},
        {"user": "ann", "password": "x", "password_file": "/etc/passwd"},
        {"user": "ann", "login": Login("ann", password="x")},
    ],
)
def test_options_that_make_no_sense_are_told(options: Any) -> None:
    with pytest.raises(ConfigError) as error:
        Forward("127.0.0.1:25", **options)
    assert error.value.remedy
