"""`mailstack simulate SOURCE …`: a session that did not happen, with every entry's verdict."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import click

from .failure import told

if TYPE_CHECKING:
    from ..server.listener import Listener
    from ..server.server import Server
    from ..testing.rehearsal import Report, Script

STATUS = {"accepted": 0, "refused": 1, "deferred": 3}


@click.command(short_help="Play one session against SOURCE, and print every verdict.")
@click.argument("source")
@click.argument("message", required=False, type=click.File("rb"))
@click.option("--from", "sender", required=True, metavar="ADDRESS", help='The sender; "" or "<>" for a bounce.')
@click.option("--to", "recipients", required=True, multiple=True, metavar="ADDRESS", help="A recipient; repeatable.")
@click.option("--client", default="192.0.2.1", show_default=True, metavar="IP[:PORT]", help="Where the client is.")
@click.option("--helo", metavar="NAME", help="Its name; default: its address, as in [192.0.2.1].")
@click.option("--verb", type=click.Choice(["EHLO", "HELO", "LHLO"], case_sensitive=False), help="Default: EHLO.")
@click.option("--listener", metavar="NAME", help="The listener that it came to; default: the first.")
@click.option("--user", metavar="NAME", help="Who has authenticated.")
@click.option("--secure", is_flag=True, help="As if under TLS.")
@click.option("--param", "parameters", multiple=True, metavar='"MAIL SIZE=9"', help="For MAIL or RCPT; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
@click.option(
    "--backend",
    type=click.Choice(["auto", "asyncio", "uvloop", "trio"]),
    default="auto",
    show_default=True,
    help="The event loop.",
)
@click.option(
    "--log-level",
    type=click.Choice(["off", "debug", "info", "warning", "error"]),
    default="off",
    show_default=True,
    help="What is logged to stderr meanwhile; tracebacks of faults are at error.",
)
def simulate(source: str, as_json: bool, backend: str, log_level: str, **wanted: Any) -> None:
    """Play one session against the stack of SOURCE, and print what each entry says, phase by phase.

    MESSAGE is a file, or - for stdin; without it a short one is made up. Line ends become CRLF. The stack is the real
    one, in rehearsal: an entry that does not promise to write nothing is not asked, nor is any handler.

    Exit status: 0 when the message would be accepted for every recipient, 1 when it would be refused for one of them,
    3 when it would be deferred (4xx) for one and refused for none, 2 for a configuration or an argument that cannot be
    used.
    """
    from .. import log
    from ..config import load

    with told():
        server = load(source)
        server.check()
        script = _script(server, **wanted)
        if log_level == "off":
            with log.silenced():
                report = _play(server, script, backend)
        else:
            log.configure(log_level)
            report = _play(server, script, backend)
    status = STATUS[report.verdict]
    if as_json:
        from .verdicts import as_document

        _print_json(as_document(report, source) | {"exit_status": status})
    else:
        import sys

        from .verdicts import show

        show(report, source, terminal=sys.stdout.isatty())
    raise SystemExit(status)


def _play(server: Server, script: Script, backend: str) -> Report:
    from ..server.backend import run
    from ..testing.rehearsal import rehearse

    reports = []

    async def play() -> None:
        reports.append(await rehearse(server, script))

    run(play, backend)
    return reports[0]


def _print_json(document: dict[str, Any]) -> None:
    import json

    click.echo(json.dumps(document, indent=2))


# From the arguments to the script.


def _script(
    server: Server,
    *,
    message: IO[bytes] | None,
    sender: str,
    recipients: tuple[str, ...],
    client: str,
    helo: str | None,
    verb: str | None,
    listener: str | None,
    user: str | None,
    secure: bool,
    parameters: tuple[str, ...],
) -> Script:
    from ..testing.rehearsal import Script

    chosen = _listener(server, listener)
    lmtp = chosen is not None and chosen.lmtp
    host, port = _client(client)
    name = _word(helo, "--helo") if helo is not None else f"[IPv6:{host}]" if ":" in host else f"[{host}]"
    sent = _path(sender, "--from")
    whom = tuple(_path(each, "--to") for each in recipients)
    return Script(
        client=(host, port),
        server=("2001:db8::25" if ":" in host else "192.0.2.25", _port(chosen)),
        listener=chosen.label if chosen is not None else "",
        lmtp=lmtp,
        verb=verb.upper() if verb else "LHLO" if lmtp else "EHLO",
        helo=name,
        sender=sent,
        recipients=whom,
        message=_made_up(sent, whom, server.hostname) if message is None else _with_crlf(message.read()),
        user=None if user is None else _word(user, "--user"),
        secure=secure,
        mail_parameters=_parameters(parameters, "MAIL"),
        rcpt_parameters=_parameters(parameters, "RCPT"),
    )


def _listener(server: Server, name: str | None) -> Listener | None:
    from ..option import ConfigError

    known = {each.label: each for each in server.listeners}
    if name is None:
        return next(iter(known.values()), None)
    if name not in known:
        remedy = f"one of {', '.join(known)}" if known else "leave it away: the server has no listeners"
        raise ConfigError(f"--listener: there is no listener {name!r}", remedy=remedy)
    return known[name]


def _port(listener: Listener | None) -> int:
    from ..option import socket_address

    return (listener is not None and socket_address(listener.address).port) or 25


def _client(text: str) -> tuple[str, int]:
    """Host and port, from "192.0.2.1", "192.0.2.1:40000", "2001:db8::1", "[2001:db8::1]:40000"."""
    import ipaddress

    from ..option import ConfigError

    host, port = text, "40001"
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif text.count(":") == 1:
        host, port = text.split(":")
    try:
        address = ipaddress.ip_address(host)
        number = int(port) if port.isascii() and port.isdigit() else 0
        if not 0 < number < 65536:
            raise ValueError
    except ValueError:
        remedy = 'write "203.0.113.5", "203.0.113.5:40000", "2001:db8::5" or "[2001:db8::5]:40000"'
        raise ConfigError(f"--client: {text!r} is no address of a client", remedy=remedy) from None
    return str(address), number


def _path(text: str, option: str) -> str:
    """What stands between the angle brackets; whether it is an address is the server's to say."""
    bare = text[1:-1] if text.startswith("<") and text.endswith(">") else text
    return _word(bare, option, blanks=True) if bare else ""


