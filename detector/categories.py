"""The texts of categories, as numbers.

A category's text becomes a number when it is read. Nothing has to be learned or kept for that; what the
number means is known to whoever knows the text.
"""

from __future__ import annotations

from hashlib import blake2b

MAX_CATEGORY = 256  # characters of a category's text, which becomes part of rows and alerts
GOOD_CATEGORY = f"text of 1 to {MAX_CATEGORY} printable characters"


def number_of(text: str) -> float:
    """The number that stands for a category in readings: 52 bits of a hash, which a float holds exactly.

    Of a thousand categories two have the same number once in ten billion times.
    """
    return float(int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 12)


def is_category(text: str) -> bool:
    """Whether a text, without space around it, may be a category."""
    return 0 < len(text) <= MAX_CATEGORY and text.isprintable()
