"""Outgoing messages, in order and a bounded number at a time."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec
import structlog

if TYPE_CHECKING:
    from daemon.connection import Connection
    from daemon.intake import Connected, Published


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """A publication at QoS 1; `number` is its row in the outbox, None when it is not stored."""

    topic: str
    payload: bytes
    retain: bool
    number: int | None = None


class Publisher:
    """Sends what it is offered while there is a connection.

    What is stored counts as sent only when the broker has taken it. What is retained is worth
    sending only in its newest form, and is offered anew after every reconnect.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: deque[Outgoing] = deque()
        self._in_flight: dict[int, Outgoing] = {}
        self._generation: int | None = None
        self._most = 0

    def connected(self) -> bool:
        """Whether the connection that was last heard of still stands."""
        return self._generation is not None and self._generation == self._connection.generation

    def restart(self, notice: Connected, unsent: list[tuple[int, str, bytes]]) -> None:
        """Starts on a new connection with all that is stored and unsent."""
        self._generation = notice.generation
        self._most = notice.receive_maximum
        self._in_flight.clear()
        self._waiting = deque(
            Outgoing(topic, payload, retain=False, number=number) for number, topic, payload in unsent
        )

    def offer(self, outgoing: Outgoing) -> None:
        """Puts a message at the end; without a connection it is dropped, since `restart` brings it again."""
        if self.connected():
            self._waiting.append(outgoing)

    def end(self, outgoing: Outgoing) -> None:
        """Puts a message in place of all that waits: the outbox keeps it for the next start."""
        self._waiting.clear()
        self.offer(outgoing)

    def publish_once(self, topic: str, payload: bytes) -> None:
        """Publishes at QoS 0, past the queue; without a connection it is gone."""
        if self.connected():
            self._connection.publish(topic, payload, qos=0)

    def pump(self) -> None:
        """Sends as much as the broker lets us."""
        while self._waiting and len(self._in_flight) < self._most and self.connected():
            outgoing = self._waiting[0]
            mid = self._connection.publish(outgoing.topic, outgoing.payload, retain=outgoing.retain)
            if mid is None:
                return  # the connection is going; `restart` follows
            self._waiting.popleft()
            self._in_flight[mid] = outgoing

    def settle(self, notice: Published) -> int | None:
        """Takes the broker's answer; returns the outbox number that is now sent, if any."""
        if notice.generation != self._generation:
            return None
        outgoing = self._in_flight.pop(notice.mid, None)
        if outgoing is None:
            return None
        if notice.refusal is not None:
            # Kept in the outbox: tried again on the next connection, when the broker may allow it.
            structlog.get_logger().error("publication_refused", topic=outgoing.topic, reason=notice.refusal)
            return None
        return outgoing.number

    def idle(self) -> bool:
        """Whether nothing waits and nothing is on its way."""
        return not self._waiting and not self._in_flight
