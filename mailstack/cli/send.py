"""`mailstack send`: say SMTP or LMTP to a server, and show what it answers."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import click

from .failure import told

if TYPE_CHECKING:
    from ..services.client import TLS, Client, Content, Envelope, Login
    from ..services.transport import Address
    from ..wire.reply import Reply

ACCEPTED, BROKEN, TEMPORARY, PERMANENT, PARTLY = 0, 3, 4, 5, 6

STEPS = ("connect", "ehlo", "auth", "mail", "rcpt", "data")
SECRET = "MAILSTACK_PASSWORD"  # in the environment
BLOCK = 256 * 1024
LARGE = 1024 * 1024  # octets from which on progress is shown
LINE = b"0123456789" * 7 + b"\r\n"

_FIELD = re.compile(r"[!-9;-~]+:[^\x00-\x1f\x7f]*")  # RFC 5322 §3.6.8, on one line


@click.command(short_help="Send a message to a server, and show the conversation.")
@click.argument("file", required=False, metavar="[FILE | -]")
@click.option("--server", default="127.0.0.1:25", show_default=True, help="host:port, [v6]:port or unix:/path.")
@click.option(
    "--from", "sender", default="", help='The envelope sender. [default: "", which is none]', metavar="ADDRESS"
)
@click.option("--to", "recipients", multiple=True, help="A recipient; may be given several times.", metavar="ADDRESS")
@click.option("--helo", default=None, help="What to call ourselves. [default: this machine's name]", metavar="NAME")
@click.option("--lmtp", is_flag=True, help="Speak LMTP.")
@click.option("--starttls", is_flag=True, help="STARTTLS; an error where it is not offered.")
@click.option("--tls", "implicit", is_flag=True, help="TLS from the first octet, as on port 465.")
@click.option("--tls-verify", is_flag=True, help="Check the server's certificate; with STARTTLS, or with --tls.")
@click.option("--tls-ca", default=None, help="Who may have signed it (PEM); means --tls-verify.", metavar="FILE")
@click.option("--tls-name", default=None, help="The name that it must have. [default: the server's]", metavar="NAME")
@click.option("--tls-fingerprint", default=None, help="Its SHA-256, instead; means --tls-verify.", metavar="HEX")
@click.option("--tls-certificate", default=None, help="Our own, with its key (PEM).", metavar="FILE")
@click.option("--tls-key", default=None, help="The key, if it is not there.", metavar="FILE")
@click.option("--user", default=None, help="Log in.", metavar="NAME")
@click.option(
    "--password-file",
    default=None,
    help=f"Its first line is the password, or the token. [default: ${SECRET}, else it is asked for]",
    metavar="FILE",
)
@click.option("--auth", "mechanisms", multiple=True, help="The mechanism; may be given several times.", metavar="NAME")
@click.option("--insecure", is_flag=True, help="Say the password in clear, if it must be.")
@click.option("--no-pipelining", is_flag=True, help="Wait for the answer to each command.")
@click.option("--no-chunking", is_flag=True, help="Use DATA even where the server offers CHUNKING (BDAT).")
@click.option("--quit-after", type=click.Choice(STEPS), help="Say QUIT after the answer to this command.")
@click.option("--header", "headers", multiple=True, help="A field on top of the message.", metavar='"NAME: VALUE"')
@click.option("--subject", default="test", show_default=True, help="Of a generated message.")
@click.option("--body", default=None, help="Of a generated message: text, or @FILE.", metavar="TEXT | @FILE")
@click.option("--size", default=None, help="Generate a message of this size, such as 10MB.", metavar="SIZE")
@click.option(
    "--timeout", default=None, help="At most this long for each answer. [default: RFC 5321's]", metavar="TIME"
)
@click.option("--quiet", "-q", is_flag=True, help="Print only what failed.")
@click.option(
    "--verbose", "-v", is_flag=True, help="Begin each line of the conversation with the time that has passed."
)
def send(file: str | None, **options: Any) -> None:
    """Send FILE ("-": standard input), or a generated message, and print the conversation, bodies abbreviated.

    A file is sent as it is, but for its line ends, which become CRLF. What says a password is shown as "(hidden)"; the
    mechanisms XOAUTH2 and OAUTHBEARER take the password for a token. Exit status:

    \b
    0  every recipient was accepted, or --quit-after was reached without a refusal
    2  a mistake in the command
    3  could not connect, or not with TLS as it is wanted, or there is no way to log in, or the connection broke off:
       whether the message arrived is told
    4  refused for now: at least one refusal is temporary, and nobody was accepted
    5  refused for good
    6  accepted for some recipients only
    """
    with told():
        order = _order(file, **options)
    raise SystemExit(_run(order))


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done, checked."""

    address: Address
    hostname: str
    envelope: Envelope
    content: Content
    tls: TLS | None
    login: Login | None
    until: str | None
    options: dict[str, Any]  # of the client
    quiet: bool
    verbose: bool


