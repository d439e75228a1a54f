"""What readings that come too late tell of a machine's clock: it was set back, or it stands still."""

from __future__ import annotations

from enum import StrEnum

import msgspec

SLACK = 5_000  # milliseconds by which readings may bunch on their way
HASTE = 1.1  # times as fast as they arrive: what is faster is a backlog, or comes a second time
FEW = 10  # readings in a row: one message that comes again with each connection is no clock


class ClockFault(StrEnum):
    """What is wrong with a machine's clock; also the log field and the metric label."""

    SET_BACK = "set_back"  # its readings are followed from the time that they have now
    STANDS_STILL = "stands_still"  # its readings all have one time, and count as duplicates


class Overtaken(msgspec.Struct, frozen=True, gc=False):
    """Readings of a machine in a row that all came too late.

    Attributes:
        at: Time of the first, in milliseconds since the epoch, by the machine's clock.
        received_at: When it arrived, by ours.
        count: How many they are.
        told: Whether it was told already that they stand still, or they do not.
    """

    at: int
    received_at: int
    count: int = 1
    told: bool = False

    def then(self, at: int, received_at: int, *, wait: int) -> tuple[Overtaken, ClockFault | None]:
        """Takes one more; returns all of them, and what they prove by now.

        A clock that was set back goes on from there as fast as ours does. What came a second time,
        or was held up on its way, comes faster, and proves nothing.

        Args:
            at: Its time.
            received_at: When it arrived.
            wait: Milliseconds for which they must go on.
        """
        own, arrival = at - self.at, received_at - self.received_at
        if own < 0 or own > HASTE * arrival + SLACK:
            return Overtaken(at, received_at), None
        count = self.count + 1
        enough = count >= FEW
        if enough and own >= wait:
            return Overtaken(self.at, self.received_at, count, told=True), ClockFault.SET_BACK
        still = enough and own == 0 and arrival >= wait and not self.told
        told = self.told or still or own > 0
        return (
            Overtaken(self.at, self.received_at, count, told),
            ClockFault.STANDS_STILL if still else None,
        )
