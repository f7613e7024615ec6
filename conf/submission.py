"""A submission server (RFC 6409): the mail of one's own users, by TLS and login alone, goes on to a smarthost.

    mailstack password you@example.org >> conf/submission.users        # before the first start; later by a copy
    mailstack check conf/submission.py
    mailstack serve conf/submission.py

The names in capitals are what has to be changed. Ports 587 (STARTTLS) and 465 (TLS from the first octet) need root at
the start, and then `Server(user=…)`. There is no queue here: while the smarthost is away, clients hear 451, and mail
programs keep the mail. Nobody can log in before there is somebody in USERS, and a certificate.
Needs `pip install "mailstack[auth]"`.
"""

from pathlib import Path

from mailstack import Listener, Server, Stack
from mailstack.handlers import forward
from mailstack.middleware import auth, authfile, limits, relay, senderlogin, submission, tls

HERE = Path(__file__).parent
HOSTNAME = "mail.example.org"
DOMAINS = ("example.org",)  # a login "ann" may send as ann@example.org
CERTIFICATES = "/etc/letsencrypt/live"  # new ones need no restart
USERS = HERE / "submission.users"
SMARTHOST = "smtp.example.net:587"
LOGIN = "mail@example.org"  # at the smarthost, with the password in this file:
PASSWORD = HERE / "submission.password"
LISTEN, LISTEN_TLS = "[::]:587", "[::]:465"

server = Server(
    Stack(
        # Nothing is said in clear but STARTTLS.
        tls.TLS(CERTIFICATES, missing_ok=True, required=True),
        limits.Sessions(total=900, per_ip=50),
        limits.Tarpit(),
        # Who are you? Nobody goes on without an answer.
        auth.Auth(required=True),
        authfile.File(USERS),
        # You send as yourself, in the envelope and in From.
        senderlogin.SenderLogin(*DOMAINS, separator="+", author=True),
        # A stolen password sends no more than this.
        limits.Rate(messages="100/1h", recipients="500/1h", by="login"),
        # From, Date and Message-ID are there, Bcc is not; domains are whole.
        submission.Submission(),
        # Who has logged in may send anywhere, and nobody else may.
        relay.Relay(only=True),
        # The end: a 250 when the smarthost has the message. Its certificate must be right.
        forward.Forward(SMARTHOST, tls="verify", user=LOGIN, password_file=PASSWORD),
    ),
    listeners=[Listener(LISTEN, name="submission"), Listener(LISTEN_TLS, tls=True, name="submissions")],
    hostname=HOSTNAME,
    received=submission.discreet,
)
