"""Lists in the DNS (RFC 5782): who is on them, what that means, and what is no answer at all.

    zone = Zone("zen.spamhaus.org", codes={"127.0.0.2-127.0.0.11": 2.0}, text="see https://check.spamhaus.org")
    lists = Lists([zone, "bl.example.net"], timeout="8s", name="DNSBL")
    found = await lists.ask(session, "connect", ips=[session.client.ip])    # all zones at the same time
    reply = Threshold(1.0, False, name="DNSBL").reply(found)

`zone` is one list and how its answers are read; `answer` is what it said; `lists` asks several, counts and remembers
how they are doing. An error is never a listing: an answer outside of 127.0.0.0/8 (somebody rewrites names that do not
exist), one in 127.255.255.0/24 (the list refuses to answer us), SERVFAIL and silence.
"""

from .answer import Found, Listing
from .lists import Lists, Statistics, Threshold
from .names import domains_of, is_public, reversed_ip
from .zone import Zone

__all__ = ["Found", "Listing", "Lists", "Statistics", "Threshold", "Zone", "domains_of", "is_public", "reversed_ip"]
