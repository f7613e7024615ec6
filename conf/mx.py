"""A mail exchanger: takes the mail of its domains from all the world, into a Maildir for each domain below ./var/mail.

    mailstack check conf/mx.py
    mailstack serve conf/mx.py
    mailstack simulate conf/mx.py --client 203.0.113.9 --from ann@example.com --to you@example.org

The names in capitals are what has to be changed. HOSTNAME must lead to this machine in the DNS, and the MX records of
DOMAINS to HOSTNAME. Port 25 needs root at the start, and then `Server(user=…)`; "127.0.0.1:2525" tries things out.
docs/filtering.md tells how to begin, and what each line costs and catches. Wrap a line in `Observe(…)` to see in the
log what it would do, before it does. People log in elsewhere: submission.py. `mailstack plugins` lists what else there
is: hosts, geo, p0f, badhelo, badpair.
"""

from mailstack import Listener, Postpone, Server, Stack, Unless, predicate
from mailstack.handlers import maildir
from mailstack.middleware import (
    badrecipient,
    badsender,
    bogusbounce,
    connectiontime,
    dnsbl,
    dnswl,
    earlytalker,
    fcrdns,
    greylist,
    helo,
    karma,
    limits,
    noop,
    recipients,
    resolvable,
    rhsbl,
    spamassassin,
    tls,
    uribl,
    vrfy,
)

HOSTNAME = "mx.example.org"
DOMAINS = ("example.org", "example.net")
LISTEN = "[::]:25"
CERTIFICATES = "/etc/letsencrypt/live"  # STARTTLS is offered when there are any; new ones need no restart
FRIENDS = ("198.51.100.0/24", "2001:db8::/32")  # machines of our own, which need not show their manners
SPAMD = "127.0.0.1:783"  # while nobody is there mail passes unseen, and the log says so

friend = predicate.client_in(*FRIENDS)
history = karma.Karma()  # what clients did before: ./var/karma.db
known = dnswl.DNSWL("list.dnswl.org")  # whom others trust
trusted = friend | known.trusted(1)

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
            limits.Tarpit(close_after=50),
            noop.Noop(20),
        ),
        # Who was naughty yesterday is not heard today, and who talks before the banner is no mail server. The refusals
        # wait until RCPT, so that the log has sender and recipient, and postmaster can be asked why.
        Unless(friend, Postpone(history), Postpone(earlytalker.EarlyTalker(wait="1s"))),
        # Strangers learn no mailboxes.
        vrfy.Vrfy("cannot"),
        # Lists in the DNS are asked while the client is greeted; all that is asked here is asked at the same time, and
        # answered at RCPT.
        known,
        Unless(
            trusted,
            dnsbl.DNSBL(dnsbl.Zone("zen.spamhaus.org", codes="127.0.0.2-127.0.0.11")),
            rhsbl.RHSBL(rhsbl.Zone("dbl.spamhaus.org", codes="127.0.1.0/24")),
        ),
        # What names say of the client and of the sender.
        Unless(friend, fcrdns.FCrDNS(), helo.Helo("lenient"), resolvable.Resolvable(), bogusbounce.BogusBounce()),
        # Whom you do not want: addresses, domains, or lookup.File("/etc/mailstack/badsenders").
        Postpone(badsender.BadSender("spam@spam.example", ".spam.example")),
        badrecipient.BadRecipient("former@example.org"),
        # Whose mail we take: everybody's at these domains. Nobody is relayed for, friends neither.
        recipients.Domains(*DOMAINS),
        # Who has not written before comes again in five minutes: ./var/greylist.db. Not whom others trust, nor whom
        # we have known to behave.
        Unless(trusted | history.known(3), greylist.Greylist()),
        # The message is here: what it leads to, and what it is made of.
        Unless(
            friend,
            uribl.URIBL(uribl.Zone("multi.surbl.org", codes=("&8", "&16", "&64", "&128"))),
            spamassassin.SpamAssassin(SPAMD, subject="[SPAM]", reject_at=12, on_fault="pass"),
        ),
        # The end: a 250 when the file and its folder are synced.
        maildir.Maildir("./var/mail/{domain}"),
    ),
    listeners=[Listener(LISTEN)],
    hostname=HOSTNAME,
)