def _order(file: str | None, **given: Any) -> Order:
    """ConfigError."""
    from .. import option
    from ..services.client import Timeouts

    place = option.socket_address(given["server"], name="--server", port=25)
    options: dict[str, Any] = {
        "lmtp": given["lmtp"],
        "pipelining": not given["no_pipelining"],
        "chunking": not given["no_chunking"],
    }
    if given["timeout"] is not None:
        seconds = option.duration(given["timeout"], name="--timeout", minimum=0.01)
        options["timeouts"] = Timeouts(*[seconds] * len(Timeouts.__dataclass_fields__))
    return Order(
        place.path if place.path is not None else (str(place.host), int(place.port or 25)),
        _hostname(given["helo"]),
        _envelope(given["sender"], given["recipients"], given["quit_after"]),
        _content(file, given),
        _tls(given),
        _login(given),
        given["quit_after"],
        options,
        given["quiet"],
        given["verbose"],
    )


def _hostname(given: str | None) -> str:
    import socket

    from ..option import ConfigError

    name = socket.gethostname() if given is None else given
    if not re.fullmatch(r"[!-~]{1,255}", name):
        raise ConfigError(f"--helo: {name!r} is no name", remedy="write --helo client.example.org")
    return name


def _tls(given: dict[str, Any]) -> TLS | None:
    from ..services.client import TLS

    checks = bool(given["tls_verify"] or given["tls_ca"] or given["tls_fingerprint"])
    options = {name: given[f"tls_{name}"] for name in ("ca", "name", "certificate", "key") if given[f"tls_{name}"]}
    if not (given["starttls"] or given["implicit"] or checks or options):
        return None
    return TLS(
        "verify" if checks else "encrypt",
        implicit=given["implicit"],
        fingerprint=given["tls_fingerprint"] or (),
        **options,
    )


def _login(given: dict[str, Any]) -> Login | None:
    from ..option import ConfigError
    from ..services.client import Login
    from ..services.client.sasl import TOKENS

    if given["user"] is None:
        if given["password_file"] is not None or given["mechanisms"]:
            raise ConfigError("a password or a mechanism, and nobody to log in", remedy="write --user NAME")
        return None
    options: dict[str, Any] = {"mechanisms": given["mechanisms"] or None, "insecure": given["insecure"]}
    token = bool(given["mechanisms"]) and all(each.upper() in TOKENS for each in given["mechanisms"])
    if given["password_file"] is not None and not token:
        return Login(given["user"], password_file=given["password_file"], **options)
    options["token" if token else "password"] = _secret(given["password_file"])
    return Login(given["user"], **options)


def _secret(file: str | None) -> str:
    """From a file, the environment, or whoever sits there."""
    from ..option import ConfigError

    if file is not None:
        return _opened(file).readline(64 * 1024).decode("utf-8", "replace").rstrip("\r\n")
    if (found := os.environ.get(SECRET)) is not None:
        return found
    if not sys.stdin.isatty():
        raise ConfigError("there is no password", remedy=f"write --password-file FILE, or set ${SECRET}")
    return str(click.prompt("Password", hide_input=True, err=True))


def _envelope(sender: str, recipients: Sequence[str], until: str | None) -> Envelope:
    from .. import option
    from ..services.client import Envelope
    from ..wire.address import Address
    from ..wire.command import Mail, Rcpt

    source = option.address(sender, name="--from") if sender else Address.NULL
    wanted = [option.address(each, name="--to") for each in recipients]
    if not wanted and until not in STEPS[:4]:
        raise option.ConfigError("there is no recipient", remedy="write --to user@example.org")
    utf8 = any(each.utf8 for each in (source, *wanted))
    return Envelope(Mail(source, {"SMTPUTF8": True} if utf8 else {}), tuple(map(Rcpt, wanted)))


