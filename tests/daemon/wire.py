"""A connection that keeps what it is given; the test answers in the broker's place."""

from __future__ import annotations

from daemon.connection import Connection
from daemon.intake import Connected


class Wire(Connection):
    """Stands from the start; `published` are topics and payloads, numbered from 1."""

    def __init__(self) -> None:
        self.generation = 1
        self.published: list[tuple[str, bytes]] = []

    def publish(self, topic: str, payload: bytes, **_: object) -> int:
        self.published.append((topic, payload))
        return len(self.published)

    def turned(self) -> bool:
        return True

    def revive(self) -> bool:
        return False


def connected(generation: int = 1, *, maximum_packet_size: int = 1000, careful: bool = False) -> Connected:
    """The broker's word on a connection."""
    return Connected(
        generation,
        session_present=True,
        receive_maximum=20,
        maximum_packet_size=maximum_packet_size,
        careful=careful,
    )
