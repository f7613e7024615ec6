"""The client's side of AUTH without a connection: each mechanism, SCRAM with another implementation, and nonsense."""

import re
from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scramp import ScramException, ScramMechanism  # type: ignore[import-untyped]

from mailstack import Reply
from mailstack.option import ConfigError
from mailstack.services.client import Login, NoMechanism, sasl
from mailstack.services.client.authentication import authenticate
from mailstack.services.client.sasl import Nonsense, start

SCRAM = pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])


def said(mechanism: str, *challenges: bytes, user: str = "ann", secret: str = "secret") -> list[bytes | None]:
    talk = start(mechanism, user, secret)
    return [talk.send(None), *(talk.send(challenge) for challenge in challenges)]


def test_the_plain_mechanisms_say_what_their_rfcs_want() -> None:
    assert said("PLAIN") == [b"\0ann\0secret"]
    assert said("LOGIN", b"Username:", b"Password:") == [None, b"ann", b"secret"]
    [nothing, answer] = said(
        "CRAM-MD5", b"<1896.697170952@postoffice.reston.mci.net>", user="tim", secret="tanstaaftanstaaf"
    )
    assert (nothing, answer) == (None, b"tim b913a602c7eda7a495b4e6e7334d3890")  # RFC 2195 §2
    assert said("XOAUTH2", b'{"status":"401"}') == [b"user=ann\1auth=Bearer secret\1\1", b""]
    assert said("OAUTHBEARER", b"{}", user="a,b=c") == [b"n,a=a=2Cb=3Dc,\1auth=Bearer secret\1\1", b"\1"]


def scramp_server(mechanism: str, user: str, password: str, **options: int):  # type: ignore[no-untyped-def]
    kind = ScramMechanism(mechanism)
    known = kind.make_auth_info(password, iteration_count=options.get("iterations", 4096), salt=b"0123456789abcdef")
    return kind.make_server({user: known}.__getitem__)


def talk_with(server, talk) -> None:  # type: ignore[no-untyped-def]
    first = talk.send(None)
    server.set_client_first(first.decode())
    final = talk.send(server.get_server_first().encode())
    server.set_client_final(final.decode())
    assert talk.send(server.get_server_final().encode()) == b""
    with pytest.raises(StopIteration):
        talk.send(None)


@SCRAM
@pytest.mark.parametrize(
    ("user", "password"), [("ann", "secret"), ("Käthe", "geheim €"), ("ann", "\u2168 pass\u00adword")]
)
def test_scram_and_another_implementation_believe_each_other(mechanism: str, user: str, password: str) -> None:
    talk_with(scramp_server(mechanism, user, password), start(mechanism, user, password))


@SCRAM
def test_a_wrong_password_is_not_believed_and_neither_is_a_wrong_server(mechanism: str) -> None:
    server, talk = scramp_server(mechanism, "ann", "right"), start(mechanism, "ann", "wrong")
    server.set_client_first((talk.send(None) or b"").decode())
    final = talk.send(server.get_server_first().encode()) or b""
    with pytest.raises(ScramException):
        server.set_client_final(final.decode())
    with pytest.raises(Nonsense, match="has not shown"):
        talk.send(b"v=" + b64encode(b"0" * 32))


@pytest.mark.parametrize(
    "change",
    [
        lambda first: first.replace("i=4096", "i=4095"),
        lambda first: first.replace("i=4096", "i=2000000000"),
        lambda first: first.replace("i=4096", "i=" + "9" * 5000),
        lambda first: first.replace("i=4096", "i=x"),
        lambda first: "m=new," + first,
        lambda first: first.replace("r=", "r=x"),
        lambda first: re.sub(",s=[^,]*", ",s=?", first),
        lambda first: first.replace(",i=4096", ""),
        lambda first: "",
    ],
)
def test_a_server_that_bends_scram_hears_no_proof(change) -> None:  # type: ignore[no-untyped-def]
    server, talk = scramp_server("SCRAM-SHA-256", "ann", "secret"), start("SCRAM-SHA-256", "ann", "secret")
    server.set_client_first((talk.send(None) or b"").decode())
    with pytest.raises(Nonsense):
        talk.send(change(server.get_server_first()).encode())