# The message.


def _content(file: str | None, given: dict[str, Any]) -> Content:
    from .. import option

    usual = _usual(given) if file is None else []
    fields = [*given["headers"], *usual]
    for field in fields:
        if not _FIELD.fullmatch(field):
            raise option.ConfigError(
                f"{field!r} is no header field", remedy='write --header "Name: value", on one line'
            )
    top = "".join(f"{field}\r\n" for field in fields).encode()
    if file is None:
        size = 0 if given["size"] is None else option.size(given["size"], name="--size")
        return _generated(top + b"\r\n" + _text(given["body"]), size)
    if given["body"] is not None or given["size"] is not None:
        raise option.ConfigError("there are both a file and a body to generate", remedy="drop --body and --size")
    return _from_file(top, _opened(file))


def _usual(given: dict[str, Any]) -> list[str]:
    """The fields that a message should have; one that --header gives is left to it."""
    from email.utils import formatdate, make_msgid

    domain = given["sender"].rpartition("@")[2]
    fields = {
        "Date": formatdate(localtime=True),
        "From": given["sender"] or "postmaster@localhost",
        "To": ", ".join(given["recipients"]) or "undisclosed-recipients:;",
        "Subject": given["subject"],
        "Message-ID": make_msgid(domain=domain if re.fullmatch(r"[A-Za-z0-9.-]+", domain) else "localhost"),
    }
    named = {field.partition(":")[0].lower() for field in given["headers"]}
    return [f"{name}: {value}" for name, value in fields.items() if name.lower() not in named]


def _text(body: str | None) -> bytes:
    if body is None:
        return b"This is a test message.\r\n"
    if not body.startswith("@"):
        return body.encode() + b"\r\n"
    return _opened(body[1:]).read()


def _opened(file: str) -> IO[bytes]:
    """A file that can be read several times. ConfigError."""
    import shutil
    import tempfile

    from ..option import ConfigError

    try:
        handle = tempfile.TemporaryFile() if file == "-" else open(file, "rb")  # noqa: SIM115 (open to the end)
        if file == "-":
            shutil.copyfileobj(sys.stdin.buffer, handle)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}", remedy="name a file that can be read") from None
    return click.get_current_context().with_resource(handle)  # closed when the command is over


def _from_file(top: bytes, handle: IO[bytes]) -> Content:
    from anyio import to_thread

    from ..services.client import Content

    async def chunks() -> AsyncIterator[bytes]:
        yield top
        handle.seek(0)
        while block := await to_thread.run_sync(handle.read, BLOCK):
            yield block

    return Content(chunks, len(top) + handle.seek(0, os.SEEK_END))


def _generated(opening: bytes, size: int) -> Content:
    from ..services.client import Content

    missing = max(0, size - len(opening))
    lines, rest = divmod(missing, len(LINE))
    lines, rest = (lines - 1, rest + len(LINE)) if rest == 1 and lines else (lines, rest)
    many = BLOCK // len(LINE)

    async def chunks() -> AsyncIterator[bytes]:
        yield opening + (b"0" * (rest - 2) + b"\r\n")[:rest]
        for at in range(0, lines, many):
            yield LINE * min(many, lines - at)

    return Content(chunks, len(opening) + missing, not opening.isascii())


# The conversation.


