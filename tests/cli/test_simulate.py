"""`mailstack simulate`: transcripts of whole runs, and what each argument does.

A transcript lies in `simulate/NAME.txt`: `$ ARGUMENTS`, what is printed (times, ids and dates masked), `= STATUS`. With
MAILSTACK_WRITE_GOLDEN=1 they are written anew; read the difference before it is committed.
"""

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

from mailstack import config, log
from mailstack.cli import main
from mailstack.cli.verdicts import show
from mailstack.testing.rehearsal import Script, rehearse

FOLDER = Path(__file__).parent / "simulate"
GOLDEN = sorted(FOLDER.glob("*.txt"))


def run(*arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> Result:
    result = CliRunner().invoke(main, ["simulate", *arguments], input=stdin, env=env)
    log.reset()
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(autouse=True)
def in_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)


def masked(text: str) -> str:
    text = re.sub(r"(?m) +(?:<?[0-9.]+ m?s|time)$", "", text)
    text = re.sub(r"(?m)^→ 250-(?!mx).*\n|^→ 250 HELP\n", "", text)  # the keywords are others' matter
    text = re.sub(r"(?m)(as|id) [0-9a-f]{9,}", r"\1 *", text)
    text = re.sub(r"\w{3}, \d\d? \w{3} \d{4} [\d:]+ [+-]\d{4}", "*", text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_run_is_told_as_in_its_transcript(path: Path) -> None:
    expected = path.read_text()
    command = expected.partition("\n")[0]
    result = run(*shlex.split(command.removeprefix("$ ")))
    shown = f"{command}\n{masked(result.stdout)}= {result.exit_code}\n"
    if os.environ.get("MAILSTACK_WRITE_GOLDEN"):
        path.write_text(shown)
    assert shown == expected
    assert result.stderr == ""


def test_there_are_transcripts() -> None:
    assert len(GOLDEN) >= 12


# JSON --------------------------------------------------------------------------------------------------------------


def document(*arguments: str, stdin: bytes = b"") -> dict[str, Any]:
    result = run("mx.py", "--json", *arguments, stdin=stdin)
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["exit_status"] == result.exit_code
    return found


def entries(found: dict[str, Any], phase: str) -> dict[str, str]:
    return {
        row["entry"]: row["verdict"]
        for step in found["steps"]
        for each in step["phases"]
        if each["phase"] == phase
        for row in each["entries"]
    }


def test_json_has_the_fields_that_are_documented() -> None:
    found = document(
        "--from", "a@b.example", "--to", "c@example.org", "--to", "d@else.example", "--client", "2001:db8::5"
    )
    assert list(found) == [
        "source",
        "hostname",
        "client",
        "listener",
        "verb",
        "helo",
        "user",
        "secure",
        "sender",
        "steps",
        "recipients",
        "handed_on",
        "not_asked",
        "verdict",
        "exit_status",
    ]
    assert (found["client"], found["helo"], found["listener"]) == (
        "[2001:db8::5]:40001",
        "[IPv6:2001:db8::5]",
        "outside",
    )
    assert [step["said"].split(":")[0] for step in found["steps"]] == [
        "",
        "EHLO [IPv6",
        "MAIL FROM",
        "RCPT TO",
        "RCPT TO",
        "DATA",
        ".",
    ]
    [mail] = found["steps"][2]["phases"]
    [row] = mail["entries"]
    assert row.pop("seconds") >= 0
    assert re.fullmatch(r"mx\.py:[0-9]+", row.pop("origin"))
    assert row == {
        "entry": "Senders",
        "conditions": ["unless authenticated"],
        "verdict": "no opinion",
        "reply": None,
        "details": ["not on the list"],
    }
    first, second = found["recipients"]
    assert (first["verdict"], first["reply"]["code"], first["final"]) == ("accepted", 250, "c@example.org")
    assert second == {
        "address": "d@else.example",
        "verdict": "refused",
        "reply": {"code": 550, "status": "5.7.1", "text": "relaying denied"},
        "final": None,
    }
    assert (found["verdict"], found["exit_status"]) == ("refused", 1)
    added = found["handed_on"]["header_added"]
    assert [field.partition(":")[0] for field in added] == ["X-Scanned", "Received", "Subject"]
    assert [(each["entry"], each["hooks"]) for each in found["not_asked"]] == [
        ("Counter", ["connect", "rcpt"]),
        ("discard", ["queue"]),
    ]


def test_nothing_is_handed_on_when_it_does_not_come_so_far() -> None:
    found = document("--from", "spammer@b.example", "--to", "c@example.org")
    assert (found["handed_on"], found["steps"][-1]["by"]) == (None, "Senders")


# On a terminal ----------------------------------------------------------------------------------------------------


def test_a_narrow_terminal_folds_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    script = Script(sender="broken@b.example", recipients=("c@example.org",))
    report = anyio.run(rehearse, config.load("mx.py"), script)
    show(report, "mx.py", terminal=True)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 50
    assert "OSError" in "".join(lines)
    assert "\x1b[2J" not in "".join(lines)


# Arguments ---------------------------------------------------------------------------------------------------------


def test_the_client_its_name_and_the_listener_are_as_told() -> None:
    found = document(
        *("--from", "<a@b.example>", "--to", "c@example.org", "--client", "[2001:db8::5]:4000", "--helo", "x"),
        *("--verb", "helo", "--listener", "inside"),
    )
    assert (found["client"], found["verb"], found["helo"]) == ("[2001:db8::5]:4000", "HELO", "x")
    assert entries(found, "data") == {"Size": "no opinion"}
    received = found["handed_on"]["header_added"][1]
    assert received.startswith("Received: from x (unknown [IPv6:2001:db8::5])\r\n\tby mx.example.org with SMTP id ")


def test_a_user_and_tls_are_as_told() -> None:
    found = document("--from", "a@b.example", "--to", "new@example.org", "--user", "me", "--secure")
    assert entries(found, "mail") == {"Senders": "left out"}
    assert found["verdict"] == "accepted"
    assert "with ESMTPSA id" in found["handed_on"]["header_added"][1]


def test_an_lmtp_listener_is_spoken_to_in_lmtp(tmp_path: Path) -> None:
    (tmp_path / "mx.py").write_text(
        "from mailstack import *\nfrom mailstack.middleware import recipients\nfrom mailstack.handlers import discard\n"
        "server = Server(Stack(recipients.Domains('example.org'), discard.Discard()),\n"
        "    [Listener('unix:lmtp.sock', lmtp=True)])\n"
    )
    result = run(str(tmp_path / "mx.py"), "--from", "a@b.example", "--to", "c@example.org", "--to", "d@example.org")
    assert result.exit_code == 0
    assert "\nLHLO [192.0.2.1]\n" in result.stdout
    assert result.stdout.count("→ 250 2.0.0 would have been queued") == 2


def test_the_null_sender_has_two_spellings() -> None:
    for spelling in ("", "<>"):
        found = document("--from", spelling, "--to", "c@example.org")
        assert (found["sender"], found["steps"][2]["said"]) == ("", "MAIL FROM:<>")


def test_parameters_go_to_their_commands() -> None:
    found = document(
        *("--from", "a@b.example", "--to", "c@example.org", "--param", "MAIL SIZE=100", "--param", "mail BODY=8BITMIME")
    )
    assert found["steps"][2]["said"] == "MAIL FROM:<a@b.example> SIZE=100 BODY=8BITMIME"
    found = document("--from", "a@b.example", "--to", "c@example.org", "--param", "RCPT NOTIFY=NEVER")
    assert found["steps"][3]["said"] == "RCPT TO:<c@example.org> NOTIFY=NEVER"


@pytest.mark.parametrize("content", [b"Subject: x\n\n.dot\nvirus", b"Subject: x\r\n\r\nvirus\r\n"])
def test_a_message_comes_from_a_file_or_from_stdin(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mail.eml").write_bytes(content)
    for argument in (str(tmp_path / "mail.eml"), "-"):
        found = document("--from", "a@b.example", "--to", "c@example.org", argument, stdin=content)
        assert found["recipients"][0]["reply"]["text"] == "a virus"


def test_a_large_message_is_refused_as_it_would_be(tmp_path: Path) -> None:
    (tmp_path / "mx.py").write_text(
        "from mailstack import *\nfrom mailstack.middleware import recipients\nfrom mailstack.handlers import discard\n"
        "server = Server(Stack(recipients.Domains('example.org'), discard.Discard()),\n"
        "limits=Limits(message_size=999))\n"
    )
    content = b"Subject: x\n\n" + b"x" * 500_000
    result = run(str(tmp_path / "mx.py"), "--from", "a@b.example", "--to", "c@example.org", "-", stdin=content)
    assert "<c@example.org> would be refused: 552 5.3.4 " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--client", "here"), "--client: 'here' is no address of a client\n  remedy: write \"203.0.113.5\""),
        (("--client", "192.0.2.1:0"), "is no address of a client"),
        (("--client", "192.0.2.300"), "is no address of a client"),
        (("--listener", "nobody"), "there is no listener 'nobody'\n  remedy: one of outside, inside"),
        (("--helo", "a\r\nQUIT"), "--helo: 'a\\r\\nQUIT' cannot be said in SMTP"),
        (("--to", "a\n@b"), "--to: 'a\\n@b' cannot be said in SMTP"),
        (("--user", ""), "--user: '' cannot be said in SMTP"),
        (("--param", "DATA x"), "--param: 'DATA x' is no parameter\n  remedy: write \"MAIL SIZE=100\""),
        (("--param", "MAIL A B"), "--param: 'A B' cannot be said"),
    ],
)
def test_an_argument_that_cannot_be_used_is_told(arguments: tuple[str, ...], words: str) -> None:
    result = run("mx.py", "--from", "a@b.example", "--to", "c@example.org", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_a_configuration_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    result = run(str(tmp_path / "no.py"), "--from", "a@b.example", "--to", "c@example.org")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "there is no such file" in result.stderr


def test_sender_and_recipient_must_be_given() -> None:
    assert "Missing option '--to'" in run("mx.py", "--from", "a@b.example").stderr
    assert "Missing option '--from'" in run("mx.py", "--to", "a@b.example").stderr


@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_every_backend_tells_the_same(backend: str) -> None:
    words = ["mx.py", "--from", "a@b.example", "--to", "c@example.org"]
    assert masked(run(*words, "--backend", backend).stdout) == masked(run(*words).stdout)


def test_a_log_is_kept_only_if_asked_for() -> None:
    words = ["mx.py", "--from", "broken@b.example", "--to", "c@example.org"]
    assert run(*words).stderr == ""
    assert "Traceback" in run(*words, "--log-level", "error").stderr


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = Path(__file__).parents[2] / "conf" / "quickstart.py"
    monkeypatch.chdir(tmp_path)
    result = run(str(conf), "--from", "a@b.example", "--to", "c@localhost")
    assert result.exit_code == 0
    assert "not asked: Welcome (lifespan)" in result.stdout
    assert not os.listdir(tmp_path)
