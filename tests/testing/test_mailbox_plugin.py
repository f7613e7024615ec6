"""The pytest plugin: whoever runs the test, it has its mailbox, and nothing is left when it is over."""

import smtplib
import subprocess
import sys

import pytest

from mailstack.services.transport import connect
from mailstack.testing import Mailbox

pytest_plugins = ["pytester"]

SEND = """
import smtplib, threading
import pytest
from anyio import get_cancelled_exc_class, to_thread

def send(mailbox):
    with smtplib.SMTP(*mailbox.address, timeout=10) as client:
        client.sendmail("a@example.org", ["b@example.org"], "Subject: hi\\n\\nhello\\n")

def own_thread(mailbox):
    return mailbox._thread == threading.get_ident()
"""

TESTS = """
{mark}
async def test_in_its_own_loop(mailbox, {also}):
    assert own_thread(mailbox)
    await to_thread.run_sync(send, mailbox)
    assert (await mailbox.wait_for(1))[0].subject == "hi"

{mark}
@pytest.mark.parametrize("count", [1, 2])
async def test_with_parameters(count, mailbox, {also}):
    for _ in range(count):
        await to_thread.run_sync(send, mailbox)
    assert len(mailbox) == count

class TestMethods:
    {mark}
    async def test_a_method(self, mailbox, {also}):
        assert own_thread(mailbox)
        await to_thread.run_sync(send, mailbox)

{mark}
async def test_in_a_thread(threaded_mailbox, {also}):
    assert not own_thread(threaded_mailbox)
    send(threaded_mailbox)
    assert len(await threaded_mailbox.wait_for(1)) == 1

{mark}
async def test_that_fails(mailbox, {also}):
    await to_thread.run_sync(send, mailbox)
    assert len(mailbox) == 2

def test_that_blocks(mailbox):
    assert not own_thread(mailbox)
    send(mailbox)
    assert mailbox.wait(1)[0].subject == "hi"
"""

PORTS = """
import socket
import pytest

ports = []

@pytest.fixture(autouse=True)
def remembered(request):
    for name in ("mailbox", "threaded_mailbox"):
        if name in request.fixturenames:
            ports.append(request.getfixturevalue(name).port)

@pytest.fixture(scope="session", autouse=True)
def nothing_is_left():
    import threading
    before = [thread.name for thread in threading.enumerate()]
    yield
    assert ports
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=10)
    assert not [thread for thread in threading.enumerate() if thread.name == "mailbox"]
"""


FIXTURES = "asyncio_default_fixture_loop_scope = function"  # pytest-asyncio wants to be told


def run(pytester: pytest.Pytester, ini: str, *arguments: str) -> pytest.RunResult:
    pytester.makeini(f"[pytest]\nfilterwarnings = error\n{ini}\n")
    pytester.makeconftest(PORTS)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", *arguments)


@pytest.mark.slow
def test_anyio_runs_it_on_each_backend(pytester: pytest.Pytester) -> None:
    backends = """
@pytest.fixture(params=["asyncio", ("asyncio", {"use_uvloop": True}), "trio"], ids=str)
def anyio_backend(request):
    return request.param
"""
    pytester.makepyfile(SEND + backends + TESTS.format(mark="", also="anyio_backend"))
    run(pytester, "anyio_mode = auto", "-p", "no:asyncio").assert_outcomes(passed=16, failed=3)


@pytest.mark.slow
def test_pytest_asyncio_runs_it_in_strict_mode(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SEND + TESTS.format(mark="@pytest.mark.asyncio", also=""))
    run(pytester, "asyncio_mode = strict\n" + FIXTURES).assert_outcomes(passed=6, failed=1)


@pytest.mark.slow
def test_pytest_asyncio_runs_it_in_auto_mode_and_in_a_loop_that_tests_share(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SEND + TESTS.format(mark="@pytest.mark.asyncio(loop_scope='module')", also=""))
    run(pytester, "asyncio_mode = auto\n" + FIXTURES).assert_outcomes(passed=6, failed=1)


@pytest.mark.slow
def test_processes_side_by_side_do_not_meet(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        SEND + "@pytest.mark.parametrize('count', range(8))\ndef test(mailbox, count):\n    send(mailbox)\n"
    )
    pytester.makeini("[pytest]")
    pytester.runpytest_subprocess("-n", "2").assert_outcomes(passed=8)


@pytest.mark.slow
def test_a_fixture_that_sends_too_early_is_refused_and_does_not_hang(pytester: pytest.Pytester) -> None:
    early = """
@pytest.fixture
def early(mailbox):
    send(mailbox)

async def test_it(early, anyio_backend):
    pass
"""
    pytester.makepyfile(SEND + "anyio_backend = pytest.fixture(lambda: 'asyncio')\n" + early)
    result = run(pytester, "anyio_mode = auto", "-p", "no:asyncio")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ConnectionRefusedError*"])


def test_the_plugin_brings_nothing_with_it_until_it_is_used() -> None:
    program = """
import sys, mailstack.testing.plugin
print(*sorted(name for name in sys.modules if name.split(".")[0] in ("mailstack", "anyio")))
"""
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["mailstack", "mailstack.testing", "mailstack.testing.plugin"]


async def test_here_it_runs_in_the_loop_of_the_test(mailbox: Mailbox) -> None:
    stream = await connect(mailbox.address)
    assert (await stream.receive()).startswith(b"220 ")
    await stream.close()


def test_here_it_runs_beside_a_test_that_blocks(mailbox: Mailbox) -> None:
    with smtplib.SMTP(*mailbox.address, timeout=10) as client:
        assert client.noop()[0] == 250


async def test_here_it_runs_beside_a_test_in_a_loop(threaded_mailbox: Mailbox) -> None:
    with smtplib.SMTP(*threaded_mailbox.address, timeout=10) as client:
        assert client.noop()[0] == 250
