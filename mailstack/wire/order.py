"""The order of commands: where a conversation stands, what may be said there, and where a good answer leads.

Sources: RFC 5321 §4.1.4, RFC 3030 §2 and §3.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from .command import AnyCommand, Bdat, Command, Data, Hello, Mail, Quit, Rcpt, Rset
from .reply import Reply

__all__ = ["LEGAL", "LEGAL_BINARY", "NEXT", "State", "out_of_turn"]


class State(Enum):
    """Where the conversation stands."""

    GREETING = "greeting"  # the banner is due; nothing may be read
    HELLO = "hello"  # no HELO or EHLO yet
    READY = "ready"  # no transaction
    MAIL = "mail"  # a sender
    RCPT = "rcpt"  # and at least one recipient
    DATA = "data"  # the body by DATA is coming
    CHUNK = "chunk"  # the octets of one BDAT are coming
    CHUNKED = "chunked"  # between two BDATs
    SPOILT = "spoilt"  # a BDAT was refused: the others are consumed and refused until RSET
    SHUNNED = "shunned"  # the greeting was 554: all but QUIT is 503 (RFC 5321 §3.1)
    CLOSED = "closed"


_GREETED = (State.READY, State.HELLO, State.MAIL, State.RCPT, State.CHUNKED, State.SPOILT)

# In which states each of the core's commands is legal.
LEGAL: Mapping[type, tuple[State, ...]] = {
    Hello: _GREETED,
    Mail: (State.READY,),
    Rcpt: (State.MAIL, State.RCPT),
    Data: (State.RCPT,),
    Bdat: (State.RCPT, State.CHUNKED),
    Rset: _GREETED,
    Quit: (*_GREETED, State.SHUNNED),
    Command: _GREETED,
}

# In a BINARYMIME transaction the octets come by BDAT alone (RFC 3030 §3).
LEGAL_BINARY: Mapping[type, tuple[State, ...]] = {**LEGAL, Data: ()}

# Where a positive answer leads. DATA's 354 opens the body; BDAT moves when its octets are consumed.
NEXT: Mapping[type, State] = {
    Hello: State.READY,
    Mail: State.MAIL,
    Rcpt: State.RCPT,
    Data: State.DATA,
    Quit: State.CLOSED,
}

_OUT_OF_TURN: Mapping[State, Reply] = {
    State.HELLO: Reply(503, "send HELO or EHLO first"),
    State.READY: Reply(503, "send MAIL first"),
    State.MAIL: Reply(503, "send RCPT first"),
    State.RCPT: Reply(503, "a transaction is already open"),
    State.CHUNKED: Reply(503, "BDAT has begun: BDAT, RSET or QUIT"),
    State.SPOILT: Reply(503, "this transaction was refused: send RSET"),
    State.SHUNNED: Reply(503, "no service for you here"),
}
_NESTED_MAIL = Reply(503, "sender already given")
_BINARY_BY_BDAT = Reply(503, "a BINARYMIME message comes by BDAT")


def out_of_turn(command: AnyCommand, state: State) -> Reply:
    """What a command hears that is not legal in this state."""
    if type(command) is Mail and state in (State.MAIL, State.RCPT):
        return _NESTED_MAIL
    if type(command) is Data and state is State.RCPT:
        return _BINARY_BY_BDAT
    return _OUT_OF_TURN[state]
