"""recipients: whose mail this server takes, and where it goes.

A recipient that nobody vouches for is refused with `550 relaying denied`. These entries vouch, each for its own:

    recipients.Domains("example.org", ".example.org", "bücher.example")      # any address there
    recipients.Addresses("ann@example.org", "/[a-z]+-list@example\\.org/")    # these, and no others at their domains
    recipients.Users("example.org", known=["ann", "bob"], separator="+")     # these users; ann+lists is ann
    recipients.Users("example.org", known=recipients.folder(mail.folder_of))  # who has a Maildir in `mail`
    recipients.Callout("192.0.2.25", "example.org")                          # whom the next server accepts
    recipients.Aliases({"sales@example.org": ["ann@example.org", "bob@example.net"], "@old.example": "@example.org"})

Wherever domains, addresses, names or aliases are listed, a lookup may stand (docs/lookups.md). `lookup.File("path")`
is read again when it changes: one a line, "#" begins a comment, an alias is `address: target, target`. What is wrong
with a file stops the start, with its line; later it is an error in the log, and the list stays as it was. A database
that cannot say is 451.

Domains compare as the DNS does: letter case is nothing, "bücher.example" and "xn--bcher-kva.example" are the same.
".example.org" means every domain below example.org and not example.org itself. An address literal such as
"[192.0.2.1]" is accepted only if it is listed. Local parts compare without regard to letter case;
`case_sensitive=True` says otherwise.

Each says nothing to what is not at its domains: the next entry may know better, and the end of the chain refuses what
nobody vouched for. At its domains the answer to all that does not exist is the same, `550 5.1.1 no such mailbox
here`, unless `catch_all="ann@example.org"` takes their mail; a check that cannot find out (a database that is down, a
next server that does not answer) is 451. Refusing at RCPT is what keeps this server from sending bounces to senders
that were forged; so let no server behind it be stricter.

postmaster and abuse are accepted at every domain that is listed, whether they are among the addresses or not (RFC
5321 §4.5.1, RFC 2142 §4); the core does the same for bare postmaster. Give them an alias where no mailbox of that
name is. An entry further up may still refuse them. Bare abuse, without a domain, is no address (RFC 5321 §4.1.1.3).

A local part with "%", "!" or "@" in it ("user%other.example@example.org") may be a route to elsewhere for the server
behind this one. `Domains`, `Callout`, expressions and whole-domain aliases do not take it for an address of theirs,
so that it is relaying, which `relay` may allow; an address that is listed letter for letter is one.

Aliases stand above the entries that know who exists. Each target is judged by all that stands below, as if the client
had named it; the client has named one recipient and hears one reply, so the first target that is refused refuses the
alias. An alias vouches, also for targets elsewhere: then mail leaves with its sender as it is, and SPF of that sender
may fail there. Targets that are aliases are followed; an alias is not applied to its own targets ("ann: ann,
archive"). With the client's own parameters (NOTIFY, ORCPT) each target is a recipient of its own.

Callout asks the next server with MAIL FROM:<> and RCPT, sends nothing, and remembers the answer: a yes four hours, a
no a quarter. STARTTLS is used where it is offered; `tls=` and `login=` say more. Several clients that ask for the same
wait for one answer. It never asks itself. In a rehearsal it asks too, for that leaves nothing behind. Where every
recipient of a transaction is to be asked for on the connection that the message takes, `forward.Forward(…,
ask_recipients=True)` does that instead. A next server that accepts everybody and bounces later makes all of this vain.

All look at the address as it stands after rewriting.
"""

from .addresses import Addresses, Users
from .addresses import folder as folder
from .aliases import Aliases
from .callout import Callout
from .domains import Domains

__all__ = ["Addresses", "Aliases", "Callout", "Domains", "Users"]
