"""The rival as a process: aiosmtpd with a handler that takes everything and keeps nothing. It logs no message."""

import argparse
import asyncio
from functools import partial

from aiosmtpd.smtp import SMTP, Envelope, Session

LIMIT = 50 * 1024 * 1024


class Null:
    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        return "250 OK"


async def serve() -> None:
    loop = asyncio.get_running_loop()
    factory = partial(SMTP, Null(), hostname="bench.example", data_size_limit=LIMIT, enable_SMTPUTF8=True, loop=loop)
    server = await loop.create_server(factory, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("backend", choices=("asyncio", "uvloop"))
    if parser.parse_args().backend == "uvloop":
        import uvloop  # here, so that the baseline's process is not touched by it

        uvloop.run(serve())
    else:
        asyncio.run(serve())


if __name__ == "__main__":
    main()
