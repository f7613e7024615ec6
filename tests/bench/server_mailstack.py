"""Ourselves as a process: cheap middlewares, one that vouches, and discard, or forward with --to. Logs if told to.

With --proxied clients begin with a PROXY header, and with --filters all that asks the DNS comes in place of who vouches
(see `filters`).
"""

import argparse
import tempfile
from pathlib import Path

from mailstack import Limits, Listener, Server, Stack, log
from mailstack.handlers import discard, forward
from mailstack.middleware import proxy, tls
from mailstack.services.resolver import Resolver
from mailstack.services.store import SQLite
from mailstack.testing import FakeResolver
from tests import filtering
from tests.programs import free_port

from .cheap import Vouch, cheap

CONNECTIONS = 4096


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("backend", choices=("asyncio", "uvloop", "trio"))
    parser.add_argument("--entries", type=int, default=0)
    parser.add_argument("--to", type=int)
    parser.add_argument("--certificate")
    parser.add_argument("--log", action="store_true")
    parser.add_argument("--proxied", action="store_true")
    parser.add_argument("--filters", action="store_true")
    options = parser.parse_args()
    log.configure("info" if options.log else "error", "json")
    port = free_port()
    print(port, flush=True)
    end = discard.Discard() if options.to is None else forward.Forward(f"127.0.0.1:{options.to}")
    secure = [tls.TLS(options.certificate)] if options.certificate is not None else []
    opening = [proxy.Proxy()] if options.proxied else []
    with tempfile.TemporaryDirectory() as folder:
        policy = filters(Path(folder)) if options.filters else [*cheap(options.entries), Vouch()]
        server = Server(
            Stack(*opening, *secure, *policy, end),
            [Listener(f"127.0.0.1:{port}", proxy="127.0.0.1" if options.proxied else ())],
            hostname="bench.example",
            limits=Limits(connections=CONNECTIONS),
            resolver=Resolver(source=FakeResolver(filtering.table())._source),
            reverse_dns="verify" if options.filters else "off",
        )
        server.run(backend=options.backend, as_root=True)


def filters(folder: Path) -> list[object]:
    """The filters of the tests; what they remember is in files, and nobody has to wait."""
    return filtering.stack(grey=SQLite(folder / "grey.db"), history=SQLite(folder / "karma.db"))


if __name__ == "__main__":
    main()
