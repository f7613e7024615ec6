"""Addresses: the grammar of RFC 5321 and 6531, one canonical form."""

import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mailstack.wire.address import Address, AddressError, parse_path

ACCEPTED = [
    # text, local, domain
    ("<foo@example.com>", "foo", "example.com"),
    ("<FOO@EXAMPLE.COM>", "FOO", "example.com"),  # the local part's case is the recipient's own
    ("<foo@localhost>", "foo", "localhost"),  # one label
    ("<foo@1.2.3.4>", "foo", "1.2.3.4"),  # digits are labels
    ("<foo@[1.2.3.4]>", "foo", "[1.2.3.4]"),
    ("<foo@[IPv6:::1]>", "foo", "[IPv6:::1]"),
    ("<foo@[ipv6:2001:DB8:0:0::1]>", "foo", "[IPv6:2001:db8::1]"),  # normalised
    ("<@a.org,@b.org:foo@c.org>", "foo", "c.org"),  # source route dropped
    ("<@a:postmaster@test>", "postmaster", "test"),
    ("<!def!xyz%abc@example.com>", "!def!xyz%abc", "example.com"),
    ("<user+tag=x@example.com>", "user+tag=x", "example.com"),
    ("<$A12345@example.com>", "$A12345", "example.com"),
    ("<o'brien@x.org>", "o'brien", "x.org"),
    ("<a.b.c@x.org>", "a.b.c", "x.org"),
    ("<foo@a_b.org>", "foo", "a_b.org"),  # the underscore is met in the wild
    ("<foo@r3---sn-x.example>", "foo", "r3---sn-x.example"),  # hyphens inside
    ('<"musa_ibrah@caramail.comandrea.luger"@wifo.ac.at>', "musa_ibrah@caramail.comandrea.luger", "wifo.ac.at"),
    (r'<"a\"b"@x.org>', 'a"b', "x.org"),
    ('<"a b"@x.org>', "a b", "x.org"),  # the ancestor wanted the blank escaped
    (r'<"a\ b"@x.org>', "a b", "x.org"),
    ('<"a>b"@x.org>', "a>b", "x.org"),  # a bracket in quotes does not end the path
    ('<"user"@x.org>', "user", "x.org"),  # needless quotes
    (r'<"\u\s\e\r"@x.org>', "user", "x.org"),  # needless escapes
    ('<".foo"@x.org>', ".foo", "x.org"),  # what needs quotes
    ('<""@x.org>', "", "x.org"),  # Quoted-string may be empty
    ("<" + "a" * 64 + "@x.org>", "a" * 64, "x.org"),
    ('<"' + "a" * 64 + '"@x.org>', "a" * 64, "x.org"),
    ("<foo@" + "a" * 63 + ".org>", "foo", "a" * 63 + ".org"),
    ("<a@" + "b." * 125 + "cc>", "a", "b." * 125 + "cc"),  # a path of 256 octets
    ("<postmaster>", "postmaster", ""),
    ("<POSTMASTER>", "postmaster", ""),
    # RFC 6531
    ("<üser@example.org>", "üser", "example.org"),  # the ancestor refused 8-bit at the start
    ("<us\u00e9r@example.org>", "usér", "example.org"),
    ("<use\u0301r@example.org>", "usér", "example.org"),  # not normalised by its sender
    ('<"ü b"@example.org>', "ü b", "example.org"),
    ("<x@bücher.example>", "x", "xn--bcher-kva.example"),
    ("<x@BÜCHER.example>", "x", "xn--bcher-kva.example"),
    ("<x@XN--BCHER-KVA.example>", "x", "xn--bcher-kva.example"),
    ("<x@faß.de>", "x", "xn--fa-hia.de"),  # not fass.de, which IDNA 2003 made of it
    ("<@bücher.example:x@y.org>", "x", "y.org"),
]

