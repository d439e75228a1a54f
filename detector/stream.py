"""How the stream of readings is treated, whatever the machine."""

from __future__ import annotations

from dataclasses import dataclass

from detector.reading import Dropped

CLOCK_SET = 1_735_689_600_000  # 2025-01-01: a host whose clock is before has not been told the time yet


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPolicy:
    """How the stream of readings is treated; times in milliseconds.

    Attributes:
        lateness: By how much a reading may come after a later one of the same machine.
        max_ahead: By how much a machine's clock may be ahead of the time of arrival.
        max_behind: By how much it may be behind; None: by any time.
        clock_wait: For how long readings must come too late, as time goes, until the machine's clock counts
            as set back.
        silent_after: Without a reading for so long a machine is silent; None: never.
        max_machines: Machines that are followed; readings of further ones are dropped.
    """

    lateness: int = 0
    max_ahead: int = 3_600_000
    max_behind: int | None = None
    clock_wait: int = 60_000
    silent_after: int | None = None
    max_machines: int = 10_000

    def misplaced(self, at: int, received_at: int) -> Dropped | None:
        """Whether a reading comes from the future or the past; unknown while the host's clock is not set."""
        if received_at < CLOCK_SET:
            return None
        if at > received_at + self.max_ahead:
            return Dropped.FUTURE
        if self.max_behind is not None and at < received_at - self.max_behind:
            return Dropped.PAST
        return None
