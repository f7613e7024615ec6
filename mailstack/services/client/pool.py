"""A pool of connections to one server, for handlers that pass mail on.

    pool = Pool(lambda: open_client(("192.0.2.25", 25), hostname="mx.example.org"))
    async with pool.running():
        async with pool.connection() as connection:
            await connection.client.transact(envelope, content)

A connection is used again when its client is still `usable`; who finds that one was dead all the same asks for a fresh
one. No more than `connections` are open at a time, and whoever needs one more waits in line. A connection with a
transaction under way may be *parked* for its owner, who finds it again with `connection(owner)`; it is only kept, not
owed: when all are taken, the oldest parked one is given to whoever waits. An open transaction on it is reset by its
next user. So nobody who holds parked connections can keep others from sending mail.

Fails: `connection` raises what `open` raises, and `Busy`, an OSError, when none became free. `open` is the one place
that knows how a connection is made (TLS and AUTH included).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

import anyio
from anyio.abc import TaskGroup

from .client import Client

__all__ = ["Busy", "Connection", "Open", "Pool"]

Open: TypeAlias = Callable[[], Awaitable[Client]]


class Busy(TimeoutError):
    """No connection became free in time."""


class Connection:
    """One connection of a pool.

    client -- what talks. owner -- for whom it is parked, or None. reused -- whether it was used before; resumed --
    whether it was parked for this user, so that his transaction is still open.
    """

    __slots__ = ("_since", "_uses", "client", "owner", "resumed")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.owner: object = None
        self.resumed = False
        self._uses = 0
        self._since = 0.0

    @property
    def reused(self) -> bool:
        return self._uses > 1


class Pool:
    """The connections to one server.

    open -- makes a client that is ready.
    connections -- open at a time, idle ones included. idle -- kept when nobody uses them; seconds -- for so long.
    messages -- uses of one connection. wait -- seconds in line for a free one.
    keywords -- what the server offered in its last EHLO answer; None while it has not answered.
    """

    def __init__(
        self,
        open: Open,
        *,
        connections: int = 20,
        idle: int = 8,
        seconds: float = 30.0,
        messages: int = 100,
        wait: float = 30.0,
    ) -> None:
        self.keywords: Mapping[str, str] | None = None
        self._open = open
        self._connections = connections
        self._most_idle = idle
        self._seconds = seconds
        self._messages = messages
        self._wait = wait
        self._idle: list[Connection] = []  # the newest last
        self._used = 0
        self._slots: anyio.Semaphore | None = None
        self._group: TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The pool's life: idle connections are closed when their time is over, and all of them at the end."""
        self._slots = anyio.Semaphore(self._connections)
        async with anyio.create_task_group() as group:
            self._group = group
            group.start_soon(self._sweep)
            try:
                yield
            finally:
                self._group = self._slots = None
                group.cancel_scope.cancel()
                await self._close()

    async def _close(self) -> None:
        """Say QUIT on all connections at once; each has as long as its client allows."""
        idle, self._idle = self._idle, []
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as group:
                for connection in idle:
                    group.start_soon(connection.client.quit)

    # Taking one.

    @asynccontextmanager
    async def connection(self, owner: object = None, *, fresh: bool = False) -> AsyncIterator[Connection]:
        """A connection, given back at the end: the one that is parked for `owner`, or an idle one, or a new one.

        fresh -- a new one in any case. Set `connection.owner` to park it.
        """
        slots = self._slots
        if slots is None:
            raise RuntimeError("the pool is not running")
        await self._line_up(slots)
        self._used += 1
        try:
            connection = self._found(owner, fresh) or await self._new()
            connection.resumed = owner is not None and connection.owner is owner
            connection.owner = None
            connection._uses += 1
            try:
                yield connection
            except BaseException:
                connection.owner = None
                raise
            finally:
                self._give_back(connection)
        finally:
            self._used -= 1
            slots.release()

    async def _line_up(self, slots: anyio.Semaphore) -> None:
        with anyio.move_on_after(self._wait) as patience:
            await slots.acquire()
            return
        assert patience.cancelled_caught
        raise Busy(f"all {self._connections} connections were busy for {self._wait:g} s")

    def _found(self, owner: object, fresh: bool) -> Connection | None:
        """One that is open: the owner's, else the newest idle one, else, when no more may be opened, a parked one."""
        self._drop_dead()
        full = self._used + len(self._idle) > self._connections
        if fresh:
            if full:
                self._leave(self._idle.pop(0))
            return None
        own = [each for each in self._idle if each.owner is owner] if owner is not None else []
        free = [each for each in self._idle if each.owner is None]
        parked = self._idle if full else []
        found = [*own[-1:], *free[-1:], *parked[:1]]
        if not found:
            return None
        self._idle.remove(found[0])
        return found[0]

    async def _new(self) -> Connection:
        client = await self._open()
        self.keywords = client.keywords
        return Connection(client)

    # Giving it back.

    def _give_back(self, connection: Connection) -> None:
        client = connection.client
        if self._slots is None or not client.usable:
            client.abort()
        elif connection.owner is None and connection._uses >= self._messages:
            self._leave(connection)
        else:
            self._keep(connection)

    def _keep(self, connection: Connection) -> None:
        connection._since = time.monotonic()
        self._idle.append(connection)
        free = [each for each in self._idle if each.owner is None]
        if len(free) > self._most_idle:
            self._idle.remove(free[0])
            self._leave(free[0])

    def release(self, owner: object) -> None:
        """What was parked for `owner` is anybody's."""
        for connection in [each for each in self._idle if each.owner is owner]:
            connection.owner = None
            self._idle.remove(connection)
            self._give_back(connection)

    def _leave(self, connection: Connection) -> None:
        """Say goodbye, while nobody waits for that."""
        if self._group is None:
            connection.client.abort()
        else:
            self._group.start_soon(connection.client.quit)

    # Idle ones.

    def _drop_dead(self) -> None:
        for connection in self._idle:
            if not connection.client.usable:
                connection.client.abort()
        self._idle = [each for each in self._idle if each.client.usable]

    async def _sweep(self) -> None:
        while True:
            await anyio.sleep(self._seconds / 2)
            self._drop_dead()
            before = time.monotonic() - self._seconds
            for connection in [each for each in self._idle if each.owner is None and each._since <= before]:
                self._idle.remove(connection)
                self._leave(connection)

    async def probe(self) -> None:
        """Connect once, to know the keywords; raises as `connection`."""
        async with self.connection():
            pass