REFUSED = [
    "<abuse>",  # only postmaster may lack a domain
    "<user>",
    "<matt@>",
    "<@example.com>",
    "<foo@[999.1.1.1]>",  # the ancestor took it
    "<foo@[01.2.3.4]>",  # octal or not?
    "<foo@[1.2.3]>",
    "<foo@[]>",
    "<#@[]>",  # null to the ancestor
    "<foo@[1.2.3.4>",
    "<foo@[1.2.3.4]x>",
    "<foo@[IPv6:1.2.3.4]>",
    "<foo@[IPv6:::1%eth0]>",  # a zone means nothing elsewhere
    "<foo@[IPv6:zz::1]>",
    "<foo@[X-tag:content]>",  # general literals
    "<foo@[::1]>",  # without its tag
    "<foo bar@example.com>",  # the ancestor quoted it
    "<ask @perl.org>",  # the ancestor quoted it
    "<a@b@c.org>",  # the ancestor quoted the first part
    "<.foo@x.org>",
    "<foo.@x.org>",  # the ancestor looked at the start only
    "<foo..bar@x.org>",
    "<foo@x..org>",
    "<foo@.x.org>",
    "<foo@x.org.>",
    "<foo@-x.org>",
    "<foo@x-.org>",
    "<user@example.com#>",
    "<foo@a b.org>",  # the ancestor let any character separate labels
    "<foo@a#b.org>",
    '<"a"b@x.org>',  # text after the quotes
    '<"a@x.org>',  # open quotes
    r'<"a\"@x.org>',
    '<"a"b"@x.org>',
    '<a"b"@x.org>',
    '<"a">',
    "<foo(comment)@x.org>",
    "<" + "a" * 65 + "@x.org>",
    '<"' + "a b" * 21 + '"@x.org>',  # 65 octets with its quotes
    "<foo@" + "a" * 64 + ".org>",
    "<foo@" + "b." * 125 + "cc>",  # a path of 258 octets
    "<" + "@a.org," * 40 + "@a.org:foo@x.org>",  # long only by its route
    "<@a.org,b.org:foo@x.org>",  # malformed routes
    "<@a.org@b.org:foo@x.org>",
    "<@a.org:@b.org:foo@x.org>",
    "<@:foo@x.org>",
    "<@a.org,:foo@x.org>",
    "<@192.168.1.1>",
    "<@[1.2.3.4]:foo@x.org>",
    "<@a.org:postmaster>",
    "<@a.org:>",
    "<@a.org>",
    "<foo@x.org",
    "foo@x.org",
    "",
    " <foo@x.org>",
    "<f\0o@x.org>",
    "<f\ro@x.org>",
    "<f\no@x.org>",
    '<"f\to"@x.org>',
    "<foo@x.org\n>",
    "<foo@x.org\x7f>",
    "<f\x85o@x.org>",  # controls of Unicode
    '<"f\u00a0o"@x.org>',  # no-break space
    "<f\u2028o@x.org>",
    "<f\ud800o@x.org>",  # half a surrogate pair
    "<a\u037e@x.org>",  # NFC makes it a semicolon
    "<foo@xn--zzzzzzzzzzz.org>",  # decodes to nothing
    "<foo@xn--i-7iq.org>",  # decodes to what IDNA forbids
    "<foo@xn--abc-.org>",
    "<foo@xn--.org>",
    "<foo@bücher..example>",
    "<foo@bücher.example.>",
    "<foo@-bücher.example>",
    "<foo@bü cher.example>",
    "<foo@bü_cher.example>",
    "<foo@☃\ufe0f.example>",
    "<foo@" + "ü" * 64 + ".example>",
    "<@☃\ufe0f.example:foo@x.org>",
    "<" + "a" * 64 + "@" + "ü." * 25 + "de>",  # too long only in A-labels
]


@pytest.mark.parametrize(("text", "local", "domain"), ACCEPTED)
def test_a_path_is_read_into_its_canonical_form(text: str, local: str, domain: str) -> None:
    address, rest = parse_path(text, utf8=True, null=False)
    assert (address.local, address.domain, rest) == (local, domain, "")
    assert Address.parse(address.path) == Address.parse(str(address)) == address


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_path(text, utf8=True, null=True)
    assert caught.value.status == "5.1.3"
    assert str(caught.value).isascii()


