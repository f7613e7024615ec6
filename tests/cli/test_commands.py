"""The command line: what each command prints, where, and the exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mailstack import ConfigError, Listener, Recipient, Server, Stack, __version__, config, hookimpl, log
from mailstack.cli import main
from mailstack.cli.audit import ToldAtStart
from mailstack.cli.failure import told
from mailstack.contract.hookspec import LIVES, NOTICES, PHASES
from mailstack.contract.load import HOOKS

CONF = sorted((Path(__file__).parents[2] / "conf").glob("*.py"))
HEAD = "from mailstack import *\nfrom mailstack.handlers import discard\nfrom mailstack.middleware import recipients\n"


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments)
    log.reset()  # `serve` has configured it, for a process of its own
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("mx.py")


# The program -------------------------------------------------------------------------------------------------------


def test_help_lists_the_commands_and_version_is_the_packages() -> None:
    words = run("--help").stdout
    own = words.partition("Commands:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in own.splitlines()] == sorted(main.commands)
    assert run("--version").stdout == f"mailstack, version {__version__}\n"


def test_help_does_not_wait_for_the_server_or_the_terminal_library() -> None:
    program = (
        "import sys; from mailstack.cli import main\ntry: main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "mailstack.cli" in loaded
    assert not {"anyio", "asyncio", "trio", "rich", "structlog", "ssl", "mailstack.server", "dns"} & set(loaded)


def test_the_module_is_the_program() -> None:
    done = subprocess.run([sys.executable, "-m", "mailstack", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"mailstack, version {__version__}\n"


def test_a_mistake_inside_a_group_is_told_and_anything_else_passes(capsys: pytest.CaptureFixture[str]) -> None:
    group = BaseExceptionGroup("start", [KeyError("x"), ExceptionGroup("deep", [ConfigError("no", remedy="yes")])])
    with pytest.raises(SystemExit) as caught, told():
        raise group
    assert caught.value.code == 2
    assert capsys.readouterr().err == "mailstack: no\n  remedy: yes\n"
    with pytest.raises(ExceptionGroup), told():
        raise ExceptionGroup("start", [KeyError("x")])


# check -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONF, ids=lambda path: path.stem)
def test_every_configuration_that_comes_along_is_fine(path: Path, configuration: Path) -> None:
    result = run("check", str(path))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith("\nfine\n")
    assert not list(Path().iterdir()), "check must leave nothing behind"


RICH = """
class Policy:
    @hookimpl
    async def mail(self, call_next):
        return await call_next()

    @hookimpl
    def disconnect(self): ...


