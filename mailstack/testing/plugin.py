"""The pytest plugin: fixtures with a mail server for tests of applications that send mail.

    async def test_who_registers_is_welcomed(mailbox):     # anyio, pytest-asyncio: in the test's own loop
        await application.register("ann@example.net", smtp=mailbox.url)
        assert mailbox.messages[0].subject == "Welcome"

    def test_who_registers_is_welcomed(mailbox):           # in a thread, since this test blocks
        ...

pytest imports this module in every project where mailstack is installed; so it imports nothing but pytest itself until
a fixture is used. `-p no:mailstack` leaves it out.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .mailbox import Mailbox


@pytest.fixture
def mailbox(request: pytest.FixtureRequest) -> Iterator[Mailbox]:
    """A `mailstack.testing.Mailbox`: for an async test in its own loop, for any other in a thread.

    In its own loop it serves while the test runs, and refuses connections before and after: a fixture that sends mail
    itself wants `threaded_mailbox`.
    """
    from .mailbox import Mailbox

    item: Any = request.node
    if not inspect.iscoroutinefunction(item.obj):
        with Mailbox() as mailbox:
            yield mailbox
        return
    # The loop, and the task that a scope must not leave, exist only while the test runs, whoever runs it.
    test, mailbox = item.obj, Mailbox()

    @functools.wraps(test)
    async def served(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        async with mailbox:
            return await test(*args, **kwargs)

    mailbox.bind()
    item.obj = served
    try:
        yield mailbox
    finally:
        item.obj = test
        mailbox.close()


@pytest.fixture
def threaded_mailbox() -> Iterator[Mailbox]:
    """A `mailstack.testing.Mailbox` in a thread, whatever the test is: it also serves fixtures, before and after."""
    from .mailbox import Mailbox

    with Mailbox() as mailbox:
        yield mailbox
