"""checkpassword: programs of the tests' own, what they get to see, and what becomes of how they end."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import anyio
import pytest

from mailstack.middleware.checkpassword import CheckPassword
from mailstack.option import ConfigError
from tests.middleware.providers.logins import AWKWARD, asked, begin, dialog, judged, logged, login

# What a checkpassword program does, in as few words as possible.
ANN = """
user, password, _ = os.fdopen(3, "rb").read(513).split(b"\\0")[:3]
open(sys.argv[0] + ".seen", "ab").write(repr((user, password)).encode() + b"\\n")
if (user, password) != (b"ann", b"right"): sys.exit(1)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Program:
    """A program that is still to be written, and what it then leaves behind it in the file PROGRAM.seen."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, text: str) -> str:
        self.path.write_text(f"#!{sys.executable} -IS\nimport os, sys, time\n{text}")
        self.path.chmod(0o755)
        return str(self.path)

    @property
    def seen(self) -> list[Any]:
        """Its lines, each a value."""
        file = self.path.with_name(self.path.name + ".seen")
        return [eval(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path / "check")


async def test_the_program_decides(program: Program) -> None:
    provider = CheckPassword(program(ANN), "/bin/true")
    assert await judged(provider, "ann", "right") == (235, "ann")
    assert await judged(provider, "ann", "wrong") == (535, None)


@pytest.mark.parametrize(
    ("code", "reply"), [(0, 235), (1, None), (2, 454), (3, 454), (111, 454), (126, 454), (127, 454), (255, 454)]
)
async def test_how_it_ends_is_what_it_means(program: Program, code: int, reply: int | None) -> None:
    assert await asked(CheckPassword(program(f"sys.exit({code})"), "/bin/true"), "ann", "right") == reply


async def test_one_that_is_killed_is_in_trouble(program: Program) -> None:
    assert await asked(CheckPassword(program("os.kill(os.getpid(), 9)"), "/bin/true"), "ann", "right") == 454


async def test_it_gets_three_words_on_descriptor_3_and_nothing_else(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program(
        "open(sys.argv[0] + '.seen', 'w').write(repr((os.fdopen(3, 'rb').read(), os.read(0, 9), dict(os.environ),"
        " os.getcwd(), [os.path.realpath('/proc/self/fd/' + each) for each in os.listdir('/proc/self/fd')],"
        " sys.argv[1:])))"
    )
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "x")
    with NamedTemporaryFile() as of_the_server:
        provider = CheckPassword(path, "-s", "$(id)", "/bin/true", environment={"SERVICE": "smtp"})
        assert await asked(provider, "ann", "right") == 235
    octets, stdin, environment, folder, descriptors, arguments = program.seen[0]
    assert octets == b"ann\0right\0\0"
    assert stdin == b""
    environment.pop("PWD", None)  # the shell's own
    environment.pop("LC_CTYPE", None)
    assert set(environment) <= {"PATH", "LC_ALL", "SERVICE", "OLDPWD", "SHLVL", "_"}
    assert folder == "/"
    assert of_the_server.name not in descriptors
    assert arguments == ["-s", "$(id)", "/bin/true"]


async def test_whatever_is_said_arrives_as_it_was_said(program: Program) -> None:
    path = program(ANN)
    async with dialog(CheckPassword(path, "/bin/true")) as smtp:
        await begin(smtp)
        for text in AWKWARD:
            assert await login(smtp, "ann", text) == 535
    assert program.seen == [(b"ann", text.encode()) for text in AWKWARD]


@pytest.mark.parametrize(
    ("user", "password"),
    [("ann\0right", "x"), ("ann", "right\0"), ("ann", ""), ("", "right"), ("ann", "x" * 508), ("ann\n", "right")],
)
async def test_no_program_is_started_for_what_can_be_no_login(program: Program, user: str, password: str) -> None:
    path = program(ANN)
    assert await asked(CheckPassword(path, "/bin/true"), user, password) is None
    assert not program.seen


async def test_512_octets_fit(program: Program) -> None:
    path = program("sys.exit(len(os.fdopen(3, 'rb').read()) != 512)")
    assert await asked(CheckPassword(path, "/bin/true"), "ann", "x" * (512 - 6)) == 235


async def test_one_that_hangs_is_454(program: Program) -> None:
    assert await asked(CheckPassword(program("time.sleep(300)"), "/bin/true", timeout=0.2), "ann", "right") == 454


async def test_who_does_not_wait_any_more_leaves_no_process_behind(program: Program) -> None:
    path = program(
        "child = os.fork() or time.sleep(300)\n"
        "open(sys.argv[0] + '.seen', 'w').write(f'({os.getpid()}, {child})')\n"
        "time.sleep(300)\n"
    )
    async with anyio.create_task_group() as group:
        group.start_soon(asked, CheckPassword(path, "/bin/true", timeout="60s"), "ann", "right")
        while not program.seen:  # noqa: ASYNC110
            await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    with anyio.fail_after(30):
        while any(map(_runs, program.seen[0])):  # noqa: ASYNC110  # init has still to bury the child
            await anyio.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_no_more_run_at_a_time_than_may(program: Program) -> None:
    path = program(
        "lock = sys.argv[0] + '.lock'\n"
        "try: os.mkdir(lock)\n"
        "except FileExistsError: sys.exit(111)\n"
        "time.sleep(0.05)\n"
        "os.rmdir(lock)\n"
    )
    provider = CheckPassword(path, "/bin/true", at_once=1, timeout="60s")
    codes = []

    async def ask() -> None:
        codes.append(await asked(provider, "ann", "right"))

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(ask)
    assert codes == [235] * 4


async def test_nothing_secret_is_logged(program: Program) -> None:
    provider = CheckPassword(program("sys.exit(2)"), "/bin/true")
    with logged() as stream:
        assert (await judged(provider, "ann", "se-cret"))[0] == 454
    assert "the program was misused" in stream.getvalue()
    assert "se-cret" not in stream.getvalue()


@pytest.mark.parametrize("command", [(), ("/bin/true",), ("true", "/bin/true"), ("/nowhere", "x"), ("/tmp", "x")])
def test_a_command_that_cannot_be_is_refused_at_once(command: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        CheckPassword(*command)
