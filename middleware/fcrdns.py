"""fcrdns: whether the client's address has a name, and the name leads back to it (RFC 8601 §2.7.3, RFC 1912 §2.1).

    fcrdns.FCrDNS()                           # only tells: iprev= in Authentication-Results, and in the evidence
    fcrdns.FCrDNS(require="name")             # refuses who has no name
    fcrdns.FCrDNS(require="confirmed", temporary=True)

The server looks for the name from the connection on (`Server(reverse_dns=…)`), RCPT waits for it, and this entry reads
what came of it. A mail server that is meant to be one has a name; many clients of spam have none, or that of a home
line. Not every good one has a confirmed name: `require="confirmed"` belongs into a Score.

Refused at RCPT, 550 5.7.25, or 450 with `temporary=True`. While the DNS gives no answer, 451 4.4.3 if anything is
required (`trouble="pass"` lets it pass). Clients of this machine and of UNIX sockets pass, and everybody does when the
server looks for no names.
"""

from __future__ import annotations

from typing import Literal

from mailstack import option
from mailstack.contract.hookspec import hookimpl
from mailstack.contract.postpone import must_be_heard
from mailstack.session.lookup import ReverseName
from mailstack.session.message import Message
from mailstack.session.session import Session
from mailstack.session.stash import Key
from mailstack.session.transaction import Recipient
from mailstack.wire.reply import Reply

__all__ = ["FCrDNS"]

_WORDS = {
    "permerror": "the client's address has no name",
    "fail": "no address of the client's name is the client's",
    "temperror": "the client's name cannot be looked up now",
}


class FCrDNS:
    """Judge the client's name.

    require -- "nothing", "name" or "confirmed". temporary -- 450 in place of 550. trouble -- "defer" or "pass".
    results -- whether `iprev=` is written to Authentication-Results.

    ConfigError for anything else.
    """

    rehearsable = True

    def __init__(
        self,
        *,
        require: Literal["nothing", "name", "confirmed"] = "nothing",
        temporary: bool = False,
        trouble: Literal["defer", "pass"] = "defer",
        results: bool = True,
    ) -> None:
        required = option.choice(require, "nothing", "name", "confirmed", name="FCrDNS(require)")
        code, kind = (450, 4) if option.boolean(temporary, name="FCrDNS(temporary)") else (550, 5)
        refused = {"nothing": (), "name": ("permerror",), "confirmed": ("permerror", "fail")}[required]
        self._replies = {each: Reply(code, _WORDS[each], status=f"{kind}.7.25") for each in refused}
        if option.choice(trouble, "defer", "pass", name="FCrDNS(trouble)") == "defer" and refused:
            self._replies["temperror"] = Reply(451, _WORDS["temperror"], status="4.4.3")
        self._told: Key[ReverseName] = Key("fcrdns.told")
        self._results = option.boolean(results, name="FCrDNS(results)")

    @hookimpl
    def rcpt(self, session: Session, recipient: Recipient) -> Reply | None:
        reverse = session.client.reverse
        if reverse.result != "none" and session.stash.get(self._told) is not reverse:
            session.stash[self._told] = reverse
            words = f"{session.client.host}: {reverse.name or 'no name'}, iprev={reverse.result}"
            session.note("fcrdns", "rcpt", words)
        return None if must_be_heard(recipient.given) else self._replies.get(reverse.result)

    @hookimpl
    def message(self, session: Session, message: Message) -> None:
        reverse = session.client.reverse
        if self._results and reverse.result != "none":
            assert session.transaction is not None
            session.transaction.results.add("iprev", reverse.result, {"policy.iprev": session.client.host})
