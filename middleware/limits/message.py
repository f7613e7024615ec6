"""limits.Size and limits.Recipients: smaller messages and fewer recipients than the server takes from others."""

from __future__ import annotations

from collections.abc import MutableMapping

from mailstack import option
from mailstack.contract.hookspec import hookimpl
from mailstack.option import ConfigError
from mailstack.session.message import Message
from mailstack.session.session import Session
from mailstack.session.stash import Key
from mailstack.session.transaction import Sender
from mailstack.wire.reply import Reply

_TOO_LARGE = Reply(552, "message is larger than this server takes from you", status="5.3.4")
_TOO_MANY = Reply(452, "too many recipients", status="4.5.3")
_TOO_MANY_IN_ALL = Reply(452, "too many recipients in one session", status="4.5.3")


class Size:
    """Take messages of at most this size; less than `Limits(message_size=…)`, which stays the limit of what is read.

    at_most -- octets, "10 MiB". Told with SIZE in the answer to EHLO (RFC 1870).
    """

    name = "limits"
    rehearsable = True

    def __init__(self, at_most: int | str) -> None:
        self._most = option.size(at_most, name="Size(at_most)")

    @hookimpl
    def ehlo(self, keywords: MutableMapping[str, str]) -> None:
        if "SIZE" in keywords:
            offered = int(keywords["SIZE"] or 0)  # 0: no limit is told (RFC 1870 §4)
            keywords["SIZE"] = str(min(self._most, offered or self._most))

    @hookimpl
    def mail(self, sender: Sender) -> Reply | None:
        return _TOO_LARGE if sender.parameters.get("SIZE", 0) > self._most else None

    @hookimpl
    def message(self, message: Message) -> Reply | None:
        return _TOO_LARGE if message.received_size > self._most else None


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