def test_a_server_that_adds_nothing_to_the_nonce_hears_no_proof() -> None:
    talk = start("SCRAM-SHA-256", "ann", "secret")
    first = talk.send(None)
    assert first is not None
    with pytest.raises(Nonsense, match="nonce"):
        talk.send(first.split(b",")[-1] + b",s=QUJD,i=4096")


# The exchange.


class Server:
    """Answers what it is told to, the last one for ever."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.heard: list[str] = []
        self.shown: list[str] = []

    async def ask(self, line: str, shown: str) -> Reply:
        self.heard.append(line)
        self.shown.append(shown)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


GO_ON = Reply(334, "")
IN = Reply(235)


async def test_the_initial_response_goes_with_the_command_if_the_line_has_room() -> None:
    server = Server(IN)
    assert await authenticate(server.ask, "PLAIN", "ann", "secret") == IN
    assert server.heard == ["AUTH PLAIN " + b64encode(b"\0ann\0secret").decode()]
    assert server.shown == ["AUTH PLAIN (hidden)"]
    server = Server(GO_ON, IN)
    assert await authenticate(server.ask, "PLAIN", "ann", "s" * 600) == IN
    assert server.heard == ["AUTH PLAIN", b64encode(b"\0ann\0" + b"s" * 600).decode()]
    assert server.shown == ["AUTH PLAIN", "(hidden)"]


@pytest.mark.parametrize("mechanism", [*sasl.PASSWORDS, *sasl.TOKENS])
@pytest.mark.parametrize("text", ["", "VXNlcm5hbWU6", "A" * 4000, "not base64", "=", "\ufffd"])
async def test_a_server_that_asks_without_end_is_told_to_stop(mechanism: str, text: str) -> None:
    server = Server(Reply(334, text))
    with pytest.raises(Nonsense):
        await authenticate(server.ask, mechanism, "ann", "secret")
    assert len(server.heard) <= 4
    assert server.heard[-1] == "*"
    assert not any("secret" in line for line in server.shown)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
async def test_a_yes_of_who_has_proved_nothing_is_no_yes(mechanism: str) -> None:
    with pytest.raises(Nonsense, match="has not shown"):
        await authenticate(Server(IN).ask, mechanism, "ann", "secret")


@pytest.mark.parametrize("code", [250, 220, 354, 300])
async def test_only_235_is_a_yes(code: int) -> None:
    with pytest.raises(Nonsense):
        await authenticate(Server(Reply(code)).ask, "PLAIN", "ann", "secret")


async def test_a_secret_that_fits_into_no_line_is_not_said() -> None:
    server = Server(GO_ON, IN)
    with pytest.raises(Nonsense, match="too long"):
        await authenticate(server.ask, "XOAUTH2", "ann", "t" * 20_000)
    assert server.heard == ["AUTH XOAUTH2", "*"]


REPLIES = st.one_of(
    st.sampled_from([IN, GO_ON, Reply(454), Reply(535), Reply(421), Reply(250)]),
    st.binary(max_size=60).map(lambda octets: Reply(334, b64encode(octets).decode())),
    st.text(max_size=60).map(lambda text: Reply(334, text)),
)


@pytest.mark.one_backend
@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([each for each in [*sasl.PASSWORDS, *sasl.TOKENS] if each not in sasl.COSTLY]),  # no loop here
    st.lists(REPLIES, min_size=1, max_size=6),
    st.text(min_size=1, max_size=9).map(lambda text: "geheim" + text.encode("utf-8", "ignore").decode()),
)
def test_whatever_a_server_says_it_ends_and_shows_no_secret(mechanism: str, replies: list[Reply], secret: str) -> None:
    server = Server(*replies)
    talk = authenticate(server.ask, mechanism, "ann", secret)
    with pytest.raises((StopIteration, Nonsense)) as end:
        talk.send(None)
    if isinstance(end.value, StopIteration):
        assert end.value.value.code == 235 or end.value.value.refused
    assert len(server.heard) <= 5
    assert secret not in " ".join(server.shown)
    assert b64encode(secret.encode()).decode() not in " ".join(server.shown)


# Who we are, and by which mechanism that is shown.


@pytest.mark.parametrize(
    ("offered", "private", "options", "chosen"),
    [
        ("LOGIN PLAIN SCRAM-SHA-1 CRAM-MD5 SCRAM-SHA-256", True, {}, "SCRAM-SHA-256"),
        ("login plain", True, {}, "PLAIN"),
        ("LOGIN", True, {}, "LOGIN"),
        ("CRAM-MD5 PLAIN", True, {}, "PLAIN"),
        ("CRAM-MD5 PLAIN", True, {"mechanisms": "cram-md5 plain"}, "CRAM-MD5"),
        ("SCRAM-SHA-256 PLAIN", True, {"mechanisms": ["PLAIN"]}, "PLAIN"),
        ("SCRAM-SHA-1 PLAIN", False, {}, "SCRAM-SHA-1"),
        ("PLAIN", False, {"insecure": True}, "PLAIN"),
        ("XOAUTH2 OAUTHBEARER", True, {"token": "t"}, "OAUTHBEARER"),
    ],
)
def test_the_strongest_mechanism_that_both_want_is_chosen(
    offered: str, private: bool, options: dict[str, str], chosen: str
) -> None:
    secret = {} if "token" in options else {"password": "secret"}
    assert Login("ann", **{**secret, **options}).choose(offered, private) == chosen  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("offered", "private", "why"),
    [
        (None, True, "AUTH is not offered"),
        ("", True, "it offers nothing"),
        ("CRAM-MD5 GSSAPI \x1b[31m", True, "it offers CRAM-MD5 GSSAPI, and"),
        ("PLAIN LOGIN", False, "PLAIN LOGIN would say the secret in clear"),
    ],
)
def test_where_no_mechanism_may_be_used_that_is_said(offered: str | None, private: bool, why: str) -> None:
    with pytest.raises(NoMechanism, match=why) as error:
        Login("ann", password="secret").choose(offered, private)
    assert not error.value.temporary
    assert "\x1b" not in str(error.value)


async def test_a_password_file_is_read_each_time(tmp_path, caplog) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "password"
    file.write_bytes(b"\xef\xbb\xbfone two \r\nsecond line\n")
    file.chmod(0o600)
    login = Login("ann", password_file=file)
    assert await login.secret() == "one two "
    before = login.stamp
    file.write_text("three\n")
    assert await login.secret() == "three"
    assert login.stamp != before
    assert "everybody" not in caplog.text
    file.chmod(0o644)
    assert await login.secret() == "three"
    assert "everybody can read the password file" in caplog.text
    assert "three" not in caplog.text + repr(login) + str(login)
    for content in (b"", b"\n", b"\xff", b"a\0b", b"x" * 20_000):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match="password"):
            await login.secret()
    file.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        await login.secret()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"password": ""},
        {"password": "a\0b"},
        {"password": "\ud800"},
        {"password": "one", "token": "two"},
        {"token": "two words"},
        {"password_file": "/nonexistent/file"},
        {"password": "one", "mechanisms": "XOAUTH2"},
        {"password": "one", "mechanisms": []},
        {"password": "one", "insecure": "perhaps"},
    ],
)
def test_a_login_that_makes_no_sense_is_told(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as error:
        Login("ann", **options)  # type: ignore[arg-type]
    assert "two words" not in str(error.value)
    with pytest.raises(ConfigError):
        Login("ann\r\n", password="x")
