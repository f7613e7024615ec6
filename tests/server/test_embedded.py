"""`async with server`: a server inside an application, on the application's own event loop."""

import socket
from collections.abc import Awaitable, Callable

import anyio
import pytest

from mailstack import ConfigError, Limits, Listener, Message, Server, Session, Stack
from mailstack.contract.hookspec import LiveOn
from mailstack.testing.dialog import Collect, Vouch

from .kit import SWEEP, Client, Ear, Gate, client, house, nothing_left, on, serving


def make(*entries: object) -> Server:
    return Server(Stack(*entries), [Listener("127.0.0.1:0")], hostname="mx.test")


async def unreachable(address: object) -> bool:
    try:
        async with client(address) as smtp:  # type: ignore[arg-type]
            await smtp.reply()
    except ConnectionRefusedError:
        return True
    return False


async def test_a_server_takes_mail_while_the_body_runs_and_not_after() -> None:
    end = Collect()
    server = make(Vouch(), end)
    async with server as entered:
        assert entered is server
        address = server.addresses[0]
        async with client(address) as smtp:
            assert (await (await smtp.hello()).message()).startswith("250 ")
    assert len(end.messages) == 1
    assert await unreachable(address)


async def test_what_the_body_raises_comes_out_as_it_is() -> None:
    server = make(Vouch(), Collect())
    with pytest.raises(KeyError, match="mine"):
        async with server:
            address = server.addresses[0]
            raise KeyError("mine")
    assert await unreachable(address)


async def test_a_body_that_is_cancelled_ends_the_server() -> None:
    server = make(Vouch(), Collect())
    ended = anyio.Event()

    async def application() -> None:
        try:
            async with server:
                async with client(server) as smtp:
                    await smtp.hello()
                    scope.cancel()
                    await anyio.sleep_forever()
        finally:
            ended.set()

    with anyio.CancelScope() as scope:
        await application()
    assert ended.is_set()
    assert nothing_left(house(server))


async def test_a_hand_over_is_finished_though_the_application_is_cancelled() -> None:
    gate, end = Gate(), Collect()

    async def queue(message: Message) -> None:
        await gate()

    server = make(Vouch(), on(queue=queue), end)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:

            async def application() -> None:
                with anyio.CancelScope() as scope:
                    async with server:
                        group.start_soon(sender, scope)
                        await anyio.sleep_forever()

            async def sender(scope: anyio.CancelScope) -> None:
                async with client(server) as smtp:
                    await (await smtp.hello()).opened()
                    await smtp.send(b"Subject: test\r\n\r\n.\r\n")
                    await gate.reached.wait()
                    scope.cancel()
                    for _ in range(10):
                        await anyio.lowlevel.checkpoint()
                    gate.opened.set()
                    await smtp.rest()

            group.start_soon(application)
    assert gate.left
    assert len(end.messages) == 1


async def test_a_hand_over_that_hangs_has_its_limit_even_when_the_application_is_cancelled() -> None:
    reached = anyio.Event()

    async def queue() -> None:
        reached.set()
        await anyio.sleep_forever()

    async def application() -> None:
        chosen = Limits(hand_over=0.2, sweep=SWEEP)
        async with serving(on(queue=queue), Vouch(), Collect(), limits=chosen) as server, client(server) as smtp:
            await (await smtp.hello()).opened()
            await smtp.send(b"Subject: test\r\n\r\n.\r\n")
            await reached.wait()
            scope.cancel()
            await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        await application()
    assert scope.cancelled_caught


async def test_a_server_runs_again_after_it_has_ended() -> None:
    end, ear = Collect(), Ear()
    server = make(ear, Vouch(), end)
    for number in (1, 2):
        async with server:
            async with client(server) as smtp:
                await smtp.hello()
                assert (await smtp.message()).startswith("250 ")
                assert (await smtp.say("QUIT")).startswith("221 ")
        assert len(end.messages) == number
        assert ear.only("connect", "disconnect", "queued") == ["connect", "queued", "disconnect"] * number


async def test_two_servers_run_side_by_side() -> None:
    first, second = Collect(), Collect()
    async with make(Vouch(), first) as one, make(Vouch(), second) as two:
        async with client(one) as smtp:
            await (await smtp.hello()).message()
        async with client(two) as smtp:
            await (await smtp.hello()).message()
    assert (len(first.messages), len(second.messages)) == (1, 1)


async def test_stop_tells_who_is_connected_and_takes_nobody_else() -> None:
    async with serving(Vouch(), Collect()) as server:
        address = server.addresses[0]
        async with client(server) as smtp:
            await smtp.hello()
            server.stop()
            assert (await smtp.rest()).startswith("421 4.3.2 ")
        assert await unreachable(address)
        server.stop()


