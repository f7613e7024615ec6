"""A mail exchanger: takes the mail of its domains from all the world, into a Maildir for each domain below ./var/mail.

    mailstack check conf/mx.py
    mailstack serve conf/mx.py

The names in capitals are what has to be changed. HOSTNAME must lead to this machine in the DNS, and the MX records of
DOMAINS to HOSTNAME. Port 25 needs root at the start, and then `Server(user=…)`; "127.0.0.1:2525" tries things out.
"""

from mailstack import Listener, Postpone, Server, Stack, Unless, predicate
from mailstack.handlers import maildir
from mailstack.middleware import connectiontime, earlytalker, limits, recipients, tls, vrfy

HOSTNAME = "mx.example.org"
DOMAINS = ("example.org", "example.net")
LISTEN = "[::]:25"
CERTIFICATES = "/etc/letsencrypt/live"  # STARTTLS is offered when there are any; new ones need no restart
FRIENDS = ("198.51.100.0/24", "2001:db8::/32")  # machines of our own, which need not show their manners

friend = predicate.client_in(*FRIENDS)

server = Server(
    Stack(
        tls.TLS(CERTIFICATES, missing_ok=True),
        # One line in the log for each connection, with its time. On top, so that all else is within it.
        connectiontime.ConnectionTime(),
        # What one client may take, and how long it is waited for when the server is nearly full.
        Unless(
            friend,
            limits.Sessions(total=900, per_ip=20, per_prefix=100),
            limits.Rate(connections="120/1m"),
            limits.Stress(),
            limits.Tarpit(),
        ),
        # Who talks before the banner is no mail server. The refusal waits until RCPT, so that the log has sender and
        # recipient, and postmaster can be asked why.
        Unless(friend, Postpone(earlytalker.EarlyTalker(wait="1s"))),
        # Strangers learn no mailboxes.
        vrfy.Vrfy("cannot"),
        # Whose mail we take: everybody's at these domains. Nobody is relayed for, friends neither.
        recipients.Domains(*DOMAINS),
        # The end: a 250 when the file and its folder are synced.
        maildir.Maildir("./var/mail/{domain}"),
    ),
    listeners=[Listener(LISTEN)],
    hostname=HOSTNAME,
)
