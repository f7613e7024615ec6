"""auth: clients log in (RFC 4954), by passwords, by proofs of passwords, or by tokens.

    from mailstack.middleware import auth, authfile, tls

    Stack(
        tls.TLS("mx.pem"),
        auth.Auth(),                                      # the verb AUTH and the keyword in EHLO
        authfile.File("/etc/mailstack/users"),            # who judges: any entry with an `auth` hook
        relay.Relay(),
        …
    )

EHLO offers what both this entry wants and the providers in the stack can judge; where there is no provider, nothing is
offered. It stands above what asks for the login.

| mechanism | what goes over the wire | what a provider has to hold |
|---|---|---|
| PLAIN, LOGIN | the password | anything that a password can be compared with |
| SCRAM-SHA-256, SCRAM-SHA-1 | a proof; the server proves itself too | SCRAM keys of that hash, or the password |
| CRAM-MD5 (not by default) | a proof, by a broken hash | the password |
| OAUTHBEARER, XOAUTH2 | a token | who issued it |

In clear nothing is offered, and AUTH is 538, also when no entry brings TLS: `mailstack check` says so. `insecure=True`
offers it in clear to everybody, `insecure="127.0.0.1"` or other networks to the clients there. A client on a UNIX
socket has no address, and is as good as in clear: `insecure=True`.

What happens
    235, and `session.user` and `session.mechanism` are set. 535 for wrong credentials of whatever kind, with one text.
    454 while a provider is in trouble. 501 for what cannot be read and for a client that cancels ("*"). 503 before
    EHLO, after HELO, within a transaction and for who has logged in; a client known by its certificate may log in. 504
    for a mechanism that is not offered.

    AUTH= of MAIL is taken where AUTH was offered. Who has not logged in may not say who sent a message first, nor who
    has say it of others than himself, unless he is `trusted`: then AUTH=<> stands in `sender.parameters` (§5).

    `required=True` answers 530 to MAIL and to other entries' commands for who has no identity; STARTTLS and NOOP are
    left alone.

Wrong passwords
    cost time. The failures of one login from one address (of IPv6: one /64) make the next attempt there wait: 1 s, 2 s,
    4 s, at most `longest`, one attempt at a time, however many connections there are. After ten failures of whatever
    logins so do the attempts of that address at logins that have never succeeded from there. No account is ever closed,
    and nobody elsewhere is slowed. What is not judged in time is 421. After `failures` in one session that is 421 too.
    They are forgotten after `forget`, those of a login also when it succeeds. They lie in `store`; while that cannot be
    asked, AUTH is 454. `Limits(envelope=…)` must leave time for two of the longest waits.

    The log has a line for each, which fail2ban can read: docs/auth.md.

Nobody learns who exists
    A provider that does not know a user says what judging him would have cost, and that is spent. With SCRAM the
    client gets to see a salt: that of an unknown user is made of the name and a secret which stays the same (`secret`;
    default: made of /etc/machine-id, or else new with each start).

Not here: SCRAM-…-PLUS, for Python's OpenSSL cannot bind to TLS 1.3; DIGEST-MD5 (RFC 6331 retired it), GSSAPI, EXTERNAL
(`tls.TLS(identity=…)` does that).

Sources: RFC 4954, 4422, 4616 (PLAIN), draft-murchison-sasl-login (LOGIN), 2195 (CRAM-MD5), 5802 and 7677 (SCRAM), 7628
(OAUTHBEARER), 4013 (SASLprep).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Final

from mailstack import option
from mailstack.contract.hookspec import Host, LiveOn, hookimpl
from mailstack.option import ConfigError
from mailstack.services import lookup
from mailstack.services.lookup.given import Given
from mailstack.services.store import Store, chosen
from mailstack.session.credentials import Credentials
from mailstack.session.session import Session
from mailstack.session.stash import Key
from mailstack.session.transaction import Sender
from mailstack.wire.address import Address
from mailstack.wire.command import Command
from mailstack.wire.reply import LOGIN_NEEDED, Reply

from . import cram_md5, login, oauth, plain, scram
from .exchange import Exchange, decode
from .pace import LONGEST, Pace

__all__ = ["Auth"]

WANTED: Final = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-1", "OAUTHBEARER", "XOAUTH2")

_SYNTAX: Final = Reply(501, "the syntax is AUTH mechanism [initial-response]")
_HELLO: Final = Reply(503, "send EHLO first")
_AGAIN: Final = Reply(503, "you have logged in already")
_IN_TRANSACTION: Final = Reply(503, "not within a transaction")
_UNKNOWN: Final = Reply(504, "mechanism not offered")
_IN_CLEAR: Final = Reply(538, "encryption required: must issue a STARTTLS command first", status="5.7.11")
_ENOUGH: Final = Reply(421, "too many failed logins", status="4.7.0", close=True)

# What who must log in may say before. The core's own commands but MAIL are of no use without it.
_FREE: Final = ("NOOP", "STARTTLS")

_FAILURES: Key[int] = Key("auth.failures")


class Auth:
    """Offer AUTH, and have the providers in the stack judge.

    mechanisms -- those that are wanted.
    insecure -- whether without TLS too: True, or the networks of the clients for whom; text, or lookups that answer at
        once.
    required -- whether nobody may send without an identity.
    trusted -- logins that may say for others who sent a message first (AUTH= of MAIL); text, or lookups as above.
    failures -- wrong credentials in one session, after which it ends.
    delay -- how long the attempt after the first failure waits; each further one doubles it. "0s": nobody waits.
    longest -- the longest wait, at most 10 s. forget -- when failures are forgotten.
    store -- where they are kept; default: this server's memory.
    secret -- what the salts of unknown users are made of.
    discovery -- the URL that tells clients where tokens are issued (RFC 7628 §3.2.2: "openid-configuration").

    ConfigError for anything else.
    """

    name = "auth"
    rehearsable = True
    verbs = ("AUTH",)

    def __init__(
        self,
        mechanisms: Iterable[str] = WANTED,
        *,
        insecure: bool | Given = False,
        required: bool = False,
        trusted: Given = (),
        failures: int = 3,
        delay: float | str = "1s",
        longest: float | str = "10s",
        forget: float | str = "30m",
        store: Store | None = None,
        secret: str | bytes | None = None,
        discovery: str = "",
    ) -> None:
        self._mechanisms = _mechanisms(scram.salter(secret), oauth.check(discovery))
        named = [mechanisms] if isinstance(mechanisms, str) else list(mechanisms)
        wanted = {option.choice(each, *self._mechanisms, name="Auth(mechanisms)") for each in named}
        if not wanted:
            raise ConfigError("Auth(mechanisms) is empty: nobody could log in", remedy='write mechanisms=("PLAIN",)')
        self._wanted = tuple(each for each in self._mechanisms if each in wanted)
        self._in_clear = insecure if isinstance(insecure, bool) else False
        near = () if isinstance(insecure, bool) else insecure
        self._near = lookup.networks(near, name="Auth(insecure)").at_once()
        self._required = option.boolean(required, name="Auth(required)")
        self._trusted = lookup.words(trusted, name="Auth(trusted)", case=True).at_once()
        self._failures = option.integer(failures, name="Auth(failures)", minimum=1)
        first = option.duration(delay, name="Auth(delay)")
        most = option.duration(longest, name="Auth(longest)")
        if max(first, most) > LONGEST:
            raise ConfigError(
                f"Auth: {max(first, most):g} s is too long a delay", remedy=f"write at most {LONGEST:g} seconds"
            )
        self.store = chosen(store, name="Auth(store)")
        self._pace = Pace(self.store, first, most, option.duration(forget, name="Auth(forget)", minimum=1.0))

    @hookimpl
    async def lifespan(self, server: Host, call_next: LiveOn) -> None:
        async with self.store.opened(read_only=server.rehearsal):
            await call_next()

    @hookimpl
    def ehlo(self, session: Session, verb: str, keywords: MutableMapping[str, str]) -> None:
        offered = self._offered(session) if verb != "HELO" and self._may_talk(session) else ()
        if offered:
            keywords["AUTH"] = " ".join(offered)

    @hookimpl
    def mail(self, session: Session, sender: Sender) -> Reply | None:
        if self._required and session.user is None:
            return LOGIN_NEEDED
        submitter = sender.parameters.get("AUTH")
        if submitter is not None and not self._may_name(session, submitter):
            sender.put("AUTH", Address.NULL)
        return None

    @hookimpl
    async def command(self, session: Session, command: Command) -> Reply | None:
        if command.verb == "AUTH":
            return await self._log_in(session, command.argument)
        locked = self._required and session.user is None and command.verb not in _FREE
        return LOGIN_NEEDED if locked else None

    async def _log_in(self, session: Session, argument: str) -> Reply:
        mechanism, *words = argument.upper().split(" ", 1) if argument else [""]
        initial = argument[len(mechanism) + 1 :] if words else None
        if not mechanism or initial == "" or " " in (initial or "") or "\t" in argument:
            return _SYNTAX
        refusal = self._refusal(session, mechanism)
        if refusal is not None:
            return refusal

        async def judge(credentials: Credentials) -> Reply:
            return await self._judge(session, mechanism, credentials)

        given = None if initial is None else decode(initial)
        return await self._mechanisms[mechanism](Exchange(session, mechanism, given, judge))

    def _refusal(self, session: Session, mechanism: str) -> Reply | None:
        """RFC 4954 §4: whether AUTH may be said now, and so."""
        if session.helo is None or not session.esmtp:
            return _HELLO
        if session.mechanism is not None:
            return _AGAIN
        if session.transaction is not None:
            return _IN_TRANSACTION
        if mechanism not in self._offered(session):
            return _UNKNOWN
        return None if self._may_talk(session) else _IN_CLEAR

    async def _judge(self, session: Session, mechanism: str, credentials: Credentials) -> Reply:
        async def ask() -> Reply:
            return await session.authenticate(mechanism, credentials)

        reply = await self._pace.judge(session, credentials.user, ask)
        if reply.permanent:
            failures = session.stash[_FAILURES] = session.stash.get(_FAILURES, 0) + 1
            if failures >= self._failures:
                session.close(_ENOUGH)
        return reply

    def _offered(self, session: Session) -> tuple[str, ...]:
        """What is wanted and can be judged, the strongest first."""
        judged = session.mechanisms
        return tuple(each for each in self._wanted if each in judged)

    def _may_talk(self, session: Session) -> bool:
        """Whether nobody on the way can listen, or that does not matter."""
        ip = session.client.ip
        return session.secure or self._in_clear or (ip is not None and self._near.find_now(ip) is not None)

    def _may_name(self, session: Session, submitter: Address) -> bool:
        """Whether this client is trusted to say who sent a message first."""
        user = session.user
        if user is None:
            return False
        return user.casefold() == str(submitter).casefold() or self._trusted.find_now(user) is not None


def _mechanisms(salt: scram.Salt, discovery: str) -> Mapping[str, Callable[[Exchange], Awaitable[Reply]]]:
    """Every mechanism that there is, the strongest first."""
    return {
        **{name: scram.mechanism(hash, salt) for name, hash in scram.HASHES.items()},
        "OAUTHBEARER": oauth.mechanism(oauth.parse_bearer, oauth.bearer_error(discovery)),
        "XOAUTH2": oauth.mechanism(oauth.parse_xoauth2, oauth.XOAUTH2_ERROR),
        "CRAM-MD5": cram_md5.run,
        "PLAIN": plain.run,
        "LOGIN": login.run,
    }
