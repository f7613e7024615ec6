"""What is stored of passwords, who matches it, and what a provider makes of that."""

from __future__ import annotations

import threading
from base64 import b64encode

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.option import ConfigError
from mailstack.services import passwords
from mailstack.services.passwords import Account, Judge, Stored, Unreadable, libcrypt, threads
from mailstack.services.passwords.make import MAKES
from mailstack.services.passwords.stored import of_clear, of_keys
from mailstack.session.credentials import Challenge, Credentials, Password, ScramKeys, Secret, Token

# Of the password "secret": made by Dovecot, by OpenSSL, by PostgreSQL's rules.
STRONG = (
    "{PLAIN}secret",
    "{cleartext}secret",
    "{CLEAR.b64}c2VjcmV0",
    "{PLAIN.HEX}736563726574",
    "{SSHA}oA1GPFAWmrNXy+xNRzSb8cBC1xU9kcH/",
    "{SSHA.HEX}f57431150dc32c325d5964d94dfa966b85a0b1595853af2c",
    "{SSHA256}5UVMut7nDfhwaQeGl1mRBFZf5IPG9aiemBgzxrOCfHC4W80Y",
    "{SSHA512}eCb0orz6uAG2njCYVif+s9frIeDmEPOFDTm3GkVuqXghMkzVt6rKWKgUilxBH1eDHiEjbpGuc7j6BRY/b0POvIRgyP4=",
    "{MD5}$1$C7s4z5Ws$4MLEumMljEqCQtkObv5yJ/",
    "{MD5-CRYPT}$1$h3X1Vw3x$uv2NVx783qGVhbSxRev0J1",
    "$1$h3X1Vw3x$uv2NVx783qGVhbSxRev0J1",
    "{SHA256-CRYPT}$5$RAyGGKOISBF6xKwx$LsHCYWL0zog0wjo34xA3ON2kl58inVdH6tC3Qalzh16",
    "{CRYPT}$6$kK56yfWfXO.L7AL3$qq2MoZjgojidvPGM0eY5WXbxF2qrqG.75wXA1MaJdNScmig3ZPCDpLT5N5YdPipk1NTO0xiWUUA9tTJswboJ40",
    "{BLF-CRYPT}$2y$05$gt5B9sVrBhw2quHDtGTuZOyBXBG1FTkWEiIjj4bwz/.U.NvsxySza",
    "$2y$05$ItFRSPOB3M6o/6e7abRoYueuFJQ0h6AeGilHg4BH8CxPfl31yrbMK",
    "{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$gNXDl8pOaz+66Kd5o2LVng$pCFZDY2y0fjdDrGD02iNS9T0ZjmdnFEfaCZU/kBoUHg",
    "$argon2id$v=19$m=65536,t=3,p=1$1LYG4KOM5DnZTAIuHFEX8Q$gkuFKe8b5+nFgOZtoA4nbuFF+wADQUqOLD2ffMAUisM",
    "{CRYPT}$y$j9T$Mx6bDkjixSiqHRFJd5C0S/$fshwJppee7HghynGCE1V./e7K3TcwJYEcxS5eTyE6AB",
    "$y$j75$HPEh9Md2j/Kj8V.MRZTbw1$ApCIvDVPxxPuq8JUQH.Pa2rVkBT.xT2.mnZeKPmiJh6",
    "{PBKDF2}$1$TdQ/wLWWgmdAKqkB$5000$868b9737c7be9c358b811ac08c1570aeb5c0bbcb",
    "{SCRAM-SHA-1}4096,sXol5fSbHmEo59Lw/eZSJA==,S2uc22VDqx2+xV6lU1oJrvENHXg=,0V8fkCdvOpP5vbwE0r2wFDHn/UM=",
    (
        "{SCRAM-SHA-256}4096,9HvgOlNutVtDAm7N2syQfw==,vgjOkYavgJ2aKdL6IJ1e8t/+OjmuIG/Vak3IyP/5S9c=,"
        "VjuU34/2DEKgKKSuvICbiS0t9mfX7gXpgXsVyv4454Y="
    ),
    (
        "SCRAM-SHA-256$4096:9HvgOlNutVtDAm7N2syQfw==$vgjOkYavgJ2aKdL6IJ1e8t/+OjmuIG/Vak3IyP/5S9c=:"
        "VjuU34/2DEKgKKSuvICbiS0t9mfX7gXpgXsVyv4454Y="
    ),
)
WEAK = (
    "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    "{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=",
    "{SHA256}2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
    "{SMD5}nTCw942Q5mmiUOBPVI9RzJ9NuOA=",
    "{PLAIN-MD5}5ebe2294ecd0e0f08eab7690d2a6ee69",
    "{LDAP-MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==",
    "{DES-CRYPT}DEGwNUf5grajc",
    "DEGwNUf5grajc",
)
BCRYPT = next(text for text in STRONG if text.startswith("$2y$"))
ARGON2ID = next(text for text in STRONG if text.startswith("$argon2id$"))
SCRAM = next(text for text in STRONG if text.startswith("{SCRAM-SHA-256}"))


@pytest.mark.parametrize("text", STRONG + WEAK, ids=lambda text: text[:24])
def test_the_right_password_matches_and_no_other(text: str) -> None:
    stored = passwords.read(text, weak=text in WEAK)
    assert stored.matches("secret")
    for wrong in ("Secret", "secret ", "", "secret\0", "x" * 2000, "\ud800", "sécret"):
        assert not stored.matches(wrong)


@pytest.mark.parametrize("text", WEAK, ids=lambda text: text[:24])
def test_weak_ones_are_read_only_where_that_is_allowed(text: str) -> None:
    with pytest.raises(Unreadable, match="no protection") as caught:
        passwords.read(text)
    assert "weak=True" in caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "secret",
        "{PLAIN}",
        "{NOPE}secret",
        "{PLAIN.ROT13}secret",
        "{PLAIN.HEX}ff",
        "{SSHA}secret!",
        "{SSHA}c2VjcmV0",
        "{SSHA512.HEX}zz",
        "{BLF-CRYPT}secret",
        "$2b$04$short",
        "$2b$99$" + "a" * 53,
        "{ARGON2ID}secret",
        "{ARGON2I}" + ARGON2ID,
        "$argon2id$v=19$m=4294967295,t=1,p=1$1LYG4KOM5DnZTAIuHFEX8Q$gkuFKe8b5+nFgOZtoA4nbuFF+wADQUqOLD2ffMAUisM",
        "$1$secret",
        "$6$rounds=999999999$secret$" + "a" * 86,
        "$2b$31$" + "a" * 53,
        "{PBKDF2}$1$secret$5000$00",
        "{SCRAM-SHA-256}secret",
        "{SCRAM-SHA-256}4096,c2VjcmV0,c2VjcmV0,c2VjcmV0",
        "{SCRAM-SHA-256}999999999" + SCRAM[19:],
        "$y$jzT$" + "a" * 22 + "$" + "a" * 43,
        "$y$j9T$secret",
        "{SCRAM-SHA-256}4096,sécret,é,é",
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_read_and_not_shown(text: str) -> None:
    with pytest.raises(Unreadable) as caught:
        passwords.read(text, weak=True)
    assert "secret" not in str(caught.value)


@given(
    st.text() | st.sampled_from(STRONG + WEAK).flatmap(lambda text: st.text(max_size=5).map(lambda x: text[:-3] + x))
)
def test_any_text_is_read_or_unreadable(text: str) -> None:
    try:
        stored = passwords.read(text, weak=True)
    except Unreadable:
        return
    if stored.work < 0.001:
        assert stored.matches("wrong!") in (True, False)


def test_a_password_shows_itself_nowhere() -> None:
    for text in STRONG:
        assert repr(passwords.read(text)) == str(passwords.read(text))
        assert "secret" not in repr(passwords.read(text)).replace("secret=", "")


def test_yescrypt_needs_the_machines_own_crypt(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        raise ImportError

    monkeypatch.setattr(libcrypt, "load", load)
    with pytest.raises(Unreadable, match="libxcrypt"):
        passwords.read(next(text for text in STRONG if text.startswith("$y$")))


def test_bcrypt_sees_72_octets_so_longer_ones_are_wrong() -> None:
    import bcrypt

    stored = passwords.read(bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode())
    assert stored.matches("x" * 72)
    assert not stored.matches("x" * 73)
    with pytest.raises(Unreadable, match="72"):
        passwords.make("BLF-CRYPT", "x" * 73)


def test_bcrypt_goes_round_so_a_password_that_repeats_itself_after_a_nul_is_wrong() -> None:
    import bcrypt

    hashed = bcrypt.hashpw(b"a", bcrypt.gensalt(4))
    assert bcrypt.checkpw(b"a\0a", hashed)  # what would happen
    assert not passwords.read(hashed.decode()).matches("a\0a")


def test_what_was_typed_in_two_ways_is_one_password() -> None:
    composed, decomposed = "p\u00e4ss", "pa\u0308ss"
    for scheme in ("SSHA512", "SCRAM-SHA-256", "PLAIN.B64"):
        stored = passwords.read(passwords.make(scheme, decomposed))
        assert stored.matches(composed)
        assert stored.matches(decomposed)
    as_it_came = passwords.read("{SSHA512.B64}" + b64encode(_ssha512(decomposed.encode())).decode())
    assert as_it_came.matches(decomposed)


def _ssha512(password: bytes) -> bytes:
    import hashlib

    return hashlib.sha512(password + b"salt").digest() + b"salt"


@pytest.mark.parametrize("scheme", MAKES)
def test_what_is_made_can_be_read(scheme: str) -> None:
    made = passwords.make(scheme, "secrét:")
    assert made.startswith(f"{{{scheme}}}")
    assert passwords.read(made).matches("secrét:")
    assert made != passwords.make(scheme, "secrét:") or scheme == "PLAIN.B64"
    for nonsense in ("", "a\0b", "x" * 1025):
        with pytest.raises(Unreadable):
            passwords.make(scheme, nonsense)


def test_the_keys_of_rfc_7677_and_rfc_5802() -> None:
    """The examples of §3 and §5: the password is "pencil"."""
    import hashlib
    import hmac
    from base64 import b64decode

    bare = "n=user,r=rOprNGfwEbeRWgbNEkqO"
    first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    final = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    signed = f"{bare},{first},{final}".encode()
    keys = passwords.make_keys("SHA-256", "pencil", b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    assert b64encode(hmac.digest(keys.server_key, signed, "sha256")) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    proof = b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    signature = hmac.digest(keys.stored_key, signed, "sha256")
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    assert hashlib.sha256(client_key).digest() == keys.stored_key
    assert passwords.read(passwords.write_keys(keys)).secret == keys


@pytest.mark.parametrize("text", ["", "*", "!", "!!", "x", "!$6$abc", " * ", "*LK*"])
def test_who_is_locked(text: str) -> None:
    assert passwords.is_locked(text)


def test_a_hash_is_not_locked() -> None:
    assert not passwords.is_locked(BCRYPT)


def test_a_scheme_that_is_not_made_is_told() -> None:
    with pytest.raises(ConfigError, match="not known"):
        passwords.make("DES-CRYPT", "secret")


# The judge.


class Counted:
    """Something stored that counts what is compared with it."""

    def __init__(self, password: str, work: float = 0.01) -> None:
        self.asked: list[bytes] = []
        self.password = password.encode()
        self.stored = Stored("COUNTED", work, self._check)

    def _check(self, password: bytes) -> bool:
        self.asked.append(password)
        return password == self.password


class Proof(Challenge):
    """A client that knows a clear password, and keys made of it."""

    def __init__(self, user: str, knows: str, hash: str = "SHA-256") -> None:
        super().__init__(user)
        self.knows, self.hash = knows, hash
        self.iterations = 0
        self.tried: list[Secret] = []

    def takes(self, secret: Secret) -> bool:
        return isinstance(secret, str) or secret.hash == self.hash

    async def matches(self, secret: Secret) -> bool:
        self.tried.append(secret)
        if isinstance(secret, ScramKeys):
            return of_keys(secret).matches(self.knows)
        return secret == self.knows

    async def decoy(self) -> None:
        self.iterations = self._iterations


KEYS = passwords.make_keys("SHA-256", "secret", b"salt", 10)


async def code(judge: Judge, credentials: Credentials, account: Account | None) -> int | None:
    reply = await judge.judge(credentials, account)
    await credentials.decoy() if reply is None else None
    return None if reply is None else reply.code


async def test_a_wrong_password_costs_as_many_comparisons_as_an_unknown_user_or_one_who_is_locked() -> None:
    slow, fast = Counted("secret", 0.5), Counted("other", 0.1)
    ann, bob = Account("ann", (slow.stored, of_keys(KEYS))), Account("bob", (fast.stored,))
    eve = Account("eve", (fast.stored,), locked=True)
    judge = Judge([ann, bob])
    assert await code(judge, Password("ann", "wrong"), ann) == 535
    assert await code(judge, Password("nobody", "wrong"), None) is None
    assert await code(judge, Password("eve", "other"), eve) == 535
    assert (len(slow.asked), len(fast.asked)) == (3, 0)
    good = Password("ANN", "secret")
    assert await code(judge, good, ann) == 235
    assert good.identity == "ann"


async def test_before_any_password_was_seen_an_unknown_user_costs_something() -> None:
    credentials = Password("nobody", "wrong")
    assert await Judge().judge(credentials, None) is None
    await credentials.decoy()


async def test_several_passwords_of_a_user_are_all_right() -> None:
    account = Account("ann", (Counted("one").stored, Counted("two").stored, of_clear("three"), of_keys(KEYS)))
    judge = Judge([account])
    assert [await code(judge, Password("ann", each), account) for each in ("one", "two", "three")] == [235] * 3
    assert await code(judge, Password("ann", "secret"), account) == 535  # keys are for challenges
    only_keys = Account("ann", (of_keys(KEYS),))
    assert await code(judge, Password("ann", "secret"), only_keys) == 235


async def test_a_challenge_is_put_to_keys_first_and_then_to_clear_text() -> None:
    account = Account("ann", (of_clear("other"), of_keys(KEYS), Counted("third").stored))
    judge = Judge([account])
    right = Proof("ann", "secret")
    assert await code(judge, right, account) == 235
    assert right.tried == [KEYS]
    assert await code(judge, Proof("ann", "other"), account) == 235
    wrong = Proof("ann", "third")
    assert await code(judge, wrong, account) == 535
    assert wrong.tried == [KEYS, "other"]


async def test_a_user_without_what_a_challenge_needs_is_as_unknown_as_any() -> None:
    ann, bob = Account("ann", (of_keys(KEYS),)), Account("bob", (Counted("secret").stored,))
    judge = Judge([ann, bob])
    for challenge, account in ((Proof("bob", "secret"), bob), (Proof("eve", "secret"), None)):
        assert await code(judge, challenge, account) is None
        assert challenge.iterations == 10
    assert await code(judge, Proof("ann", "secret", "SHA-1"), ann) is None


async def test_who_is_locked_talks_like_others_and_is_never_right() -> None:
    account = Account("ann", (of_clear("secret"), of_keys(KEYS)), locked=True)
    challenge = Proof("ann", "secret")
    assert await code(Judge(), challenge, account) == 535
    assert len(challenge.tried) == 1
    assert await code(Judge(), Password("ann", "secret"), account) == 535


async def test_tokens_are_not_its_business() -> None:
    assert await code(Judge(), Token("ann", "token"), None) is None


def test_what_can_be_judged_of_a_user() -> None:
    assert Account("a", (Counted("x").stored,)).mechanisms == {"PLAIN", "LOGIN"}
    assert Account("a", (of_keys(KEYS),)).mechanisms == {"PLAIN", "LOGIN", "SCRAM-SHA-256"}
    assert Account("a", (of_clear("x"),)).mechanisms == {"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"}


async def test_a_thousand_guesses_at_once_are_few_threads_a_bounded_queue_and_454(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate, running, most = threading.Event(), 0, 0
    lock = threading.Lock()

    def check(password: bytes) -> bool:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait(30)
        with lock:
            running -= 1
        return False

    account = Account("ann", (Stored("SLOW", 1.0, check),))
    judge, replies = Judge(), []

    async def guess(user: Account | None) -> None:
        replies.append(await code(judge, Password("ann", "wrong"), user))

    async with anyio.create_task_group() as group:
        for number in range(1000):
            group.start_soon(guess, account if number % 2 else None)
        await anyio.wait_all_tasks_blocked()
        refused = replies.count(454)
        gate.set()
    limit = threads.line().limiter.total_tokens
    assert refused == 1000 - threads.WAITING - limit
    assert len(replies) == 1000
    assert most <= limit
    assert threads.line().inside == 0
    assert caplog.text.count("too many passwords to compare") == 1


async def test_a_full_queue_refuses_known_and_unknown_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "WAITING", -1000)
    account = Account("ann", (Counted("secret").stored,))
    assert [await code(Judge(), Password("ann", "secret"), each) for each in (account, None)] == [454, 454]
    with pytest.raises(passwords.Busy):
        await passwords.matches(account.stored, "secret")
