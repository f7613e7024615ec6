"""A lookup in a constant database: the file of D. J. Bernstein's cdb, which is made once and then only read.

    lookup.CDB("/etc/mail/users.cdb")

Debian's package tinycdb makes one from lines of "key value"; it is written beside the old one and renamed over it:

    cdb -c -m /etc/mail/users.cdb /etc/mail/users.txt

A key may have several values. Keys that end in a NUL, as some programs write them, are found too. Letter case counts.
Nothing is held in memory, and nothing is mapped: a file that somebody cuts short while it is read is an error, and not
the end of the process. Every position in it is checked before it is believed.

Format: https://cr.yp.to/cdb/cdb.txt. 256 pairs of position and length of a hash table; the records; the tables, of
pairs of hash and position of a record, 0 for none. All numbers have 32 bits, least octet first.

Fails: ConfigError at the start, for a file that is none; Unavailable later. A file that is cut short is never "not
found".
"""

from __future__ import annotations

import os
import struct
from contextlib import AbstractAsyncContextManager

from .answer import joined, written
from .on_disk import OnDisk
from .source import Unavailable

__all__ = ["CDB", "from_text"]

_HEAD = 256 * 8
_LONGEST = 1 << 20  # octets of a value
_MOST = 1000  # values of a key
_pair = struct.Struct("<II")


class CDB:
    """path -- the file. timeout -- for one question, 5 s."""

    def __init__(self, path: str | os.PathLike[str], *, timeout: float | str = "5s") -> None:
        self._file = OnDisk(path, timeout, open=_Database, name="CDB")

    def opened(self) -> AbstractAsyncContextManager[None]:
        return self._file.opened()

    async def find(self, key: str) -> str | None:
        octets = written(key)
        return None if octets is None else joined(await self._file.find(octets))


def from_text(text: str) -> CDB:
    """From "cdb:/etc/mail/users.cdb"."""
    return CDB(text.removeprefix("cdb:"))


class _Database:
    """One that is open, in the thread."""

    __slots__ = ("_file", "_size")

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._size = os.fstat(self._file).st_size
            for number in range(256):
                position, length = self._pair(8 * number)
                self._within(position, 8 * length)
        except BaseException:
            self.close()
            raise

    def find(self, key: bytes) -> list[bytes]:
        return self._values(key) or [value.removesuffix(b"\0") for value in self._values(key + b"\0")]

    def close(self) -> None:
        os.close(self._file)

    def _values(self, key: bytes) -> list[bytes]:
        code = _hash(key)
        table, length = self._pair(8 * (code & 255))
        found: list[bytes] = []
        for step in range(length):
            slot = table + 8 * (((code >> 8) + step) % length)
            its_code, record = self._pair(slot)
            if not record:
                return found
            if its_code == code and (value := self._value(record, key)) is not None:
                found.append(value)
                if len(found) > _MOST:
                    raise Unavailable(f"more than {_MOST} values")
        return found

    def _value(self, record: int, key: bytes) -> bytes | None:
        """What this record holds, if it is of this key."""
        key_length, length = self._pair(record)
        self._within(record, 8 + key_length + length)
        if key_length != len(key) or self._read(record + 8, key_length) != key:
            return None
        if length > _LONGEST:
            raise Unavailable(f"a value of {length} octets")
        return self._read(record + 8 + key_length, length)

    def _pair(self, position: int) -> tuple[int, int]:
        first, second = _pair.unpack(self._read(position, 8))
        return first, second

    def _within(self, position: int, length: int) -> None:
        """Behind the head and before the end."""
        if length and not _HEAD <= position <= self._size - length:
            raise Unavailable("the file is damaged, or no cdb")

    def _read(self, position: int, length: int) -> bytes:
        octets = os.pread(self._file, length, position)
        if len(octets) < length:
            raise Unavailable("the file is cut short")
        return octets


def _hash(key: bytes) -> int:
    code = 5381
    for octet in key:
        code = ((code << 5) + code ^ octet) & 0xFFFFFFFF
    return code
