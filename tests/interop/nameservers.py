"""nsd and unbound as processes of a test: zones as text on one port, a resolver on another. They end by their PIDs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.programs import free_port, wait_until_open

HEAD = """
$TTL 300
@ IN SOA ns.{zone}. hostmaster.{zone}. 1 3600 600 86400 60
@ IN NS ns.{zone}.
"""

_NSD = """
server:
    ip-address: 127.0.0.1@{port}
    username: ""
    chroot: ""
    zonesdir: "{folder}"
    database: ""
    pidfile: "{folder}/nsd.pid"
    xfrdfile: "{folder}/xfrd.state"
    xfrdir: "{folder}"
    zonelistfile: "{folder}/zone.list"
    server-count: 1
remote-control:
    control-enable: no
"""

_UNBOUND = """
server:
    interface: 127.0.0.1@{port}
    port: {port}
    do-ip6: no
    directory: "{folder}"
    chroot: ""
    username: ""
    pidfile: "{folder}/unbound.pid"
    use-syslog: no
    do-daemonize: no
    do-not-query-localhost: no
    module-config: "validator iterator"
    local-zone: "test." nodefault
    local-zone: "2.0.192.in-addr.arpa." nodefault
    local-zone: "8.b.d.0.1.0.0.2.ip6.arpa." nodefault
    num-threads: 1
{more}
remote-control:
    control-enable: no
"""


@dataclass
class NameServers:
    """nsd, unbound -- their addresses. daemons -- their processes, by these names."""

    nsd: str
    unbound: str
    daemons: dict[str, subprocess.Popen[bytes]]


@contextmanager
def name_servers(
    folder: Path, program: Callable[[str], str], zones: Mapping[str, str], *, more: str = "", silent: str = ""
) -> Iterator[NameServers]:
    """Both, with these zones: nsd has them, and unbound asks nsd. program -- the fixture.

    more -- lines for unbound's `server:`. silent -- the name of a zone for which unbound asks a port where nobody is.
    """
    ports = {"nsd": free_port(), "unbound": free_port()}
    nsd = _NSD.format(port=ports["nsd"], folder=folder)
    unbound = _UNBOUND.format(port=ports["unbound"], folder=folder, more=more)
    for name, text in zones.items():
        (folder / f"{name}.zone").write_text(text)
        nsd += f'zone:\n    name: "{name}"\n    zonefile: "{name}.zone"\n'
        unbound += _stub(name, ports["nsd"])
    if silent:
        unbound += _stub(silent, free_port())
    (folder / "nsd.conf").write_text(nsd)
    (folder / "unbound.conf").write_text(unbound)
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, port in ports.items():
            command = [program(name), "-d", "-c", str(folder / f"{name}.conf")]
            with (folder / f"{name}.log").open("wb") as log:
                running[name] = subprocess.Popen(command, stdout=log, stderr=log)
            wait_until_open(running[name], port, log=folder / f"{name}.log")
        yield NameServers(f"127.0.0.1:{ports['nsd']}", f"127.0.0.1:{ports['unbound']}", running)
    finally:
        for process in running.values():
            process.terminate()
            process.wait(30)


def _stub(zone: str, port: int) -> str:
    return f'stub-zone:\n    name: "{zone}"\n    stub-addr: 127.0.0.1@{port}\n'