@pytest.mark.parametrize("text", ["<üser@x.org>", "<x@bücher.example>", '<"ü"@x.org>', "<@ü.org:a@b>", "<ü>"])
def test_non_ascii_without_smtputf8_has_a_status_of_its_own(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_path(text, utf8=False, null=True)
    assert caught.value.status == "5.6.7"
    with pytest.raises(AddressError):
        Address.parse(text, utf8=False)


def test_a_labels_need_no_smtputf8() -> None:
    address, _ = parse_path("<x@xn--bcher-kva.example>", utf8=False, null=False)
    assert not address.utf8
    assert not Address.parse("x@bücher.example").utf8
    assert Address.parse("ü@example.org").utf8


def test_the_rest_of_the_line_is_handed_back() -> None:
    assert parse_path("<a@b> SIZE=1", utf8=False, null=False)[1] == " SIZE=1"
    assert parse_path('<"a"@b>x', utf8=False, null=False)[1] == "x"
    assert parse_path("<> BODY=7BIT", utf8=False, null=True) == (Address.NULL, " BODY=7BIT")


def test_the_null_path_is_for_senders() -> None:
    address, _ = parse_path("<>", utf8=False, null=True)
    assert address == Address.NULL
    assert address.null
    assert (str(address), address.path, address.unicode) == ("", "<>", "")
    with pytest.raises(AddressError):
        parse_path("<>", utf8=False, null=False)


def test_bare_postmaster_is_one_address_in_any_case() -> None:
    address = Address.parse("PostMaster")
    assert address == Address.parse("<postmaster>")
    assert address.postmaster
    assert not address.null
    assert (str(address), address.original) == ("postmaster", "PostMaster")
    assert not Address.parse("postmaster@example.org").postmaster
    assert not Address.NULL.postmaster


ORIGINALS = [
    ("<User@Example.ORG>", "User@Example.ORG"),
    ('<"user"@Example.ORG>', '"user"@Example.ORG'),
    ("<@a,@b:User@C.org>", "User@C.org"),
    ("<x@Bücher.example>", "x@Bücher.example"),
    ("<use\u0301r@example.org>", "use\u0301r@example.org"),
    ("<>", ""),
]


@pytest.mark.parametrize(("text", "original"), ORIGINALS)
def test_the_original_is_kept_and_not_compared(text: str, original: str) -> None:
    address, _ = parse_path(text, utf8=True, null=True)
    assert address.original == original
    assert address == Address(address.local, address.domain)


def test_an_address_is_quoted_only_if_it_must_be() -> None:
    assert str(Address("user", "x.org")) == "user@x.org"
    assert str(Address("a b", "x.org")) == '"a b"@x.org'
    assert str(Address('a"\\', "x.org")) == r'"a\"\\"@x.org'
    assert str(Address("", "x.org")) == '""@x.org'
    assert Address("a b", "x.org").path == '<"a b"@x.org>'


def test_people_see_u_labels() -> None:
    assert Address.parse("ü@xn--bcher-kva.xn--fa-hia.example").unicode == "ü@bücher.faß.example"
    assert Address.parse("u@[IPv6:::1]").unicode == "u@[IPv6:::1]"


PARSED = [
    ("user@example.org", "user@example.org"),
    ("<user@example.org>", "user@example.org"),
    ("<>", ""),
    ("@a:user@example.org", "user@example.org"),
]


@pytest.mark.parametrize(("text", "written"), PARSED)
def test_an_address_is_read_with_or_without_brackets(text: str, written: str) -> None:
    assert str(Address.parse(text)) == written


@pytest.mark.parametrize("text", ["", " ", "user", "<user@example.org> x", "user@example.org>", "<user@example.org"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        Address.parse(text)


LOCALS = st.one_of(
    st.from_regex(r"[a-zA-Z0-9+=_-]{1,12}(\.[a-z]{1,5}){0,2}", fullmatch=True),
    st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30),
    st.text(alphabet=st.characters(exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), max_size=15),
)
DOMAINS = st.one_of(
    st.from_regex(r"([a-z0-9]([a-z0-9_-]{0,8}[a-z0-9])?\.){0,4}[a-z]{2,6}", fullmatch=True).filter(
        lambda name: "xn--" not in name
    ),
    st.sampled_from(["xn--bcher-kva.example", "xn--fa-hia.de", "xn--p1ai"]),
    st.ip_addresses(v=4).map("[{}]".format),
    st.ip_addresses(v=6).map("[IPv6:{}]".format),
)


@given(local=LOCALS, domain=DOMAINS)
def test_a_written_address_reads_back_as_itself(local: str, domain: str) -> None:
    address = Address(unicodedata.normalize("NFC", local), domain)
    assume(len(str(address).removesuffix(f"@{domain}").encode()) <= 64)
    read = Address.parse(str(address))
    assert read == address
    assert Address.parse(read.path) == read
    assert Address.parse(read.unicode) == read


NEARLY = st.text(alphabet='ab.@<>"\\ ,:[]-_üéß\u0301\u0338\u3002\0\r\n19IPv6xn', max_size=40)


@given(text=st.one_of(st.text(), NEARLY, NEARLY.map("<{}>".format)), utf8=st.booleans())
def test_any_text_is_an_address_or_an_address_error(text: str, utf8: bool) -> None:
    try:
        address = Address.parse(text, utf8=utf8)
    except AddressError:
        return
    assert Address.parse(address.path) == address
    assert not set(str(address)) & set("\0\r\n\x7f")
    assert address.domain.isascii()
    assert len(address.path.encode()) <= 256
    if not utf8:
        assert text.isascii()


@pytest.mark.parametrize(
    "piece", ["a", "a.", ".", "-", '"', '""', "\\", '"\\', '\\"', "@", "@a,", "a@", "<", ">", "ü", "xn--"]
)
@pytest.mark.parametrize("start", ["", '"', "a@", "a@b.", '"a"@', "@a:"])
def test_a_hostile_path_is_not_expensive(start: str, piece: str) -> None:
    """64 KiB of what makes patterns backtrack: a pattern that is not linear would not end before the test's timeout."""
    body = start + piece * (2**16 // len(piece))
    for text in (f"<{body}", f"<{body}>", body + "\0", f"{body}!"):
        with pytest.raises(AddressError):
            Address.parse(text)


@pytest.mark.parametrize("local", ["a.", ".a", "a..b", "a.b."])
def test_a_dot_stands_between_two_atoms(local: str) -> None:
    with pytest.raises(AddressError):
        parse_path(f"<{local}@example.org>", utf8=False, null=False)
