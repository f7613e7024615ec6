"""What is said to those who ask for mailboxes."""

from collections.abc import Callable

import pytest

from mailstack import ConfigError, Limits
from mailstack.middleware.vrfy import Vrfy
from mailstack.testing import Dialog
from mailstack.wire.address import Address


async def ask(entry: Vrfy, *lines: str) -> list[int]:
    async with Dialog(entry) as smtp:
        return [(await smtp.say(line)).code for line in lines]


async def test_by_default_nobody_learns_anything() -> None:
    assert await ask(Vrfy(), "VRFY alice@example.org", "EXPN staff", "VRFY", "NOOP") == [252, 252, 252, 250]


async def test_both_can_be_refused() -> None:
    assert await ask(Vrfy("refuse"), "VRFY alice@example.org", "EXPN staff", "HELP") == [502, 502, 214]


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("alice@example.org", 250),
        ("<Alice@EXAMPLE.org>", 250),
        ("eve@example.org", 550),
        ("abuse@example.org", 250),
        ("postmaster", 250),
        ("<postmaster>", 250),
        ("alice@example.com", 252),
        ("alice", 252),
        ("<>", 252),
        ("Alice Example <alice@example.org>", 252),
        ("alice@example.org; rm -rf /", 252),
        ("", 252),
    ],
)
async def test_a_list_tells_the_truth_about_its_domains(argument: str, code: int) -> None:
    entry = Vrfy("ask", known=["alice@example.org", "bob@example.org"])
    assert await ask(entry, f"VRFY {argument}", "EXPN staff") == [code, 502]


async def test_the_answer_names_the_mailbox() -> None:
    async with Dialog(Vrfy("ask", known="alice@example.org")) as smtp:
        answer = await smtp.say("VRFY Alice@Example.org")
        assert (answer.code, answer.status, answer.text) == (250, "2.1.5", "<Alice@example.org>")


def plain(address: Address) -> bool | None:
    return {"alice": True, "eve": False}.get(address.local)


async def waiting(address: Address) -> bool | None:
    return plain(address)


@pytest.mark.parametrize("exists", [plain, waiting])
async def test_a_function_may_know(exists: Callable[[Address], bool | None]) -> None:
    lines = [f"VRFY {name}@example.org" for name in ("alice", "eve", "bob")]
    assert await ask(Vrfy("ask", known=exists), *lines) == [250, 550, 252]


async def test_a_function_that_fails_is_a_fault() -> None:
    def broken(address: Address) -> bool:
        raise OSError("no such table")

    assert await ask(Vrfy("ask", known=broken), "VRFY alice@example.org") == [451]


async def test_so_many_questions_and_no_more() -> None:
    entry = Vrfy("ask", known=["alice@example.org"], limit=2)
    lines = ["VRFY alice@example.org"] * 3 + ["VRFY eve@example.org"]
    assert await ask(entry, *lines) == [250, 250, 252, 252]
    assert await ask(entry, *lines) == [250, 250, 252, 252]  # each session anew


async def test_misses_are_errors_that_end_the_session() -> None:
    async with Dialog(Vrfy("ask", known=["alice@example.org"], limit=100), limits=Limits(errors=3)) as smtp:
        for _ in range(3):
            assert await smtp.say("VRFY eve@example.org") == 550
        assert await smtp.reply() == 421
        await smtp.closed()


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("perhaps",), {}),
        (("ask",), {}),
        (("ask",), {"known": []}),
        ((), {"known": ["alice@example.org"]}),
        (("ask",), {"known": ["no address"]}),
        (("ask",), {"known": ["alice@example.org"], "limit": 0}),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="Vrfy"):
        Vrfy(*arguments, **options)  # type: ignore[arg-type]