def _run(order: Order) -> int:
    import anyio

    from ..services.client import Disconnected, NoMechanism, NotAuthenticated, NotSecure, Refused, Unsupported

    try:
        return anyio.run(_converse, order)
    except Disconnected as error:
        _complain(f"{error}; the message {'may have been taken or not' if error.unknown else 'was not taken'}")
        for rcpt, verdict in zip(order.envelope.recipients, error.verdicts, strict=False):
            if verdict is not None:
                _complain(f"{rcpt.recipient.path}: {verdict}")
        if order.tls is None and error.stage == "greeting":
            _advise("--tls, if the server begins with TLS, as on port 465")
        return BROKEN
    except (Refused, Unsupported) as error:
        _complain(f"refused: {error.reply}" if isinstance(error, Refused) else f"not sent: {error.reply.text}")
        return _status([error.reply])
    except (NotSecure, NotAuthenticated) as error:
        _complain(str(error))
        if isinstance(error, NoMechanism) and order.tls is None:
            _advise("--starttls, or --tls on port 465: most servers let nobody log in without")
        elif isinstance(error, NotSecure) and order.tls is not None and order.tls.implicit and "VERSION" in str(error):
            _advise("--starttls, if the server begins in clear")
        return BROKEN if error.reply is None else _status([error.reply])
    except OSError as error:
        _complain(f"{_words(order.address)}: {error.strerror or error}")
        return BROKEN


async def _converse(order: Order) -> int:
    from ..services.client import Client, reach

    stream = await reach(order.address, order.options.get("timeouts"), order.tls)
    transcript = None if order.quiet else _printer(order.verbose)
    async with Client(stream, transcript=transcript, **order.options) as client:
        if client.encryption and transcript is not None:
            transcript("C", f"({client.encryption})")
        await client.greet()
        if order.until == "connect":
            return ACCEPTED
        await _introduce(client, order)
        if order.until in ("ehlo", "auth"):
            return ACCEPTED
        if order.until is not None:
            return _told(order, await _steps(client, order))
        with _progress(order) as content:
            outcome = await client.transact(order.envelope, content)
    return _told(order, outcome.verdicts)


async def _introduce(client: Client, order: Order) -> None:
    """EHLO, and again under TLS; AUTH."""
    await client.hello(order.hostname)
    if order.tls is not None and not order.tls.implicit:
        await client.start_tls(order.tls, order.address)
        await client.hello(order.hostname)
    if order.login is not None and order.until != "ehlo":
        await client.authenticate(order.login)


async def _steps(client: Client, order: Order) -> Sequence[Reply]:
    """As far as --quit-after says; the replies that count."""
    reply = await client.mail(order.envelope.mail)
    if order.until == "mail" or reply.refused:
        return (reply,)
    replies = [await client.rcpt(rcpt) for rcpt in order.envelope.recipients]
    if order.until == "data" and any(reply.positive for reply in replies):
        reply = await client.command("DATA")
        client.abort()  # where the message is due, QUIT would be a line of it
        return replies if reply.positive else (reply,)
    return replies


def _told(order: Order, replies: Sequence[Reply]) -> int:
    """The exit status, once the refusals are told."""
    each = len(replies) == len(order.envelope.recipients)
    for number, reply in enumerate(replies):
        if reply.refused:
            whose = order.envelope.recipients[number].recipient.path if each else "refused"
            _complain(f"{whose}: {reply}")
    return _status(replies)


def _status(replies: Sequence[Reply]) -> int:
    refused = [reply for reply in replies if reply.refused]
    if not refused:
        return ACCEPTED
    if len(refused) < len(replies):
        return PARTLY
    return TEMPORARY if any(reply.temporary for reply in refused) else PERMANENT


def _complain(words: str) -> None:
    click.echo(f"mailstack: {words}", err=True)


def _advise(words: str) -> None:
    click.echo(f"  remedy: {words}", err=True)


def _words(address: Address) -> str:
    from ..option import SocketAddress

    return str(SocketAddress(path=address) if isinstance(address, str) else SocketAddress(*address))


def _printer(verbose: bool) -> Callable[[str, str], None]:
    began = time.monotonic()

    def show(who: str, line: str) -> None:
        click.echo(f"{time.monotonic() - began:8.3f} {who}: {line}" if verbose else f"{who}: {line}")

    return show


@contextmanager
def _progress(order: Order) -> Iterator[Content]:
    """The content, with a bar on a terminal while it is read."""
    content = order.content
    if order.quiet or not sys.stderr.isatty() or (content.size or 0) < LARGE:
        yield content
        return
    from dataclasses import replace

    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=content.size)

        async def chunks() -> AsyncIterator[bytes]:
            progress.reset(task)
            async for chunk in content.chunks():
                yield chunk
                progress.advance(task, len(chunk))

        yield replace(content, chunks=chunks)
