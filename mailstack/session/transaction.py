"""One mail transaction: a sender, its recipients, and what was found out about them (RFC 5321 §3.3).

It exists from the moment the `mail` chain runs (tentatively: it is dropped when that chain refuses) until the reply to
the end of data, RSET, a new EHLO or the end of the connection.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ..wire.address import Address
from ..wire.reply import Reply
from .journal import Journal
from .message import Message
from .stash import Stash

EXPANSION: Final = 100  # addresses that one recipient may become


class Sender:
    """The reverse-path of MAIL.

    address -- as policy sees it; `rewrite()` changes it. `given` stays what the client said.
    parameters -- the typed MAIL parameters: SIZE int, BODY str, SMTPUTF8 True, …
    """

    __slots__ = ("_journal", "address", "given", "parameters")

    def __init__(self, address: Address, parameters: Mapping[str, Any], journal: Journal) -> None:
        self.address = address
        self.given = address
        self.parameters = parameters
        self._journal = journal

    @property
    def null(self) -> bool:
        """Whether it is `<>`, the sender of bounces."""
        return self.address.null

    @property
    def utf8(self) -> bool:
        """Whether the client asked for SMTPUTF8 (RFC 6531)."""
        return "SMTPUTF8" in self.parameters

    @property
    def binary(self) -> bool:
        """Whether the message is BINARYMIME (RFC 3030 §3): below its header section any octets, not lines."""
        return self.parameters.get("BODY") == "BINARYMIME"

    def put(self, name: str, value: object) -> None:
        """Have a parameter of MAIL read otherwise from here on, whatever the client said."""
        before = self.parameters
        self.parameters = MappingProxyType({**before, name: value})
        self._journal.record(f"changed {name} of MAIL", lambda: setattr(self, "parameters", before))

    def rewrite(self, address: Address) -> None:
        """Use another reverse-path from here on."""
        before = self.address
        self.address = address
        self._journal.record(f"rewrote the sender to <{address}>", lambda: setattr(self, "address", before))

    def __str__(self) -> str:
        return str(self.address)


class Recipient:
    """One forward-path of RCPT.

    address -- as policy sees it; `rewrite()` changes it. `given` stays what the client said.
    parameters -- the typed RCPT parameters: NOTIFY, ORCPT, …
    accepted -- whether somebody vouched for it.
    verdict -- its own reply to the message, or None: `answer()`.
    expansion -- the recipients beside it that `expand()` made of the same RCPT.
    expanded_from -- the recipient whose expansion this one is, or None.
    settled -- whether RCPT was accepted: it cannot become several any more.
    """

    __slots__ = (
        "_journal",
        "accepted",
        "address",
        "expanded_from",
        "expansion",
        "given",
        "parameters",
        "settled",
        "verdict",
    )

    def __init__(self, address: Address, parameters: Mapping[str, Any], journal: Journal) -> None:
        self.address = address
        self.given = address
        self.parameters = parameters
        self.accepted = False
        self.verdict: Reply | None = None
        self.expansion: tuple[Recipient, ...] = ()
        self.expanded_from: Recipient | None = None
        self.settled = False
        self._journal = journal

    def accept(self) -> None:
        """Vouch: this server is responsible for the address, or its client may relay to it."""
        if not self.accepted:
            self.accepted = True
            self._journal.record("vouched for", lambda: setattr(self, "accepted", False), self.address)

    def rewrite(self, address: Address) -> None:
        """Deliver to another address."""
        before = self.address
        self.address = address
        self._journal.record(f"rewrote the recipient to <{address}>", lambda: setattr(self, "address", before))

    def expand(self, addresses: Iterable[Address]) -> None:
        """Deliver to all of these (an alias, a list). In `rcpt` alone: RuntimeError later.

        The first takes the place of `address`; each other one becomes a recipient beside it when RCPT is accepted, and
        needs no vouch of its own. The client has named one recipient and hears one reply: to RCPT, and in LMTP at the
        end of the data, where it is the worst of theirs. ValueError for no address, or more than `EXPANSION`.
        """
        if self.settled:
            raise RuntimeError("a recipient becomes several in `rcpt` alone")
        several = tuple(dict.fromkeys(addresses))
        if not 0 < len(several) <= EXPANSION:
            raise ValueError(f"{len(several)} addresses: one recipient becomes at least 1 and at most {EXPANSION}")
        before = self.address, self.expansion
        self.address = several[0]
        self.expansion = tuple(self._beside(address) for address in several[1:])
        words = ", ".join(f"<{address}>" for address in several)
        self._journal.record(f"expanded the recipient to {words}", lambda: self._put_back(*before))

    def _beside(self, address: Address) -> Recipient:
        other = Recipient(address, self.parameters, self._journal)
        other.given, other.accepted, other.expanded_from = self.given, True, self
        return other

    def _put_back(self, address: Address, expansion: tuple[Recipient, ...]) -> None:
        self.address, self.expansion = address, expansion

    def answer(self, reply: Reply) -> None:
        """The verdict on the message for this recipient alone: 2xx, 4xx or 5xx, ValueError for 3xx.

        LMTP tells it to the client at the end of the data. SMTP has one reply: all verdicts the same, or the whole is
        refused with a temporary one. It may be given from `rcpt` on, and never changes the reply to RCPT. A positive
        one says that the message is safe for this recipient: it counts only in `queue`, and is forgotten before.
        """
        if reply.code // 100 == 3:
            raise ValueError(f"{reply.code} is no verdict: it must be 2xx, 4xx or 5xx")
        before = self.verdict
        self.verdict = reply
        self._journal.record(f"answered {reply.code} for <{self.address}>", lambda: setattr(self, "verdict", before))

    def __str__(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class Result:
    """One method's result for Authentication-Results (RFC 8601 §2.7): `spf=pass smtp.mailfrom=example.org`."""

    method: str
    result: str
    properties: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


