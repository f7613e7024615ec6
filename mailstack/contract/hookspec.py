"""The contract: every hook that a plugin may implement, when it is called, with what, and what its answer means.

A plugin is any object (or module) with functions marked `@hookimpl` and named after these hooks. An implementation
takes the arguments it needs, by name and in any order. There are four kinds of hooks:

*Phases* decide. An implementation without `call_next` is a **check**: it returns a `Reply`, which is the answer and
ends the phase, or None, which means "no opinion". One with `call_next` is an **onion**: it wraps everything below it in
the stack and must return a `Reply`, its own or the one that `await call_next()` gave it. Checks that await nothing are
plain `def`; they cost next to nothing. Onions are `async def`.

*Lives* are onions around something that lasts: the server, one conversation. They return nothing.

*Notices* tell what happened. Everybody hears them; they decide nothing; one that fails is logged and stops no other.

What an entry adds to SMTP it declares in attributes: `keywords` for EHLO, `parameters` of MAIL and RCPT, `verbs`; and
the SASL `mechanisms` that its `auth` can judge.

Order is the order of the stack, outermost first, in every phase. A check that raises or is late is named, logged and
counted, and the client hears `451 4.3.0` unless the entry was wrapped in `Limit(…, on_fault=…)`.

`mailstack hooks` prints this page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import pluggy

from ..session.credentials import Credentials
from ..session.message import Message
from ..session.session import Session
from ..session.transaction import Recipient, Sender, Transaction
from ..wire.command import Command
from ..wire.reply import Reply

if TYPE_CHECKING:
    from collections.abc import MutableMapping

PROJECT = "mailstack"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

CallNext = Callable[[], Awaitable[Reply]]
LiveOn = Callable[[], Awaitable[None]]

LIVES = ("lifespan", "session")
PHASES = ("connect", "ehlo", "auth", "mail", "rcpt", "data", "headers", "message", "queue", "command")
NOTICES = ("replied", "reset", "queued", "disconnect")
# Notices that run in the middle of a dialog must not wait.
PLAIN_NOTICES = ("replied", "reset")


class Host(Protocol):
    """The running server, as a lifespan sees it.

    hostname -- the name it goes by. rehearsal -- whether all sessions are simulated: look, and change nothing outside.
    addresses -- where it listens: (host, port), or the path of a UNIX socket; empty before `call_next()`.
    """

    hostname: str
    rehearsal: bool
    addresses: list[tuple[str, int] | str]


class Hooks:
    """The hooks of mailstack, in the order in which a message meets them."""

    # Lives.

    @hookspec
    async def lifespan(self, server: Host, call_next: LiveOn) -> None:
        """Around the server's life: open what all sessions share, `await call_next()`, close it.

        server -- the running `mailstack.Server`, see `Host`.

        Called before the first connection is accepted; after `call_next()` returns no session is left. An exception
        before `call_next()` stops the start with its text. Never conditional: `When` and `Unless` do not reach it.

            @hookimpl
            async def lifespan(self, call_next):
                async with create_task_group() as self.group:
                    await call_next()
        """

    @hookspec
    async def session(self, session: Session, call_next: LiveOn) -> None:
        """Around one whole conversation, from the accepted connection to its end.

        `await call_next()` runs the conversation and always returns normally, whatever ended it: the client, the
        server, a time limit. Returning without it closes the connection without a word. What is opened around
        `call_next()` is closed when the conversation is over; a task group may be held open across it.
        There is no time limit. Conditions (`When`, `Unless`) are asked once, before it begins. Of an entry that
        `fulfils` something it is asked only at listeners that want that.
        Before `call_next()`: `session.read_line`, `read_exactly`, `start_tls` and `proxied`.
        """

    # Phases.

    @hookspec
    def connect(self, session: Session, call_next: CallNext) -> Reply | None:
        """A client has connected; the banner is not out yet.

        Known: `session.client`, `session.listener`. The end of the chain answers 220.
        4xx or 5xx refuses: with `close=True` (4xx becomes 421) the connection ends; without, every command but QUIT is
        answered 503 until the client leaves (RFC 5321 §3.1). For policy that should not hit a postmaster's mail, wrap
        the entry in Postpone or decide in `rcpt`. A fault here is 421 and the end of the connection.
        """

    @hookspec
    def ehlo(
        self,
        session: Session,
        verb: str,
        hostname: str,
        words: tuple[str, ...],
        keywords: MutableMapping[str, str],
        call_next: CallNext,
    ) -> Reply | None:
        """HELO, EHLO or LHLO, parsed.

        verb -- "HELO", "EHLO" or "LHLO".
        hostname -- the name the client gives, printable ASCII without blanks, not verified. `session.helo` is still
            the name of the EHLO before, if there was one.
        words -- what else stood there; RFC 5321 §4.1.1.1 knows of nothing.
        keywords -- what the answer will offer: keyword to its argument ("" for none). Add, change or delete; the parser
            follows: a MAIL or RCPT parameter is accepted only if its keyword was in the last answer. Empty for HELO.

        The end of the chain answers 250. A refusal leaves the session as it was before.
        """

    @hookspec
    def auth(self, session: Session, mechanism: str, credentials: Credentials, call_next: CallNext) -> Reply | None:
        """Credentials to judge, see `session.credentials`. The entry says in `mechanisms` which ones it can judge.

        mechanism -- "PLAIN", "LOGIN", "SCRAM-SHA-256", …
        credentials -- a `Password` (user, password), a `Challenge` (user, `await matches(secret)`) or a `Token` (user,
            token). Where the user is known by another name, set its `identity`.

        None: not my user, the next one is asked; `credentials.pretend(…)` says what judging would have cost. 235: good,
        and `session.user` is the identity, or else the user. 535: bad. 454, and a fault: my backend is in trouble.
        The end of the chain spends what one entry pretended and answers 535. All 535s leave with one text, and all 4xx
        as 454, so that nobody learns who exists. Never log a secret.
        """

    @hookspec
    def mail(self, session: Session, sender: Sender, call_next: CallNext) -> Reply | None:
        """MAIL, parsed.

        sender -- its `address` (`.null` for bounces) and typed `parameters` (SIZE, BODY, SMTPUTF8, …).

        `session.transaction` exists tentatively, with its stash; it is dropped when this chain refuses. The end of the
        chain answers 250.
        """

    @hookspec
    def rcpt(self, session: Session, recipient: Recipient, call_next: CallNext) -> Reply | None:
        """RCPT, parsed.

        recipient -- its `address` and typed `parameters`. `recipient.accept()` vouches: we are responsible for this
            address, or this client may relay to it. `recipient.rewrite(address)` delivers elsewhere,
            `recipient.expand(addresses)` to several.

        The end of the chain answers **550 relaying denied, unless somebody vouched**. A 2xx from a check does not count
        as a vouch: without one it becomes 550 too. A positive answer from a check silences all later checks; to let
        others have their say, vouch and return None. The core vouches for bare `<postmaster>`.
        """

    @hookspec
    def data(self, session: Session, chunked: bool, call_next: CallNext) -> Reply | None:
        """DATA, or the first BDAT of a message, before any of the message is read.

        chunked -- True for BDAT, where the octets rightly follow at once.

        The end of the chain answers 354. A refusal ends the transaction.
        """

    @hookspec
    def headers(self, session: Session, message: Message, call_next: CallNext) -> Reply | None:
        """The header section is complete; the body is still on its way.

        message -- with `header` and the edits; the Received field of this server is already on top, and
            Authentication-Results fields that pretend to be ours are gone. The body is not there yet.

        The end of the chain goes on. A refusal is kept and answered at the true end of the data: the rest is read and
        thrown away. With BDAT the chunk at hand gets the refusal, later ones are consumed and get 503.
        """

    @hookspec
    def message(self, session: Session, message: Message, call_next: CallNext) -> Reply | None:
        """The message is complete: scan it, judge it, add header fields.

        `recipient.answer(reply)` gives a verdict for one recipient alone. LMTP tells the client each of them; SMTP has
        one reply for all, and where they differ it is a temporary refusal of the whole. Who is refused here is not
        shown to `queue`. A positive verdict counts only there, where it means that the message is safe.

        `transaction.results.add(…)` records an authentication result; the core writes Authentication-Results from them
        when this phase is over. The end of the chain goes on; a positive answer from a check skips the later checks and
        goes on too.
        """

    @hookspec
    def queue(self, session: Session, message: Message, call_next: CallNext) -> Reply | None:
        """Hand the message over. The handler at the end of the stack is simply the last entry that implements this.

        250 means that the message is safe: on disk and synced, or in another server's hands. The first Reply ends the
        phase; None passes the message on to the next entry. The end of the chain answers 451: nobody took it.

        A handler delivers to the recipients whose `verdict` is None, and may `recipient.answer(reply)` each on its own;
        the Reply is for the others. In SMTP all share one reply, so that a mixed set is refused as a whole.

        Once begun it is shielded: neither a client that leaves nor a server that stops cuts it short. Only its time
        limit does, and then the client hears 451, so make the hand-over one step that happens or does not.
        """

    @hookspec
    def command(self, session: Session, command: Command, call_next: CallNext) -> Reply | None:
        """A verb that is not the core's: STARTTLS, AUTH, XCLIENT, VRFY, EXPN, HELP, NOOP, ETRN, and the unknown.

        command -- `verb` in upper case, and its `argument` as text. An entry's `verbs` are listed by HELP.

        The end of the chain answers NOOP 250, HELP 214, VRFY 252, EXPN 502, and 500 to what nobody knows. QUIT and RSET
        are the core's alone.
        """

    # Notices.

    @hookspec
    def replied(self, session: Session, phase: str, by: str, reply: Reply) -> None:
        """A reply is on its way to the client. Plain `def`. In LMTP once for a message, with the best of its replies.

        phase -- the hook that it answers, "reset", "quit" or "syntax".
        by -- the entry that decided, or "core".
        """

    @hookspec
    def reset(self, session: Session, transaction: Transaction, why: str) -> None:
        """A transaction is over; its stash is still there. Exactly once for every one that began. Plain `def`.

        why -- "done", "refused", "RSET", "EHLO", "disconnect", "STARTTLS".
        """

    @hookspec
    async def queued(self, session: Session, message: Message, reply: Reply) -> None:
        """The message was taken, and the client's reply is written. Too late to change anything."""

    @hookspec
    async def disconnect(self, session: Session) -> None:
        """The connection is over. Heard exactly if `connect` was called."""