async def test_a_stream_cannot_be_served_by_a_server_that_does_not_run() -> None:
    server = make(Vouch(), Collect())
    for _ in range(2):
        async with serving(Vouch(), Collect()) as other, client(other) as smtp:
            with pytest.raises(RuntimeError, match="does not run"):
                await server.serve_stream(smtp.stream)
        async with server:
            pass


# The start.


async def test_an_error_in_the_stack_comes_out_of_the_start_as_it_is() -> None:
    with pytest.raises(ConfigError, match="object"):
        async with make(object()):
            raise AssertionError("the server started")


Lifespan = Callable[[LiveOn], Awaitable[None]]


def lifespan_of(run: Lifespan) -> object:
    async def lifespan(call_next: LiveOn) -> None:
        await run(call_next)

    return on(lifespan=lifespan)


async def raises_before(call_next: LiveOn) -> None:
    raise ValueError("no database")


async def raises_in_a_task_group(call_next: LiveOn) -> None:
    async with anyio.create_task_group():
        raise ValueError("no database")


async def raises_afterwards(call_next: LiveOn) -> None:
    await call_next()
    raise ValueError("no database")


@pytest.mark.parametrize("run", [raises_before, raises_in_a_task_group])
async def test_an_error_in_a_lifespan_comes_out_of_the_start_as_it_is(run: Lifespan) -> None:
    with pytest.raises(ValueError, match="no database"):
        async with make(lifespan_of(run), Collect()):
            raise AssertionError("the server started")


async def test_an_error_at_the_end_of_a_lifespan_comes_out_as_it_is() -> None:
    with pytest.raises(ValueError, match="no database"):
        async with make(lifespan_of(raises_afterwards), Collect()) as server:
            address = server.addresses[0]
    assert await unreachable(address)


async def test_an_address_that_cannot_be_had_comes_out_alone_even_below_a_task_group() -> None:
    async def holds_a_group(call_next: LiveOn) -> None:
        async with anyio.create_task_group():
            await call_next()

    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = Server(Stack(lifespan_of(holds_a_group), Collect()), [Listener(f"127.0.0.1:{taken.getsockname()[1]}")])
        with pytest.raises(ConfigError, match="cannot listen"):
            async with server:
                raise AssertionError("the server started")


async def test_a_lifespan_that_fails_while_the_server_runs_ends_the_body_with_its_error() -> None:
    fail = anyio.Event()

    async def fails() -> None:
        await fail.wait()
        raise ValueError("the database is gone")

    async def holds_a_group(call_next: LiveOn) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(fails)
            await call_next()

    with pytest.raises(ValueError, match="the database is gone"):
        async with make(lifespan_of(holds_a_group), Collect()) as server:
            address = server.addresses[0]
            fail.set()
            await anyio.sleep_forever()
    await anyio.lowlevel.checkpoint()  # the cancellation of the body is over
    assert await unreachable(address)


# Lifespans.


async def test_lifespans_wrap_the_servers_life_in_the_order_of_the_stack() -> None:
    order: list[str] = []

    def wrapping(name: str) -> object:
        async def run(call_next: LiveOn) -> None:
            order.append(f"{name} opens")
            await call_next()
            order.append(f"{name} closes")

        return lifespan_of(run)

    async def session(session: Session, call_next: LiveOn) -> None:
        await call_next()
        order.append("session ends")

    async with make(wrapping("outer"), wrapping("inner"), on(session=session), Collect()) as server:
        order.append("body")
        async with client(server) as smtp:
            await smtp.hello()
            server.stop()
            await smtp.rest()
    assert order == ["outer opens", "inner opens", "body", "session ends", "inner closes", "outer closes"]


async def test_a_lifespan_sees_the_server() -> None:
    seen: list[object] = []

    async def lifespan(server: Server, call_next: LiveOn) -> None:
        seen.extend((server.hostname, server.addresses))
        await call_next()

    async with make(on(lifespan=lifespan), Collect()):
        pass
    assert seen == ["mx.test", []]


async def test_the_clients_of_a_second_run_find_nothing_of_the_first() -> None:
    gate = Gate()

    async def command() -> None:
        await gate()

    server = make(on(command=command), Collect())
    async with server:
        async with client(server) as smtp:
            await smtp.hello()
            await smtp.send(b"NOOP\r\n")
            await gate.reached.wait()
            server.stop()
            gate.opened.set()
            assert "421 " in await smtp.rest()
    async with server, client(server) as again:
        assert isinstance(again, Client)
        await again.hello()
        assert len(house(server).connections) == 1
