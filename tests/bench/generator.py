"""The load: one thread, non-blocking sockets, a selector. It trusts nothing: every reply must carry the expected code.

`converse` holds a number of equal conversations, some at a time, and returns what was accepted; `hold=True` leaves the
connections open instead of ending them, for whoever counts memory. An unexpected reply, an early end or 30 s of silence
raises Refused with the server's own words. Certificates alone are taken as they are.
"""

import errno
import os
import selectors
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from .workload import Step

SILENCE = 30.0
READ = 4096
WRITE = 262144
READ_WRITE = selectors.EVENT_READ | selectors.EVENT_WRITE

NOT_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TLS.check_hostname = False
TLS.verify_mode = ssl.CERT_NONE


class Refused(Exception):
    """The server did not answer as the workload expects; the text says what it answered."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """accepted: messages that the server took. held: connections left open; the caller closes them."""

    accepted: int
    held: list[socket.socket]


def connect(port: int) -> socket.socket:
    """A non-blocking socket to 127.0.0.1, connected or about to be; a failure shows at the first read."""
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    code = connection.connect_ex(("127.0.0.1", port))
    if code not in (0, errno.EINPROGRESS):
        connection.close()
        raise Refused(f"no connection to port {port}: {os.strerror(code)}")
    return connection


def final_codes(heard: bytes) -> list[bytes]:
    """The code of each complete reply, continuation lines left out (RFC 5321 4.2.1). Mostly it is one line."""
    if heard[3:4] == b" " and heard.count(b"\n") == 1:
        return [heard[:3]]
    return [line[:3] for line in heard.split(b"\r\n") if line[3:4] == b" "]


class Conversation:
    """One connection and its place in the steps."""

    __slots__ = ("accepted", "at", "finished", "heard", "hold", "pending", "shakes_hands", "socket", "steps")

    def __init__(self, port: int, steps: Sequence[Step], hold: bool) -> None:
        self.socket: socket.socket = connect(port)
        self.shakes_hands = False
        self.steps = steps
        self.hold = hold
        self.at = 0
        self.accepted = 0
        self.heard = b""
        self.pending = memoryview(b"")
        self.finished = False
        if steps[0].send:  # before the banner
            self.begin(steps[0].send)

    def write(self) -> None:
        """Send what the socket takes; the rest stays pending."""
        try:
            while self.pending:
                self.pending = self.pending[self.socket.send(self.pending[:WRITE]) :]
        except NOT_YET:
            pass
        except OSError as error:
            self.read_last_words(error)

    def read(self) -> None:
        """Take replies; once all that this step awaits are there, go on with the next step."""
        if self.shakes_hands:
            self.shake_hands()
            return
        try:
            data = self.socket.recv(READ)
        except NOT_YET:
            return
        except OSError as error:
            raise self.refused(f"broke the connection: {error}") from error
        if not data:
            self.end_of_file()
            return
        self.heard = self.heard + data if self.heard else data
        if self.heard.endswith(b"\n"):
            self.judge()

    def judge(self) -> None:
        if self.at == len(self.steps):
            raise self.refused("went on after its last reply")
        step = self.steps[self.at]
        replies = final_codes(self.heard)
        if replies != list(step.expect[: len(replies)]):
            raise self.refused("gave an unexpected reply")
        if len(replies) == len(step.expect):
            self.advance(step)

    def advance(self, step: Step) -> None:
        self.heard = b""
        self.accepted += step.accepts
        self.at += 1
        if step.encrypts:
            self.socket = TLS.wrap_socket(self.socket, do_handshake_on_connect=False)
            self.shakes_hands = True
            self.shake_hands()
        elif self.at < len(self.steps):
            self.begin(self.steps[self.at].send)
        else:
            self.finished = self.hold

    def shake_hands(self) -> None:
        assert isinstance(self.socket, ssl.SSLSocket)
        try:
            self.socket.do_handshake()
        except NOT_YET:
            return
        except OSError as error:
            raise self.refused(f"broke the handshake: {error}") from error
        self.shakes_hands = False
        self.begin(self.steps[self.at].send)

    def begin(self, data: bytes) -> None:
        """Most writes go out whole."""
        try:
            sent = self.socket.send(data)
        except NOT_YET:
            sent = 0
        except OSError as error:
            self.read_last_words(error)
        if sent < len(data):
            self.pending = memoryview(data)[sent:]

    def end_of_file(self) -> None:
        """After QUIT's reply the server closes first; anywhere else it is a fault."""
        if self.at < len(self.steps):
            raise self.refused("closed the connection")
        self.finished = True

    def read_last_words(self, error: OSError) -> NoReturn:
        try:
            self.heard += self.socket.recv(READ)
        except OSError:
            pass
        raise self.refused(f"broke the connection: {error}") from error

    def refused(self, what: str) -> Refused:
        awaited = b" ".join(self.steps[self.at].expect).decode() if self.at < len(self.steps) else "the end"
        return Refused(f"the server {what} at step {self.at}; awaited {awaited}, heard {self.heard[:2000]!r}")


class Crowd:
    """The conversations under way, and those yet to come."""

    __slots__ = ("accepted", "held", "hold", "port", "selector", "steps", "waiting")

    def __init__(self, port: int, steps: Sequence[Step], waiting: int, hold: bool) -> None:
        self.port = port
        self.steps = steps
        self.waiting = waiting
        self.hold = hold
        self.accepted = 0
        self.held: list[socket.socket] = []
        self.selector = selectors.DefaultSelector()

    def start(self) -> None:
        """Begin one more conversation, if there is one to come."""
        if self.waiting:
            self.waiting -= 1
            conversation = Conversation(self.port, self.steps, self.hold)
            self.selector.register(conversation.socket, selectors.EVENT_READ, conversation)

    def settle(self, conversation: Conversation) -> None:
        """A conversation is over: count it, and let the next one begin."""
        self.selector.unregister(conversation.socket)
        self.accepted += conversation.accepted
        if self.hold:
            self.held.append(conversation.socket)
        else:
            conversation.socket.close()
        self.start()

    def serve(self, key: selectors.SelectorKey, events: int) -> None:
        conversation: Conversation = key.data
        if events & selectors.EVENT_WRITE:
            conversation.write()
        if events & selectors.EVENT_READ:
            conversation.read()
        if conversation.finished:
            self.settle(conversation)
            return
        if conversation.socket is not key.fileobj:  # it is under TLS now, and another object
            self.selector.unregister(key.fd)
            key = self.selector.register(conversation.socket, key.events, conversation)
        wanted = READ_WRITE if conversation.pending else selectors.EVENT_READ
        if wanted != key.events:
            self.selector.modify(conversation.socket, wanted, conversation)

    def run(self) -> None:
        while self.selector.get_map():
            ready = self.selector.select(SILENCE)
            if not ready:
                raise Refused(f"silence for {SILENCE:.0f} s in {len(self.selector.get_map())} conversations")
            for key, events in ready:
                self.serve(key, events)


def converse(port: int, steps: Sequence[Step], conversations: int, parallel: int, hold: bool = False) -> Outcome:
    """Hold `conversations` conversations with 127.0.0.1:port, `parallel` at a time."""
    crowd = Crowd(port, steps, conversations, hold)
    with crowd.selector:
        for _ in range(parallel):
            crowd.start()
        crowd.run()
    return Outcome(crowd.accepted, crowd.held)
