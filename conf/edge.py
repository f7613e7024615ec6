"""A filter in front of another mail server: what is let in goes on to NEXT at once, and NEXT's answer is the client's.

    mailstack check conf/edge.py
    mailstack serve conf/edge.py

Put it at the address that the MX records lead to, and let NEXT take mail from nobody else. NEXT knows who exists: it is
asked for each recipient, and its answers are remembered. There is no queue here: while NEXT is down, clients hear 451
and come again. What NEXT sends to the world goes past this server, which could only bring it back.

The names in capitals are what has to be changed. What else stands between strangers and NEXT is in mx.py: lists in the
DNS, greylisting, a spam scanner.
"""

from mailstack import Listener, Postpone, Server, Stack
from mailstack.handlers import forward
from mailstack.middleware import connectiontime, earlytalker, limits, recipients, relay, tls, vrfy

HOSTNAME = "edge.example.org"
DOMAINS = ("example.org", ".example.org")
NEXT = "192.0.2.25:25"
LISTEN = "[::]:25"
CERTIFICATES = "/etc/letsencrypt/live"  # STARTTLS is offered when there are any; new ones need no restart

server = Server(
    Stack(
        tls.TLS(CERTIFICATES, missing_ok=True),
        connectiontime.ConnectionTime(),
        # What one client may take, and how long it is waited for when the server is nearly full.
        limits.Sessions(total=900, per_ip=20, per_prefix=100),
        limits.Rate(connections="120/1m"),
        limits.Stress(),
        limits.Tarpit(close_after=50),
        # Who talks before the banner is no mail server; it hears so at RCPT.
        Postpone(earlytalker.EarlyTalker(wait="1s")),
        # Strangers learn no mailboxes, and who looks for an open relay is shown the door.
        vrfy.Vrfy("cannot"),
        relay.Attempts(5),
        # Whose mail we take: whom NEXT accepts at these domains. It is not asked for postmaster and abuse.
        recipients.Callout(NEXT, *DOMAINS),
        # The end: a 250 when NEXT has the message. Both use TLS where NEXT offers it; tls="verify" insists.
        forward.Forward(NEXT),
    ),
    listeners=[Listener(LISTEN)],
    hostname=HOSTNAME,
)