server = Server(
    Stack(
        Unless(
            predicate.authenticated,
            Limit(Policy(), timeout="10s", on_fault="pass"),
        ),
        recipients.Domains("example.org"),
        discard.Discard(),
    ),
    [Listener("127.0.0.1:2525"), Listener("[::1]:2525", name="six")],
    hostname="mx.example.org",
)
"""


def test_check_shows_each_phase_in_order_with_lines_conditions_and_limits(configuration: Path) -> None:
    configuration.write_text(HEAD + RICH)
    result = run("check", "mx.py")
    assert result.exit_code == 0
    assert result.stdout == (
        "mx.example.org on 127.0.0.1:2525, six\n"
        "mail\n"
        "└── unless authenticated  mx.py:16\n"
        "    └── Policy  async onion, at most 10 s, on a fault pass  mx.py:18\n"
        "rcpt\n"
        "└── recipients  check  mx.py:20\n"
        "queue\n"
        "└── discard  check  mx.py:21\n"
        "disconnect\n"
        "└── Policy  notice  mx.py:18\n"
        "nobody listens to: connect, ehlo, auth, data, headers, message, command\n"
        "limits: 30 s for each run of checks, 300 s for message and queue together\n"
        "dns: asks the name servers of this machine; names of clients: verify\n"
        "fine\n"
    )


def test_check_says_the_same_as_json(configuration: Path) -> None:
    configuration.write_text(HEAD + RICH)
    report = json.loads(run("check", "mx.py", "--json").stdout)
    assert (report["hostname"], report["listeners"]) == ("mx.example.org", ["127.0.0.1:2525", "six"])
    assert list(report["lives"]) == list(LIVES)
    assert list(report["phases"]) == list(PHASES)
    assert list(report["notices"]) == list(NOTICES)
    assert report["phases"]["mail"] == [
        {
            "condition": "unless authenticated",
            "origin": "mx.py:16",
            "entries": [
                {
                    "entry": "Policy",
                    "origin": "mx.py:18",
                    "kind": "onion",
                    "async": True,
                    "timeout": 10.0,
                    "on_fault": "pass",
                    "treatment": [],
                }
            ],
        }
    ]
    assert (report["warnings"], report["open_relay"]) == ([], False)


def test_a_stack_that_takes_no_mail_and_keeps_none_is_warned_of(configuration: Path) -> None:
    configuration.write_text(
        HEAD + "class Ear:\n    @hookimpl\n    def connect(self): ...\nserver = Server(Stack(Ear()))\n"
    )
    result = run("check", "mx.py")
    assert result.exit_code == 0
    assert "warning: no entry implements rcpt: no recipient but postmaster will be accepted\n" in result.stdout
    assert "warning: no entry implements queue: every message will be answered 451\n" in result.stdout
    assert "fine" not in result.stdout


def test_what_the_compiler_warns_of_is_shown(configuration: Path) -> None:
    configuration.write_text(
        HEAD + "class Ear:\n    @hookimpl\n    def connect(self): ...\n"
        "server = Server(Stack(Unless(predicate.authenticated, Ear()), "
        "recipients.Domains('example.org'), discard.Discard()))\n"
    )
    result = run("check", "mx.py")
    assert result.exit_code == 0
    assert "warning: mx.py:7: Ear listens in connect, but authenticated is known only from auth on" in result.stdout


WRAPPED = """
class Policy:
    @hookimpl
    def connect(self): ...


