"""Mail from Postfix into Maildirs: an LMTP server (RFC 2033) on 127.0.0.1:2424.

    mailstack serve conf/lmtp.py

Postfix brings it mail with `virtual_transport = lmtp:inet:127.0.0.1:2424` and DOMAINS in `virtual_mailbox_domains`. It
decides who exists (`virtual_mailbox_maps`), keeps the queue, and tries again for each recipient that was not taken.
Here each recipient has a Maildir of its own below ./var/mail. A UNIX socket is more private: `unix:/run/mail/lmtp`.
"""

from mailstack import Listener, Server, Stack
from mailstack.handlers import maildir
from mailstack.middleware import recipients

DOMAINS = ("localhost", "example.org")

server = Server(
    Stack(
        recipients.Domains(*DOMAINS),
        maildir.Maildir("./var/mail/{domain}/{local}"),
    ),
    listeners=[Listener("127.0.0.1:2424", lmtp=True)],
    hostname="localhost",
)
