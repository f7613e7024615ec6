"""The machine's own crypt(3), for yescrypt: what Linux distributions hash passwords with, and no Python library knows.

compare = load()                     # ImportError where there is no libxcrypt
compare(b"secret", b"$y$j9T$…")      # in a thread; the interpreter's lock is given up meanwhile
"""

from __future__ import annotations

import ctypes
import hmac
from collections.abc import Callable
from functools import cache

__all__ = ["load"]


@cache
def load() -> Callable[[bytes, bytes], bool]:
    """What compares a password, which has no NUL, with a hash. ImportError."""
    try:
        crypt, free = _library().crypt_ra, ctypes.CDLL(None).free
    except (OSError, AttributeError) as error:
        raise ImportError(f"libxcrypt: {error}") from error
    crypt.restype = ctypes.c_char_p
    free.argtypes = [ctypes.c_void_p]
    free.restype = None

    def compare(password: bytes, stored: bytes) -> bool:
        data, size = ctypes.c_void_p(), ctypes.c_int()  # crypt_ra takes what memory it needs
        try:
            made = crypt(password, stored, ctypes.byref(data), ctypes.byref(size))
            return made is not None and hmac.compare_digest(made, stored)
        finally:
            free(data)

    return compare


def _library() -> ctypes.CDLL:
    """Debian's name for it, or else that of others."""
    try:
        return ctypes.CDLL("libcrypt.so.1")
    except OSError:
        return ctypes.CDLL("libcrypt.so.2")
