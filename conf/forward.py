"""An edge in front of a mail server: policy here, mailboxes there, on 127.0.0.1:10025.

    mailstack serve conf/forward.py

It has no queue: a client hears 250 when the server behind has the message, and what that server refuses is refused
here. `ask_recipients` asks it for each recipient while the client still names them, so that unknown users are refused
one by one. In Postfix, a second smtpd in master.cf is such a server: `127.0.0.1:10025 inet n - n - - smtpd`.

A smarthost that wants to know who we are, and by whose certificate we know it:

    forward.Forward("smtp.example.net:587", tls="verify", user="edge", password_file="/etc/mailstack/secret")
    forward.Forward("smtp.example.net:465", implicit_tls=True, user="edge", password_file="…")
"""

from mailstack import Listener, Server, Stack
from mailstack.handlers import forward
from mailstack.middleware import recipients

DOMAINS = ("localhost", "example.org")
BEHIND = "127.0.0.1:10025"

server = Server(
    Stack(
        recipients.Domains(*DOMAINS),  # nobody else's mail is passed on
        forward.Forward(BEHIND, ask_recipients=True),
    ),
    listeners=[Listener("127.0.0.1:2525")],
    hostname="localhost",
)
