"""How long ago machines were heard, by the time in which they could be."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SETTLING = 86_400.0  # seconds that must be listened before a machine counts as gone: all that live are heard
LONGEST = 60.0  # seconds between two looks; a loop that is away for longer, at a full disk, hears nothing


class Hearing:
    """Counts seconds with a connection: nobody is forgotten for what an outage kept from us.

    The host's clock has no part in it, and may be set as it likes.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Starts without having heard anything; `clock` is monotonic, in seconds."""
        self._clock = clock
        self._looked = clock()
        self._listened = 0.0
        self._heard: dict[str, float] = {}  # when, by the seconds listened

    def look(self, *, connected: bool) -> None:
        """Notes that the connection stands, or does not, since the last look."""
        now = self._clock()
        if connected:
            self._listened += min(now - self._looked, LONGEST)
        self._looked = now

    def note(self, machines: Iterable[str]) -> None:
        """Notes machines that are heard."""
        self._heard.update(dict.fromkeys(machines, self._listened))

    def forget(self, machines: Iterable[str]) -> None:
        """Forgets that machines were heard."""
        for machine in machines:
            self._heard.pop(machine, None)

    def since(self, machine: str) -> float | None:
        """Seconds listened since the machine was last heard; None: it was not yet."""
        heard = self._heard.get(machine)
        return None if heard is None else self._listened - heard

    def settled(self) -> bool:
        """Whether who was not heard yet does not live."""
        return self._listened >= SETTLING
