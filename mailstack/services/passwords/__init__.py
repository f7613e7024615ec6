"""Passwords as servers keep them: hashes of all common schemes, keys for SCRAM, clear text; and who judges by them.

    stored = passwords.read("{SSHA512}…")            # or "$2y$…", "$argon2id$…", "SCRAM-SHA-256$…": see stored.py
    await passwords.matches([stored], "secret")      # in threads of their own: see threads.py
    passwords.make("ARGON2ID", "secret")             # text that `read` reads: see make.py

    account = passwords.account("ann@example.org", ["{SSHA512}…", "{SCRAM-SHA-256}…"])
    reply = await judge.judge(credentials, account)  # for a provider of AUTH: see judge.py

No text of an error has a part of a password, of a hash or of a key in it.

Needs `pip install "mailstack[auth]"` for all but clear text, SHA and its kin, PBKDF2 and SCRAM.
"""

from __future__ import annotations

from .account import Account, account, offered
from .judge import Judge
from .make import make
from .saslprep import prepare
from .scram import make_keys, read_keys, write_keys
from .stored import WEAK, Stored, Unreadable, is_locked, read
from .threads import Busy, matches

__all__ = [
    "WEAK",
    "Account",
    "Busy",
    "Judge",
    "Stored",
    "Unreadable",
    "account",
    "is_locked",
    "make",
    "make_keys",
    "matches",
    "offered",
    "prepare",
    "read",
    "read_keys",
    "write_keys",
]
