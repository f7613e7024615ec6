"""limits.Size and limits.Recipients: smaller messages and fewer recipients than the server takes from others."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from functools import partial
from typing import Final

from mailstack import option
from mailstack.contract.bind import bind, hold_open
from mailstack.contract.hookspec import hookimpl
from mailstack.option import ConfigError
from mailstack.services import lookup
from mailstack.services.lookup.given import Given
from mailstack.session.message import Message
from mailstack.session.session import Session
from mailstack.session.stash import Key
from mailstack.session.transaction import Recipient, Sender
from mailstack.wire.reply import Reply

NONE: Final = sys.maxsize  # no limit of this entry's

_TOO_LARGE = Reply(552, "message is larger than this server takes from you", status="5.3.4")
_TOO_LARGE_FOR_ONE = Reply(552, "message is larger than this recipient takes", status="5.2.3")
_TOO_MANY = Reply(452, "too many recipients", status="4.5.3")
_TOO_MANY_IN_ALL = Reply(452, "too many recipients in one session", status="4.5.3")


class Size:
    """Take messages of at most this size; less than `Limits(message_size=…)`, which stays the limit of what is read.

    at_most -- octets, "10 MiB". Told with SIZE in the answer to EHLO (RFC 1870).
    recipients -- sizes of some recipients' own: a mapping or a lookup of "ann@example.org", "ann@", "example.org" or
        ".example.org" to octets, in place of `at_most` where they are less. They are judged by the address as it stands
        here, at RCPT by the SIZE that was announced, at the end of the data by the size that came. A message that is
        too large for some of its recipients is then put off with 451, for SMTP has one answer for all of them.

        limits.Size("50M", recipients={"example.org": "10M", "scans@example.org": "50M"})
    """

    name = "limits"
    rehearsable = True

    def __init__(self, at_most: int | str | None = None, *, recipients: Given = ()) -> None:
        if at_most is None and recipients == ():
            raise ConfigError("Size() limits nothing", remedy='write Size("10 MiB")')
        self._most = NONE if at_most is None else option.size(at_most, name="Size(at_most)")
        parse = partial(option.size, name="Size(recipients)")
        self._own = lookup.Setting(recipients, parse=parse, default=self._most, name="Size(recipients)")
        self._found: Key[dict[Recipient, int]] = Key("limits.size")
        hold_open(self, self._own)
        if self._own.waits:
            bind(self, rcpt=_rcpt)

    @hookimpl
    def ehlo(self, keywords: MutableMapping[str, str]) -> None:
        if "SIZE" in keywords and self._most < NONE:
            offered = int(keywords["SIZE"] or 0)  # 0: no limit is told (RFC 1870 §4)
            keywords["SIZE"] = str(min(self._most, offered or self._most))

    @hookimpl
    def mail(self, sender: Sender) -> Reply | None:
        return _TOO_LARGE if sender.parameters.get("SIZE", 0) > self._most else None

    @hookimpl
    def rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        return self._judge(session, recipient, self._own.of_now(recipient.address))

    def _judge(self, session: Session, recipient: Recipient, most: int) -> Reply | None:
        transaction = session.transaction
        assert transaction is not None
        if transaction.sender.parameters.get("SIZE", 0) > most:
            return _TOO_LARGE_FOR_ONE
        if most < self._most:
            transaction.stash.setdefault(self._found, {})[recipient] = most
        return None

    @hookimpl
    def message(self, session: Session, message: Message) -> Reply | None:
        if message.received_size > self._most:
            return _TOO_LARGE
        transaction = session.transaction
        found = transaction.stash.get(self._found, {}) if transaction is not None else {}
        if found and transaction is not None:
            for recipient in transaction.recipients:
                if message.received_size > found.get(recipient.expanded_from or recipient, self._most):
                    recipient.answer(_TOO_LARGE_FOR_ONE)
        return None


async def _rcpt(self: Size, session: Session, recipient: Recipient) -> Reply | None:
    """Where a lookup waits."""
    return self._judge(session, recipient, await self._own.of(recipient.address))


class Recipients:
    """Take at most so many recipients.

    per_message -- that were accepted; told with LIMITS in the answer to EHLO (RFC 9422). A client comes back with the
        rest. RFC 5321 §4.5.3.1.8 wants 100 at least from a server that is open to all.
    per_session -- RCPT commands, accepted or not.
    """

    name = "limits"
    rehearsable = True

    def __init__(self, per_message: int | None = None, *, per_session: int | None = None) -> None:
        if per_message is None and per_session is None:
            raise ConfigError("Recipients() limits nothing", remedy="write Recipients(100)")
        self._of_message = _most(per_message, "per_message")
        self._of_session = _most(per_session, "per_session")
        self._said: Key[int] = Key("limits.recipients")

    @hookimpl
    def ehlo(self, keywords: MutableMapping[str, str]) -> None:
        if self._of_message is not None and "LIMITS" in keywords:
            words = [self._told(word) for word in keywords["LIMITS"].split()]
            keywords["LIMITS"] = " ".join(words)

    def _told(self, word: str) -> str:
        name, _, value = word.partition("=")
        if name != "RCPTMAX" or not value.isdigit() or self._of_message is None:
            return word
        return f"RCPTMAX={min(int(value), self._of_message)}"

    @hookimpl
    def rcpt(self, session: Session) -> Reply | None:
        transaction = session.transaction
        if self._of_session is not None:
            said = session.stash[self._said] = session.stash.get(self._said, 0) + 1
            if said > self._of_session:
                return _TOO_MANY_IN_ALL
        if self._of_message is not None and transaction is not None and transaction.named >= self._of_message:
            return _TOO_MANY
        return None


def _most(value: int | None, name: str) -> int | None:
    return None if value is None else option.integer(value, name=f"Recipients({name})", minimum=1)
