"""The rival as a process: aiosmtpd with a handler that takes everything and keeps nothing, or its own Proxy with --to.

It logs no message.
"""

import argparse
import asyncio
import ssl
from functools import partial
from typing import Any

from aiosmtpd.handlers import Proxy
from aiosmtpd.smtp import SMTP, Envelope, Session

LIMIT = 50 * 1024 * 1024


class Null:
    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        return "250 OK"


async def serve(to: int | None, certificate: str | None) -> None:
    loop = asyncio.get_running_loop()
    handler = Null() if to is None else Proxy("127.0.0.1", to)
    options: dict[str, Any] = {
        "hostname": "bench.example",
        "data_size_limit": LIMIT,
        "enable_SMTPUTF8": True,
        "loop": loop,
    }
    if certificate is not None:
        options["tls_context"] = context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    factory = partial(SMTP, handler, **options)
    server = await loop.create_server(factory, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("backend", choices=("asyncio", "uvloop"))
    parser.add_argument("--to", type=int)
    parser.add_argument("--certificate")
    options = parser.parse_args()
    if options.backend == "uvloop":
        import uvloop  # here, so that the baseline's process is not touched by it

        uvloop.run(serve(options.to, options.certificate))
    else:
        asyncio.run(serve(options.to, options.certificate))


if __name__ == "__main__":
    main()
