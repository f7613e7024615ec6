"""Octets for the fuzzers: conversations of fragments that are nearly right, and their damage.

The first two octets are not for the wire: `split` takes them for the flags of a target and the seed of the cutting.
"""

from random import Random

COMMANDS = (
    b"EHLO client.example.org\r\n",
    b"HELO client.example.org\r\n",
    b"LHLO client.example.org\r\n",
    b"EHLO no.example.org\r\n",
    b"MAIL FROM:<a@example.org>\r\n",
    b"MAIL FROM:<no@example.org>\r\n",
    b"MAIL FROM:<>\r\n",
    b"MAIL FROM:<a@example.org> SIZE=100 BODY=8BITMIME SMTPUTF8\r\n",
    b"MAIL FROM:<a@example.org> SIZE=99999999999\r\n",
    b"MAIL FROM:<a@example.org> BODY=BINARYMIME\r\n",
    b'MAIL FROM:<"a b\\"c"@[192.0.2.1]>\r\n',
    b"RCPT TO:<b@example.org>\r\n",
    b"RCPT TO:<no@example.org>\r\n",
    b"RCPT TO:<postmaster>\r\n",
    b"RCPT TO:<@c.example,@d.example:b@[IPv6:2001:db8::1]>\r\n",
    "RCPT TO:<ü@bücher.example>\r\n".encode(),
    b"DATA\r\n",
    b"RSET\r\n",
    b"QUIT\r\n",
    b"NOOP\r\n",
    b"AUTH PLAIN AGFhYWE=\r\n",
    b"AUTH " + b"A" * 3000 + b"\r\n",
    b"NOOP " + b"a" * 3000 + b"\r\n",
    b"STARTTLS now\r\n",
    b"GET / HTTP/1.1\r\n",
)
BODIES = (
    b"BDAT 0\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 2\r\na\r",
    b"BDAT 2 LAST\r\n\nb",
    b"BDAT 9 LAST\r\nA: b\r\n\r\nc",
    b"BDAT 5 LAST\r\nhello",
    b"BDAT 4 LAST\r\nA: b",
    b"BDAT 1 LAST\r\n\r",
    b"BDAT 15 LAST\r\nA: b\r\n\r\n\0\n\r.\r\n\r",
    b"BDAT 7 LAST\r\nA:\0b\r\n\n",
    b"BDAT 12\r\nRSET\r\nQUIT\r\n",
    b"BDAT 9\n",
    b"BDAT x\r\n",
    b"BDAT 5000 LAST\r\n",
    b"DATA\r\n.\r\n",
    b"DATA\r\nSubject: one\r\n\r\n..two\r\n.three\r\n.\r\n",
    b"DATA\r\nno header section\r\n.\r\n",
    b"DATA\r\nA: b\r\n\r\nhello\n.\nworld\r\n.\r\n",
    b"DATA\r\nA: b\r\n\r\nhello\r.\rworld\r\n.\r\n",
    b"DATA\r\n" + b"A: b\r\n" * 200 + b"\r\n" + b"line\r\n" * 500 + b".\r\n",
)
ENVELOPE = b"EHLO client.example.org\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n"
BINARY = ENVELOPE.replace(b"a@example.org>", b"a@example.org> BODY=BINARYMIME")
TRANSACTIONS = tuple(start + body for body in BODIES for start in (ENVELOPE, BINARY, BINARY.replace(b"EHLO", b"LHLO")))
PIECES = (
    b"\r",
    b"\n",
    b"\r\n",
    b".",
    b"\r\n.\r\n",
    b"\0",
    b"\xff",
    b"\x80",
    b" ",
    b"\t",
    b"<",
    b">",
    b'"',
    b"\\",
    b"@",
    b"=",
)

FRAGMENTS = COMMANDS + BODIES + TRANSACTIONS + PIECES


def compose(random: Random) -> bytes:
    """One input: mostly what a client might say, sometimes damaged."""
    weights = (3, 3, 4, 1)
    kinds = random.choices((COMMANDS, BODIES, TRANSACTIONS, PIECES), weights, k=random.randint(1, 12))
    octets = bytearray(b"".join(random.choice(kind) for kind in kinds))
    for _ in range(random.choice((0, 0, 0, 1, 3))):
        _damage(octets, random)
    return random.randbytes(2) + octets


def _damage(octets: bytearray, random: Random) -> None:
    at = random.randrange(len(octets) + 1)
    length = random.randrange(4)
    octets[at : at + length] = random.choice((b"", random.randbytes(length), random.choice(PIECES)))


def split(data: bytes) -> tuple[int, list[bytes]]:
    """An input as a target sees it: eight flags, and the octets for the wire in pieces."""
    flags, seed = (*data[:2], 0, 0)[:2]
    return flags, cut(data[2:], Random(seed))


def cut(octets: bytes, random: Random) -> list[bytes]:
    """Cut anywhere: into single octets, small pieces or large ones, a few hundred at most."""
    longest = max(random.choice((1, 3, 20, 200, 5000)), len(octets) // 100)
    pieces = []
    at = 0
    while at < len(octets):
        length = random.randint(1, longest)
        pieces.append(octets[at : at + length])
        at += length
    return pieces
