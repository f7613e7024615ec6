"""Where forwarded messages end, in a process of its own: it takes everything, as cheaply as Python can, on one thread.

It offers PIPELINING, SIZE and 8BITMIME, no CHUNKING: both contestants then send the same octets.
"""

import selectors
import socket

READ = 1024 * 1024
HELLO = b"250-sink.example\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250 8BITMIME\r\n"
ANSWERS = {b"EHLO": HELLO, b"DATA": b"354 go\r\n", b"QUIT": b"221 bye\r\n"}


class Connection:
    __slots__ = ("in_data", "socket", "unread")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.unread = b""
        self.in_data = False
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(b"220 sink.example ESMTP\r\n")

    def read(self) -> bool:
        """Answer what has come; whether the client is still there."""
        data = self.socket.recv(READ)
        if not data:
            return False
        self.unread += data
        answers = b""
        while (answer := self.take()) is not None:
            answers += answer
        if answers:
            self.socket.sendall(answers)
        return not answers.endswith(b"221 bye\r\n")

    def take(self) -> bytes | None:
        if self.in_data:
            end = self.unread.find(b"\r\n.\r\n")
            if end < 0:
                self.unread = self.unread[-4:]  # the rest is of no use
                return None
            self.unread = self.unread[end + 5 :]
            self.in_data = False
            return b"250 ok\r\n"
        end = self.unread.find(b"\r\n")
        if end < 0:
            return None
        verb, self.unread = self.unread[:4].upper(), self.unread[end + 2 :]
        self.in_data = verb == b"DATA"
        return ANSWERS.get(verb, b"250 ok\r\n")


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                connection = listener.accept()[0]
                selector.register(connection, selectors.EVENT_READ, Connection(connection))
                continue
            try:
                there = key.data.read()
            except OSError:
                there = False
            if not there:
                selector.unregister(key.fileobj)
                key.data.socket.close()


if __name__ == "__main__":
    main()
