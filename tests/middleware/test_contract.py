"""Every bundled middleware keeps the contract."""

import pathlib
import pkgutil
from collections.abc import Callable

import pytest

from mailstack import middleware
from mailstack.middleware import (
    auth,
    authdeny,
    authdovecot,
    authfile,
    authfunction,
    authimap,
    authjwt,
    authldap,
    authpam,
    authsql,
    badhelo,
    badpair,
    badrecipient,
    badsender,
    bogusbounce,
    checkpassword,
    connectiontime,
    dnsbl,
    dnswl,
    earlytalker,
    fcrdns,
    geo,
    greylist,
    helo,
    hosts,
    karma,
    lenient,
    limits,
    noop,
    p0f,
    proxy,
    recipients,
    relay,
    resolvable,
    rhsbl,
    senderlogin,
    spamassassin,
    subjecttag,
    submission,
    tls,
    uribl,
    vrfy,
    xclient,
)
from mailstack.services import lookup
from mailstack.services.store import Memory
from mailstack.testing.contract import CONTRACT_CHECKS, Check
from tests.middleware.world import world
from tests.tls import authority_pem, pem

MAKE: dict[str, Callable[[], object]] = {
    "geo": lambda: geo.Geo(world()),
    "p0f": lambda: p0f.P0f("/nobody/is/there", fields=True),
    "badhelo": lambda: badhelo.BadHelo("friend"),
    "badpair": lambda: badpair.BadPair({"a@example.org": "b@example.org"}),
    "badrecipient": lambda: badrecipient.BadRecipient("b@example.org"),
    "badsender": lambda: badsender.BadSender("a@example.org"),
    "bogusbounce": lambda: bogusbounce.BogusBounce(),
    "fcrdns": lambda: fcrdns.FCrDNS(require="confirmed"),
    "greylist": lambda: greylist.Greylist(store=Memory()),
    "greylist: late": lambda: greylist.Greylist(late=True, store=Memory()),
    "helo": lambda: helo.Helo("strict"),
    "noop": lambda: noop.Noop(3),
    "resolvable": lambda: resolvable.Resolvable(),
    "auth": lambda: auth.Auth(insecure=True),
    "auth: required": lambda: auth.Auth(insecure=True, required=True),
    "authdeny": lambda: authdeny.Deny(),
    "authdeny: some": lambda: authdeny.Deny(users=["ann"]),
    "authdovecot": lambda: authdovecot.Dovecot("unix:/nobody/is/there"),
    "authfile": lambda: authfile.File(pathlib.Path(__file__).with_name("users.txt")),
    "authfunction": lambda: authfunction.Function(lambda user, password: True),
    "authfunction: stored": lambda: authfunction.Stored(lambda user: None, threads=1),
    "authjwt": lambda: authjwt.AuthJWT(
        '{"kty": "oct", "k": "c2VjcmV0LWluLW1hbnktbGV0dGVycy1mb3ItYS10ZXN0"}',
        issuer="https://login.example/",
        audience="mail",
        algorithms="HS256",
    ),
    "authimap": lambda: authimap.IMAP("127.0.0.1:1"),
    "authldap": lambda: pytest.importorskip("ldap") and authldap.LDAP("ldap://127.0.0.1:1", base="dc=example"),
    "authpam": lambda: authpam.PAM("mailstack"),
    "authsql": lambda: authsql.SQL("sqlite://", "SELECT :user"),
    "checkpassword": lambda: checkpassword.CheckPassword("/bin/false", "/bin/true"),
    "connectiontime": lambda: connectiontime.ConnectionTime(),
    "dnsbl": lambda: dnsbl.DNSBL("bl.example"),
    "dnsbl: in place of the banner": lambda: dnsbl.DNSBL("bl.example", at="connect"),
    "dnswl": lambda: dnswl.DNSWL("wl.example"),
    "earlytalker": lambda: earlytalker.EarlyTalker(wait="5ms"),
    "earlytalker: logging": lambda: earlytalker.EarlyTalker(wait="5ms", action="log"),
    "hosts": lambda: hosts.Hosts(allow=["192.0.2.0/24"], default="deny"),
    "hosts: denied": lambda: hosts.Hosts(deny="192.0.2.0/24"),
    "hosts: dropped": lambda: hosts.Drop(deny="192.0.2.0/24"),
    "karma": lambda: karma.Karma(store=Memory()),
    "lenient": lambda: lenient.Lenient(brackets=True, colon=True, null=True, parameters=True),
    "limits: sessions": lambda: limits.Sessions(total=100, per_ip=5, per_prefix=8),
    "limits: rate": lambda: limits.Rate(connections="50/1m", messages="2/1h", recipients="100/1h"),
    "limits: rate by login": lambda: limits.Rate(messages="2/1h", by="login"),
    "limits: recipients": lambda: limits.Recipients(1, per_session=3),
    "limits: size": lambda: limits.Size("1 KiB"),
    "limits: tarpit": lambda: limits.Tarpit(1, delay="5ms", close_after=3),
    "limits: deadlines": lambda: limits.Deadlines(idle="1m", errors=3),
    "limits: stress": lambda: limits.Stress(),
    "limits: load gate": lambda: limits.LoadGate(above=1000),
    "proxy": lambda: proxy.Proxy(),
    "recipients: domains": lambda: recipients.Domains("example.org"),
    "recipients: asked": lambda: recipients.Domains(lookup.Cached(lookup.Inline("example.org"))),
    "recipients: addresses": lambda: recipients.Addresses("b@example.org"),
    "recipients: refusing": lambda: recipients.Addresses("c@example.org"),
    "recipients: users": lambda: recipients.Users("example.org", known=["b"], separator="+"),
    "recipients: aliases": lambda: recipients.Aliases({"b@example.org": ["c@example.org", "d@example.net"]}),
    "recipients: callout": lambda: recipients.Callout("unix:/nobody/is/there", "example.org"),
    "relay": lambda: relay.Relay("192.0.2.0/24"),
    "relay: for us only": lambda: relay.Relay(only=True),
    "relay: attempts": lambda: relay.Attempts(1),
    "rhsbl": lambda: rhsbl.RHSBL("dbl.example", which=("sender", "helo")),
    "senderlogin": lambda: senderlogin.SenderLogin("example.org", owners={"@example.org": "ann"}, protect=True),
    "spamassassin": lambda: spamassassin.SpamAssassin("unix:/nobody/is/there", on_fault="pass"),
    "spamassassin: mail waits": lambda: spamassassin.SpamAssassin("unix:/nobody/is/there"),
    "subjecttag": lambda: subjecttag.SubjectTag("[list]"),
    "submission": lambda: submission.Submission(required=False),
    "submission: for who has logged in": lambda: submission.Submission(),
    "tls": lambda: tls.TLS(pem()),
    "tls: for clients that show who they are": lambda: tls.TLS(
        pem(), client_certificates="optional", client_ca=authority_pem(), identity={"email:a@example.org": "a"}
    ),
    "uribl": lambda: uribl.URIBL("uri.example", mark="X-URIBL"),
    "vrfy": lambda: vrfy.Vrfy(),
    "vrfy: asking": lambda: vrfy.Vrfy("ask", known=["b@example.org"]),
    "xclient": lambda: xclient.XClient("192.0.2.0/24"),
}


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE.keys())
@pytest.mark.parametrize("check", CONTRACT_CHECKS, ids=lambda check: check.__name__)
async def test_it_keeps_the_contract(check: Check, make: Callable[[], object]) -> None:
    await check(make)


def test_none_is_left_out() -> None:
    bundled = {info.name for info in pkgutil.iter_modules(middleware.__path__)}
    assert {name.partition(":")[0] for name in MAKE} == bundled
