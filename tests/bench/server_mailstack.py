"""Ourselves as a process: cheap middlewares, one that vouches, and discard, or forward with --to. Logs if told to."""

import argparse
import socket

from mailstack import Limits, Listener, Server, Stack, log
from mailstack.handlers import discard, forward
from mailstack.middleware import tls

from .cheap import Vouch, cheap

CONNECTIONS = 4096


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("backend", choices=("asyncio", "uvloop", "trio"))
    parser.add_argument("--entries", type=int, default=0)
    parser.add_argument("--to", type=int)
    parser.add_argument("--certificate")
    parser.add_argument("--log", action="store_true")
    options = parser.parse_args()
    log.configure("info" if options.log else "error", "json")
    port = free_port()
    print(port, flush=True)
    end = discard.Discard() if options.to is None else forward.Forward(f"127.0.0.1:{options.to}")
    secure = [tls.TLS(options.certificate)] if options.certificate is not None else []
    stack = Stack(*secure, *cheap(options.entries), Vouch(), end)
    listeners = [Listener(f"127.0.0.1:{port}")]
    server = Server(stack, listeners, hostname="bench.example", limits=Limits(connections=CONNECTIONS))
    server.run(backend=options.backend, as_root=True)


if __name__ == "__main__":
    main()
