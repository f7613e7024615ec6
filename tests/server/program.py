"""A server as a process: `python -m tests.server.program asyncio held`. What it writes is read by `process.Process`.

held -- verbs that do not come back at once. HOLD says "holding" on standard output and waits for a line on standard
    input, HANG waits for ever.
maildir PATH -- takes everything into a Maildir, with its spool beside it.
greylist PATH -- puts off who is new, and remembers it in a database there.
reader -- reads each message in pieces and keeps none.
"""

import sys
from collections.abc import Callable
from typing import Any

from anyio import sleep_forever, to_thread

from mailstack import Command, Limits, Listener, Message, Reply, Server, Stack, hookimpl, log
from mailstack.handlers import maildir
from mailstack.middleware import greylist
from mailstack.services.store import SQLite
from mailstack.testing import Vouch


class Held:
    @hookimpl
    async def command(self, command: Command) -> Reply | None:
        match command.verb:
            case "HOLD":
                sys.stdout.write("holding\n")
                sys.stdout.flush()
                await to_thread.run_sync(sys.stdin.readline)
                return Reply(250, "held")
            case "HANG":
                await sleep_forever()
        return None


async def reader(message: Message) -> None:
    octets = 0
    async for piece in message.chunks():
        octets += len(piece)
    assert octets == message.size


def held() -> Server:
    return Server(Stack(Held()), LISTENERS, hostname="mx.test")


def into_maildir(path: str) -> Server:
    stack = Stack(Vouch(), maildir.Maildir(f"{path}/mail", writers=2))
    limits = Limits(memory_each=1000)  # some messages go to spool files
    return Server(stack, LISTENERS, hostname="mx.test", spool=f"{path}/spool", limits=limits)


def reading() -> Server:
    return Server(Stack(Vouch(), reader), LISTENERS, hostname="mx.test", limits=Limits(message_size="2 GiB"))


def greylisting(path: str) -> Server:
    entry = greylist.Greylist(delay="1s", window="1h", trust=0, store=SQLite(f"{path}/grey.db"))
    return Server(Stack(entry, Vouch()), LISTENERS, hostname="mx.test")


LISTENERS = [Listener("127.0.0.1:0")]
SERVERS: dict[str, Callable[..., Server]] = {
    "held": held,
    "maildir": into_maildir,
    "greylist": greylisting,
    "reader": reading,
}


def main(backend: str, which: str, *arguments: Any) -> None:
    log.configure("info", "json")
    SERVERS[which](*arguments).run(backend)


if __name__ == "__main__":
    main(*sys.argv[1:])