class Results:
    """The authentication results of one message; the core alone writes the header field from them."""

    __slots__ = ("_journal", "_results")

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._results: list[Result] = []

    def add(self, method: str, result: str, properties: Mapping[str, str] | None = None, *, reason: str = "") -> None:
        """Add one: `results.add("spf", "pass", {"smtp.mailfrom": "example.org"})`."""
        found = Result(method, result, dict(properties or {}), reason)
        self._results.append(found)
        self._journal.record(f"found {method}={result}", self._take_back)

    def _take_back(self) -> None:
        self._results.pop()  # the newest change is undone first

    def __iter__(self) -> Any:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)


class Transaction:
    """What is known of one message.

    id -- the queue id.
    recipients -- those that were accepted, in the order of their RCPT, each with its expansion behind it.
    named -- how many RCPT were accepted.
    message -- None until the header section is complete.
    stash -- private storage of plugins, gone with the transaction.
    """

    __slots__ = (
        "_files",
        "_journal",
        "_results",
        "_spool_folder",
        "_stash",
        "id",
        "message",
        "named",
        "recipients",
        "sender",
    )

    def __init__(self, id: str, sender: Sender, journal: Journal, spool_folder: Path | None = None) -> None:
        self.id = id
        self.sender = sender
        self.recipients: list[Recipient] = []
        self.named = 0
        self.message: Message | None = None
        self._journal = journal
        self._stash: Stash | None = None
        self._results: Results | None = None
        self._spool_folder = spool_folder
        self._files: list[Path] | None = None

    @property
    def stash(self) -> Stash:
        """Private storage of plugins."""
        if self._stash is None:
            self._stash = Stash()
        return self._stash

    @property
    def results(self) -> Results:
        """Authentication results so far."""
        if self._results is None:
            self._results = Results(self._journal)
        return self._results

    @property
    def has_results(self) -> bool:
        """Whether anybody found any."""
        return self._results is not None and len(self._results) > 0

    def temp_file(self) -> Path:
        """A new empty file (0600) that goes with the transaction."""
        descriptor, name = tempfile.mkstemp(prefix="file-", dir=self._spool_folder)
        os.close(descriptor)
        return self._remember(Path(name))

    def temp_dir(self) -> Path:
        """A new folder (0700) that goes with the transaction, contents and all."""
        return self._remember(Path(tempfile.mkdtemp(prefix="folder-", dir=self._spool_folder)))

    def _remember(self, path: Path) -> Path:
        if self._files is None:
            self._files = []
        self._files.append(path)
        return path

    def clean_up(self) -> None:
        """Remove the temporary files; the core calls it when the transaction is over."""
        for path in self._files or ():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        self._files = None