def _word(text: str, option: str, *, blanks: bool = False) -> str:
    from ..option import ConfigError

    if not text.isprintable() or not text or (not blanks and " " in text):
        raise ConfigError(
            f"{option}: {text!r} cannot be said in SMTP", remedy="leave away control characters and blanks"
        )
    return text


def _parameters(given: tuple[str, ...], verb: str) -> tuple[str, ...]:
    from ..option import ConfigError

    found = []
    for text in given:
        before, _, parameter = text.strip().partition(" ")
        if before.upper() not in ("MAIL", "RCPT") or not parameter.strip():
            raise ConfigError(
                f"--param: {text!r} is no parameter", remedy='write "MAIL SIZE=100" or "RCPT NOTIFY=NEVER"'
            )
        if before.upper() == verb:
            found.append(_word(parameter.strip(), "--param"))
    return tuple(found)


# The message.


def _with_crlf(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _made_up(sender: str, recipients: tuple[str, ...], hostname: str) -> bytes:
    from email.utils import format_datetime, localtime, make_msgid

    fields = {
        "From": f"<{sender}>" if sender else f"MAILER-DAEMON <postmaster@{hostname}>",
        "To": ", ".join(f"<{each}>" for each in recipients),
        "Subject": "mailstack simulate",
        "Date": format_datetime(localtime()),
        "Message-ID": make_msgid(domain=hostname),
    }
    return (
        "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode() + b"\r\nThis message is made up.\r\n"
    )