server = Server(
    Stack(
        Observe(Policy()),
        Score(Postpone(Policy()), 5),
        recipients.Domains("example.org"),
        discard.Discard(),
        discard.Discard(),
    ),
    hostname="mx.example.org",
)
"""


def test_check_shows_what_becomes_of_a_verdict_and_who_is_never_asked(configuration: Path) -> None:
    configuration.write_text(HEAD + "from mailstack import Observe, Postpone, Score\n" + WRAPPED)
    result = run("check", "mx.py")
    assert result.exit_code == 0
    assert result.stdout.startswith(
        "mx.example.org on 127.0.0.1:2525\n"
        "connect\n"
        "├── Policy  check, only observed  mx.py:13\n"
        "└── Policy#2  check, refuses at rcpt, 5 points  mx.py:14\n"
        "rcpt\n"
        "├── Policy#2  check, what was postponed, 5 points  mx.py:14\n"
        "└── recipients  check  mx.py:15\n"
    )
    assert result.stdout.endswith(
        "warning: mx.py:14: Policy#2 scores in connect, but no Threshold judges after it\n"
        "warning: mx.py:17: discard#2 is never asked in queue: discard (mx.py:16) always answers there\n"
    )


VOUCH = "class Vouch:\n    @hookimpl\n    {0} rcpt(self, session, recipient):\n        {1}\n"


@pytest.mark.parametrize("define", ["def", "async def"])
def test_an_open_relay_is_an_error(configuration: Path, define: str) -> None:
    configuration.write_text(
        HEAD + VOUCH.format(define, "recipient.accept()") + "server = Server(Stack(Vouch(), discard.Discard()))\n"
    )
    result = run("check", "mx.py")
    assert result.exit_code == 1
    assert "warning: OPEN RELAY: mail for anybody is accepted at 127.0.0.1:2525\n" in result.stdout
    assert json.loads(run("check", "mx.py", "--json").stdout)["open_relay"] is True


@pytest.mark.parametrize(
    "entry",
    [
        "dnsbl.DNSBL('bl.example.org')",
        "greylist.Greylist()",
        "resolvable.Resolvable()",
        "Limit(greylist.Greylist(), timeout='5s')",
        "Observe(dnsbl.DNSBL('bl.example.org'))",
        "Unless(predicate.secure, Postpone(earlytalker.EarlyTalker()))",
    ],
)
def test_an_open_relay_does_not_hide_behind_what_waits_or_fails(configuration: Path, entry: str) -> None:
    configuration.write_text(
        HEAD + "from mailstack.middleware import dnsbl, earlytalker, greylist, relay, resolvable\n"
        f"server = Server(Stack({entry}, relay.Relay('0.0.0.0/0', '::/0'), discard.Discard()))\n"
    )
    result = run("check", "mx.py")
    assert "OPEN RELAY" in result.stdout
    assert result.exit_code == 1


@pytest.mark.parametrize(
    "body",
    [
        "recipient.accept(); raise OSError('the store is not there')",
        "session.start(print); recipient.accept(); session.close(); return Reply(450, 'not yet')",
    ],
)
def test_who_accepts_and_then_fails_or_puts_off_is_an_open_relay_tomorrow(configuration: Path, body: str) -> None:
    configuration.write_text(HEAD + VOUCH.format("def", body) + "server = Server(Stack(Vouch(), discard.Discard()))\n")
    result = run("check", "mx.py")
    assert "OPEN RELAY" in result.stdout
    assert (result.exit_code, result.stderr) == (1, "")


async def test_a_server_tells_at_its_start_what_check_would(caplog: pytest.LogCaptureFixture) -> None:
    class Vouch:
        @hookimpl
        def rcpt(self, recipient: Recipient) -> None:
            recipient.accept()

    async with Server(Stack(ToldAtStart(), Vouch()), [Listener("127.0.0.1:0", name="outside")]):
        pass
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 2
    assert "no entry implements queue" in told[0]
    assert "OPEN RELAY: mail for anybody is accepted at outside" in told[1]


def test_listeners_that_are_not_there_or_twice_are_warned_of(configuration: Path) -> None:
    configuration.write_text(
        HEAD + "at = [Listener('127.0.0.1:2525', name='edge'), Listener('127.0.0.1:2525')]\n"
        "deep = Unless(~predicate.listener('inner', 'edge'), recipients.Domains('example.org'))\n"
        "server = Server(Stack(When(predicate.secure, deep), discard.Discard()), at)\n"
    )
    told = run("check", "mx.py").stdout
    assert "warning: two listeners are at 127.0.0.1:2525\n" in told
    assert "warning: mx.py:6: no listener is called inner\n" in told
    assert told.count("no listener is called") == 1
    configuration.write_text(HEAD + "server = Server(Stack(discard.Discard()), [])\n")
    assert "warning: the server listens nowhere\n" in run("check", "mx.py").stdout


def test_no_line_of_a_report_is_cut_off(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    configuration.write_text(HEAD + "server = Server(Stack(recipients.Domains('example.org'), discard.Discard()))\n")
    assert "└── recipients  check  mx.py:4\n" in run("check", "mx.py").stdout


def test_a_user_who_is_not_there_is_warned_of(configuration: Path) -> None:
    configuration.write_text(HEAD + 'server = Server(Stack(discard.Discard()), user="gargantua")\n')
    assert "there is no user 'gargantua': useradd" in run("check", "mx.py").stdout
    configuration.write_text(HEAD + 'server = Server(Stack(discard.Discard()), group="mail")\n')
    assert "a group without a user" in run("check", "mx.py").stderr


@pytest.mark.parametrize(
    "body",
    [
        "if session.user: recipient.accept()",
        "if session.client.host == '192.0.2.1': recipient.accept()",
        "if session.listener == 'inside': recipient.accept()",
        "if not session.rehearsal: recipient.accept()",
        "if recipient.address.domain == 'example.org': recipient.accept()",
        "return Reply(250)",
        "recipient.accept(); return Reply(550, 'never')",
    ],
)
def test_a_stack_that_does_not_take_everybodys_mail_is_no_open_relay(configuration: Path, body: str) -> None:
    configuration.write_text(HEAD + VOUCH.format("def", body) + "server = Server(Stack(Vouch(), discard.Discard()))\n")
    result = run("check", "mx.py")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "OPEN RELAY" not in result.stdout


LISTENERS = "listeners=[Listener('[::]:25', name=name) for name in ('outside', 'inside')]"


@pytest.mark.parametrize(
    ("stack", "listeners"),
    [
        ("relay.Relay('0.0.0.0/0', '::/0')", ["outside", "inside"]),
        ("relay.Relay('0.0.0.0/0')", ["outside", "inside"]),
        ("relay.Relay('::/0', only=True)", ["outside", "inside"]),
        ("relay.Relay('0.0.0.0/0', norelay='10.0.0.0/8'), recipients.Domains('example.org')", ["outside", "inside"]),
        ("When(predicate.listener('inside'), relay.Relay('0.0.0.0/0'))", ["inside"]),
        ("recipients.Addresses('/.*/')", ["outside", "inside"]),
        ("recipients.Aliases({'a@example.org': 'b@example.org'}), recipients.Addresses('/.*/')", ["outside", "inside"]),
        ("Unless(predicate.sender_in('example.org'), relay.Relay('0.0.0.0/0'))", ["outside", "inside"]),
        ("Observe(relay.Relay('0.0.0.0/0'))", []),
        ("relay.Relay(), recipients.Domains('example.org')", []),
        ("relay.Relay('192.0.2.0/24', '2001:db8::/32', '10.0.0.0/8')", []),
        ("relay.Relay('0.0.0.0/0', norelay='192.0.2.0/24')", []),
        ("relay.Attempts(1), relay.Relay(only=True), recipients.Domains('.org')", []),
        ("recipients.Aliases({'@old.example': '@example.org'}), recipients.Callout('192.0.2.1', 'example.org')", []),
        ("recipients.Users('example.org', known=lambda address: True)", []),
    ],
)
def test_an_open_relay_is_found_whatever_entries_it_is_made_of(
    configuration: Path, stack: str, listeners: list[str]
) -> None:
    configuration.write_text(
        HEAD
        + "from mailstack import Observe, Unless, When, predicate\nfrom mailstack.middleware import recipients, relay\n"
        + f"server = Server(Stack({stack}, discard.Discard()), {LISTENERS})\n"
    )
    result = run("check", "mx.py")
    assert result.exit_code == (1 if listeners else 0), result.stdout
    named = [line.rpartition(" at ")[2] for line in result.stdout.splitlines() if "OPEN RELAY" in line]
    assert named == listeners


def test_only_the_listeners_that_relay_are_named(configuration: Path) -> None:
    configuration.write_text(
        HEAD
        + VOUCH.format(
            "async def", "if not await session.input_waits(1) and session.listener == 'b': recipient.accept()"
        )
        + "server = Server(Stack(Vouch(), discard.Discard()), [Listener('[::]:25', name=name) for name in 'ab'])\n"
    )
    result = run("check", "mx.py")
    assert result.exit_code == 1
    assert [line for line in result.stdout.splitlines() if "OPEN" in line] == [
        "warning: OPEN RELAY: mail for anybody is accepted at b"
    ]


NOBODY = "nobody can log in"
CLEAR = "AUTH IN CLEAR at"


@pytest.mark.parametrize(
    ("stack", "listener", "warnings"),
    [
        ("tls.TLS(PEM, missing_ok=True), auth.Auth(), Users()", "'[::]:25'", []),
        ("tls.TLS(PEM, missing_ok=True), auth.Auth(), Users()", "'[::]:465', tls=True", []),
        ("auth.Auth(), Users()", "'[::]:25'", [NOBODY]),
        ("auth.Auth(insecure='127.0.0.1'), Users()", "'[::]:25'", []),
        ("auth.Auth(insecure=True), Users()", "'[::]:25', name='in'", [f"{CLEAR} in"]),
        ("auth.Auth(insecure=True), Users()", "'127.0.0.1:25'", []),
        ("auth.Auth(insecure=True), Users()", "'unix:/tmp/x', lmtp=True", []),
        ("When(predicate.client_in('10.0.0.0/8'), auth.Auth(insecure=True)), Users()", "'[::]:25'", []),
        ("tls.TLS(PEM, missing_ok=True), auth.Auth()", "'[::]:25'", [NOBODY]),
        ("tls.TLS(PEM, missing_ok=True), Users()", "'[::]:25'", [NOBODY]),
        ("tls.TLS(PEM, missing_ok=True)", "'[::]:25'", []),
    ],
)
def test_check_tells_of_logins_in_clear_and_of_those_that_cannot_be(
    configuration: Path, stack: str, listener: str, warnings: list[str]
) -> None:
    configuration.write_text(
        HEAD
        + "from mailstack import Reply, When, hookimpl, predicate\nfrom mailstack.middleware import auth, tls\n"
        + "PEM = '/nonexistent/mx.pem'\nclass Users:\n    rehearsable = True\n    mechanisms = ('PLAIN', 'LOGIN')\n"
        + "    @hookimpl\n    def auth(self): return Reply(535)\n"
        + f"stack = Stack({stack}, recipients.Domains('example.org'), discard.Discard())\n"
        + f"server = Server(stack, [Listener({listener})])\n"
    )
    result = run("check", "mx.py")
    assert result.exit_code == 0, result.output
    told = [line for line in result.stdout.splitlines() if line.startswith("warning: ")]
    assert len(told) == len(warnings), told
    assert all(words in line for words, line in zip(warnings, told, strict=True))


def test_a_configuration_that_cannot_be_used_is_told_on_stderr(configuration: Path) -> None:
    configuration.write_text(HEAD + "server = Server(Stack(discard.Discard))\n")
    for command in ("check", "serve"):
        result = run(command, "mx.py")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == "mailstack: mx.py:4: discard is a class, not a plugin\n  remedy: make one: Discard(…)\n"


# serve that cannot start -------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_told_with_the_line_and_a_remedy(configuration: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        configuration.write_text(HEAD + f"server = Server(Stack(discard.Discard()), [Listener('127.0.0.1:{port}')])\n")
        for backend in ("asyncio", "uvloop", "trio"):
            done = subprocess.run(
                [sys.executable, "-m", "mailstack", "serve", "mx.py", "--backend", backend, "--log-level", "error"],
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONPATH": str(Path(config.__file__).parents[1])},
            )
            assert done.returncode == 2
            assert done.stdout == ""
            assert done.stderr == (
                f"mailstack: mx.py:4: cannot listen on 127.0.0.1:{port}: Address already in use\n"
                "  remedy: another server may have it: stop that one or take another port\n"
            )


# hooks -------------------------------------------------------------------------------------------------------------


def test_hooks_prints_every_hook_with_its_signature_and_manual() -> None:
    words = run("hooks").stdout
    assert words.startswith("The contract: every hook that a plugin may implement")
    places = [words.index(f"def {hook}(") for hook in HOOKS]
    assert places == sorted(places)
    assert words.index("Lives ") < places[0] < words.index("Phases ") < words.index("Notices ") < places[-1]


def test_hooks_prints_one_hook() -> None:
    words = run("hooks", "rcpt").stdout
    first, second, *_ = words.splitlines()
    assert first == "def rcpt(session: Session, recipient: Recipient, call_next: CallNext) -> Reply | None"
    assert second == "    RCPT, parsed."
    assert run("hooks", "disconnect").stdout.startswith("async def disconnect(session: Session) -> None\n")


def test_a_hook_that_does_not_exist_is_told_with_the_one_that_was_meant() -> None:
    result = run("hooks", "rctp")
    assert (result.exit_code, result.stderr) == (
        2,
        "mailstack: there is no hook 'rctp'\n  remedy: did you mean rcpt?\n",
    )
    assert "one of lifespan, session" in run("hooks", "zzz").stderr
