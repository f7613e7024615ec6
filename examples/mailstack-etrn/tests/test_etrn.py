"""Keyword, verb and command line, and what every plugin must survive."""

import sys
from pathlib import Path

import mailstack
import pytest
from mailstack import ConfigError
from mailstack.testing import Dialog, Vouch
from mailstack.testing.contract import CONTRACT_CHECKS, Check

from mailstack_etrn import Etrn

WRITES = "import pathlib, sys; pathlib.Path(sys.argv[1]).open('a').write(sys.argv[2] + '\\n')"


def writing(path: Path) -> Etrn:
    """An entry whose command writes down what it was asked for."""
    return Etrn([sys.executable, "-c", WRITES, str(path), "{domain}"], ["branch.example.org", "other.example.org"])


async def test_the_command_is_run_for_the_domain_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "asked"
    async with Dialog(writing(path), Vouch()) as smtp:
        assert "ETRN" in (await smtp.say("EHLO client.example.org")).keywords
        assert "ETRN" in (await smtp.say("HELP")).text.split()
        assert await smtp.say("ETRN Branch.Example.ORG") == 250
        assert await smtp.say("etrn other.example.org") == 250
    assert path.read_text() == "branch.example.org\nother.example.org\n"


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("elsewhere.example", 459),
        ("sub.branch.example.org", 459),
        ("", 501),
        ("@branch.example.org", 501),
        ("#queue", 501),
        ("branch.example.org; id", 501),
        ("--help", 501),
    ],
)
async def test_nothing_is_run_for_others(tmp_path: Path, argument: str, code: int) -> None:
    async with Dialog(writing(tmp_path / "asked"), Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        assert await smtp.say(f"ETRN {argument}") == code
        await smtp.say("MAIL FROM:<ann@example.org>")
        assert await smtp.say("ETRN branch.example.org") == 503
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [[sys.executable, "-c", "raise SystemExit(1)"], ["/nowhere/at/all"]])
async def test_a_command_that_fails_is_said_to_have_failed(command: list[str]) -> None:
    async with Dialog(Etrn(command, ["branch.example.org"]), Vouch()) as smtp:
        await smtp.say("EHLO client.example.org")
        assert await smtp.say("ETRN branch.example.org") == 458


async def test_a_rehearsal_does_not_ask_it(tmp_path: Path) -> None:
    async with Dialog(writing(tmp_path / "asked"), Vouch(), rehearsal=True) as smtp:
        await smtp.say("EHLO client.example.org")
        assert await smtp.say("ETRN branch.example.org") == 502
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_is_told_at_the_start() -> None:
    for command, domains in (([], ["a.example"]), ("postqueue", ["a.example"]), (["x"], ["not a domain"])):
        with pytest.raises(ConfigError):
            Etrn(command, domains)


def test_it_is_found_by_its_name() -> None:
    assert mailstack.plugin("etrn").Etrn is Etrn


@pytest.mark.parametrize("check", CONTRACT_CHECKS, ids=lambda check: check.__name__)
async def test_it_keeps_the_contract(check: Check) -> None:
    await check(lambda: Etrn(["true"], ["branch.example.org"]))
