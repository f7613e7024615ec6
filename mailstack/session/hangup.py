"""The connection's own end, when it comes while somebody waits for the client."""

from __future__ import annotations

from ..wire.reply import Reply


class Hangup(BaseException):
    """The conversation is over: the client left, the server stops, or a limit ran out.

    Only the connection raises it (but see `Aborted`). It is a BaseException so that it passes every guard: no plugin is
    to blame. It ends at the innermost end of the `session` chain, where `call_next()` returns normally.

    reply -- what the client is still due (421), or None when it has gone.
    why -- a word or two for the log: "left", "cut", "shutdown", "idle", "session limit", "data rate", "closed", "tls",
        "not served", "aborted".
    """

    def __init__(self, why: str, reply: Reply | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.reply = reply


class Aborted(Hangup):
    """The client has ended an AUTH exchange, or said what belongs in none (`session.challenge`).

    Nobody is to blame either, but only the command ends: the core answers it with `reply`. A mechanism may raise it,
    for it passes the guard of the provider within which it talks.
    """

    reply: Reply

    def __init__(self, reply: Reply) -> None:
        super().__init__("aborted", reply)


def hangup_in(group: BaseExceptionGroup[BaseException], cancelled: type[BaseException]) -> Hangup | None:
    """The Hangup inside an exception group, if all its leaves are Hangup or cancellation; else None.

    A check that holds a task group of its own gets the Hangup wrapped; it is the client's leaving all the same.
    """
    matching, rest = group.split((Hangup, cancelled))
    if rest is not None or matching is None:
        return None
    hangups = matching.subgroup(Hangup)
    return _first_leaf(hangups) if hangups is not None else None


def _first_leaf(group: BaseExceptionGroup[Hangup]) -> Hangup:
    leaf = group.exceptions[0]
    return _first_leaf(leaf) if isinstance(leaf, BaseExceptionGroup) else leaf
