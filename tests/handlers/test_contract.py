"""Every bundled handler keeps the contract."""

import pkgutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mailstack import handlers
from mailstack.handlers import discard, forward, lmtp, maildir
from mailstack.testing.contract import CONTRACT_CHECKS, Check

MAKE: dict[str, Callable[[Path], object]] = {
    "discard": lambda folder: discard.Discard(),
    "forward": lambda folder: forward.Forward("unix:/nowhere"),
    "forward that asks": lambda folder: forward.Forward("unix:/nowhere", ask_recipients=True, vouch=True, single=True),
    "lmtp": lambda folder: lmtp.Lmtp("unix:/nowhere"),
    "maildir": lambda folder: maildir.Maildir(folder),
    "maildir for each": lambda folder: maildir.Maildir(folder / "{domain}" / "{local}"),
}


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE.keys())
@pytest.mark.parametrize("check", CONTRACT_CHECKS, ids=lambda check: check.__name__)
async def test_it_keeps_the_contract(check: Check, make: Callable[[Path], object], tmp_path: Path) -> None:
    await check(lambda: make(tmp_path))


def test_none_is_left_out() -> None:
    assert {name.partition(" ")[0] for name in MAKE} == {info.name for info in pkgutil.iter_modules(handlers.__path__)}
