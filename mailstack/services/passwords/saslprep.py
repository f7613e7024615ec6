"""SASLprep (RFC 4013): what was typed in two ways becomes one.

    prepare("Ⅸ")        # "IX"

Compatible characters are folded together, odd blanks become blanks, what nobody sees is dropped; controls and the like
are refused. Letter case stays.
"""

from __future__ import annotations

import stringprep
import unicodedata
from typing import Final

__all__ = ["prepare"]

_PROHIBITED: Final = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def prepare(text: str) -> str:
    """The text, prepared. ValueError for what is prohibited."""
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    prepared = unicodedata.normalize("NFKC", mapped)
    if any(prohibits(c) for prohibits in _PROHIBITED for c in prepared):
        raise ValueError("a character that is prohibited")
    _check_directions(prepared)
    return prepared


def _check_directions(text: str) -> None:
    """RFC 3454 §6: from right to left, or from left to right."""
    if any(map(stringprep.in_table_d1, text)):
        ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
        if not ends or any(map(stringprep.in_table_d2, text)):
            raise ValueError("two directions")
