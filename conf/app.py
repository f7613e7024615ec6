"""Mail into a program: `python conf/app.py` receives it in its own event loop, with asyncio or trio."""

import anyio

from mailstack import Listener, Message, Server, Stack
from mailstack.middleware import recipients


async def receive(message: Message) -> None:
    """Takes each message; returning means that we have it, an exception that the client keeps it (451)."""
    print(message.header.get("Subject"), await message.read(), flush=True)


server = Server(
    Stack(recipients.Domains("localhost"), receive), listeners=[Listener("127.0.0.1:2525")], hostname="localhost"
)


async def main() -> None:
    async with server:
        await anyio.sleep_forever()  # whatever else the program does


if __name__ == "__main__":
    anyio.run(main)
