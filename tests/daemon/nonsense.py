"""Messages of which nobody knows what they are: good readings, bad ones, and what chance makes of both."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

TOPICS = [
    *(f"plant/machine-{i}/readings" for i in range(8)),
    "plant/../readings",
    "plant//readings",
    f"plant/{'m' * 300}/readings",
]
VALUES = [
    0.0, -1.5, 1e300, 5e-324, 7, 10**400, True, None, "text", "", [], [1], {}, {"a": {"b": 1}}, float("nan"),
    float("inf"), "\ud800",
]  # fmt: skip
NAMES = ["flow", "pressure", "temperature", "oil", "", "a\nb", "x" * 300, "ts"]
BYTES = b'{}[]",:\\0e-.\xff\x00nNtu \xef\xbb\xbf'


def nonsense(seed: int, count: int, *, start: int) -> Iterator[tuple[str, bytes]]:
    """Topics and payloads, always the same for a seed; about half of them are good readings.

    Args:
        seed: Of the chance.
        count: How many.
        start: Time of the first readings, in milliseconds since the epoch.
    """
    chance = random.Random(seed)
    for number in range(count):
        yield chance.choice(TOPICS), payload(chance, start + 1000 * (number // 8))


def payload(chance: random.Random, at: int) -> bytes:
    """A reading of that time, or something like it."""
    values = {name: chance.gauss(10, 3) for name in ("flow", "pressure", "temperature")}
    made = json.dumps({"ts": at + chance.choice([0, 0, 0, 0, 1, -5000, 10**9, -(10**12)]), **values}).encode()
    kind = chance.randrange(8)
    if kind < 4:
        return made
    if kind < 6:
        strange = {chance.choice(NAMES): chance.choice(VALUES) for _ in range(chance.randrange(5))}
        return json.dumps({**(values if chance.random() < 0.5 else {}), **strange}).encode()
    if kind == 6:
        return bytes(chance.choices(BYTES, k=chance.randrange(60)))
    return mutated(chance, made)


def mutated(chance: random.Random, content: bytes) -> bytes:
    """The same, but for some bytes that are gone, doubled or other ones."""
    found = bytearray(content)
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(found) + 1)
        length = chance.randrange(1, 12)
        what = chance.randrange(3)
        if what == 0:
            del found[place : place + length]
        elif what == 1:
            found[place:place] = found[place : place + length]
        else:
            found[place : place + 1] = bytes([chance.choice(BYTES)])
    return bytes(found)
