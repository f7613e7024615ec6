"""A filter in front of another mail server: what is let in goes on to NEXT at once, and NEXT's answer is the client's.

    mailstack check conf/edge.py
    mailstack serve conf/edge.py

Put it at the address that the MX records lead to, and let NEXT take mail from nobody else. NEXT knows who exists: it is
asked for each recipient, and its answers are remembered. There is no queue here: while NEXT is down, clients hear 451
and come again. What NEXT sends to the world goes past this server, which could only bring it back.
"""

from mailstack import Listener, Server, Stack
from mailstack.handlers import forward
from mailstack.middleware import recipients, relay

# What has to be changed.
HOSTNAME = "edge.example.org"
DOMAINS = ("example.org", ".example.org")
NEXT = "192.0.2.25:25"
LISTEN = "[::]:25"

server = Server(
    Stack(
        # Who looks for an open relay is shown the door.
        relay.Attempts(5),
        # What stands between strangers and NEXT goes here: see mx.py.
        # Whose mail we take: whom NEXT accepts at these domains. It is not asked for postmaster and abuse.
        recipients.Callout(NEXT, *DOMAINS),
        # The end: a 250 when NEXT has the message.
        forward.Forward(NEXT),
    ),
    listeners=[Listener(LISTEN)],
    hostname=HOSTNAME,
)
