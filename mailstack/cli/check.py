"""`mailstack check SOURCE`: what a configuration will do, and what is wrong with it, without serving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .failure import told

if TYPE_CHECKING:
    from rich.tree import Tree

    from ..contract.chain import Node
    from ..server.server import Server
    from .audit import Audit


@click.command(short_help="Print what SOURCE will do, and what is wrong with it.")
@click.argument("source")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def check(source: str, as_json: bool) -> None:
    """Load SOURCE, compile its stack, and print each phase's chain in order, then warnings.

    An open relay is looked for by asking the rcpt chain, in rehearsal, for recipients at domains that do not exist;
    AUTH in clear by asking the ehlo chain, and whether anybody could log in at all.
    Exit status: 0 when fine or warned, 1 for an open relay, 2 for a configuration that cannot be used.
    """
    from ..config import load
    from .audit import audit

    with told():
        server = load(source)
        found = audit(server)
    report = _report(source, server, found)
    (_print_json if as_json else _print)(report)
    if found.open_relay:
        raise SystemExit(1)


# The report: plain values, for JSON and for eyes.


def _report(source: str, server: Server, found: Audit) -> dict[str, Any]:
    from ..contract.hookspec import LIVES, NOTICES, PHASES

    pipeline = server.check()
    origins = {entry.name: str(entry.origin) for entry in pipeline.entries}
    chains = {hook: [_node(node, origins) for node in pipeline.nodes(hook)] for hook in (*LIVES, *PHASES, *NOTICES)}
    return {
        "source": source,
        "hostname": server.hostname,
        "listeners": [listener.label for listener in server.listeners],
        "dns": {"servers": server.name_servers, "reverse": server.reverse_dns},
        "seconds": {"envelope": float(server.limits.envelope), "hand_over": float(server.limits.hand_over)},
        "lives": {hook: chains[hook] for hook in LIVES},
        "phases": {hook: chains[hook] for hook in PHASES},
        "notices": {hook: chains[hook] for hook in NOTICES},
        "warnings": found.warnings,
        "open_relay": found.open_relay,
    }


def _node(node: Node, origins: dict[str, str]) -> dict[str, Any]:
    from ..contract.chain import Branch

    if isinstance(node, Branch):
        condition = f"{'unless' if node.negated else 'when'} {node.predicate}"
        return {"condition": condition, "origin": str(node.origin), "entries": [_node(n, origins) for n in node.nodes]}
    return {
        "entry": node.who,
        "origin": origins[node.who],
        "kind": "onion" if node.onion else "check",
        "async": node.is_async,
        "timeout": node.timeout,
        "on_fault": node.on_fault,
        "treatment": node.treatment,
    }


def _print_json(report: dict[str, Any]) -> None:
    import json

    click.echo(json.dumps(report, indent=2))


# For eyes.

_WIDE = 1000  # columns: a line that is cut off tells a wrong number


def _print(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    from .audit import OPEN_RELAY

    console = Console(highlight=False, width=_WIDE)
    console.print(f"[bold]{report['hostname']}[/] on {', '.join(report['listeners'])}", soft_wrap=True)
    for group in ("lives", "phases", "notices"):
        for hook, nodes in report[group].items():
            if nodes:
                tree = Tree(Text(hook, style="bold"))
                _grow(tree, nodes, "notice" if group == "notices" else "")
                console.print(tree, soft_wrap=True)
    silent = [hook for hook, nodes in report["phases"].items() if not nodes]
    console.print(Text(f"nobody listens to: {', '.join(silent)}", style="dim"), soft_wrap=True)
    limits = "limits: {envelope:g} s for each run of checks, {hand_over:g} s for message and queue together"
    console.print(Text(limits.format(**report["seconds"]), style="dim"), soft_wrap=True)
    dns = "dns: asks {servers}; names of clients: {reverse}"
    console.print(Text(dns.format(**report["dns"]), style="dim"), soft_wrap=True)
    for warning in report["warnings"]:
        relay = warning.startswith(OPEN_RELAY)
        console.print(Text(f"warning: {warning}", style="bold red" if relay else "yellow"), soft_wrap=True)
    if not report["warnings"]:
        console.print(Text("fine", style="green"))


def _grow(tree: Tree, nodes: list[dict[str, Any]], kind: str) -> None:
    from rich.text import Text

    for node in nodes:
        if "condition" in node:
            inner = tree.add(Text.assemble((node["condition"], "magenta"), "  ", (node["origin"], "dim")))
            _grow(inner, node["entries"], kind)
        else:
            words = _words(node, kind)
            tree.add(Text.assemble((node["entry"], "cyan"), "  ", words, "  ", (node["origin"], "dim")))


def _words(node: dict[str, Any], kind: str) -> str:
    """ "async check, at most 10 s, then pass"."""
    parts = [f"{'async ' if node['async'] else ''}{kind or node['kind']}"]
    parts += node["treatment"]
    if node["timeout"] is not None:
        parts.append(f"at most {node['timeout']:g} s")
    if node["on_fault"] != "defer" and "only observed" not in node["treatment"]:
        parts.append(f"on a fault {node['on_fault']}")
    return ", ".join(parts)
