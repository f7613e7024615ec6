"""The first server: mail for anybody at localhost and example.org lands in Maildirs below ./var/mail.

    mailstack serve conf/quickstart.py

It listens on 127.0.0.1:2525, so only this machine can reach it, and needs neither root nor DNS. `mailstack check` on
this file shows the chain of each phase; conf/app.py receives mail into a program instead.

STARTTLS is offered when there is a certificate below ./var/certs: `make run` makes one, and so does
`mailstack certs localhost 127.0.0.1 ::1`. It is trusted by whoever is given ./var/certs/ca/ca.pem.
"""

from mailstack import Listener, Server, Stack, hookimpl
from mailstack.handlers import maildir
from mailstack.middleware import recipients, tls

DOMAINS = ("localhost", "example.org")
MAIL = "./var/mail"
CERTIFICATES = "./var/certs"
SEND = (
    'import smtplib; smtplib.SMTP("{host}", {port})'
    '.sendmail("me@localhost", "you@localhost", "Subject: hello\\n\\nIt works.")'
)


class Welcome:
    """Says where mail goes and how to send some; a middleware is no more than this."""

    @hookimpl
    async def lifespan(self, server, call_next):
        host, _, port = server.listeners[0].address.rpartition(":")
        print(f"Mail for anybody at {' and '.join(DOMAINS)} goes to {MAIL}. Send some from another terminal:\n")
        print(f"python3 -c '{SEND.format(host=host, port=port)}'\n", flush=True)
        await call_next()


server = Server(
    Stack(
        tls.TLS(CERTIFICATES, missing_ok=True),
        Welcome(),
        recipients.Domains(*DOMAINS),
        maildir.Maildir(MAIL),
    ),
    listeners=[Listener("127.0.0.1:2525")],
    hostname="localhost",
)
