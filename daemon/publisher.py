"""Outgoing messages, in order and a bounded number at a time."""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from daemon import reasons
from daemon.failpoints import failpoint
from daemon.rivalry import SHORT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from daemon.connection import Connection
    from daemon.intake import Connected, Published
    from daemon.tally import Tally

PERMIT = "let mqtt.username publish there (Mosquitto: topic write, in acl_file)"
LOOK = 1.0  # seconds between looks at all that is refused: it may be thousands of topics
MOST_ANSWERS = 1_000  # that wait: who floods us with commands is not answered each
RETRY_REFUSED = 60.0  # seconds until what the broker refused is tried again: its permissions may have changed


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """A publication at QoS 1.

    Attributes:
        number: Its row in the outbox; None when it is not stored.
        answer: Whether it is the answer to a command, which is sent once.
        correlation: What tells who asked which command it answers (MQTT 5).
    """

    topic: str
    payload: bytes
    retain: bool
    number: int | None = None
    answer: bool = False
    correlation: bytes | None = None


def stored(number: int, topic: str, payload: bytes) -> Outgoing:
    """A publication of the outbox; one without a payload ends what the broker retains there."""
    return Outgoing(topic, payload, retain=not payload, number=number)


@dataclass(slots=True)
class _Held:
    """A topic that the broker refused: one message is tried again, the others wait for its answer."""

    refusal: str
    retry_at: float
    waiting: list[Outgoing] = field(default_factory=list)
    trial: Outgoing | None = None

    def waits(self, *, stored: bool) -> bool:
        """Whether a message waits that is stored, or is not."""
        return bool(self.waiting) and (self.waiting[0].number is not None) is stored


class Publisher:
    """Sends what it is offered while there is a connection.

    What is stored counts as sent only when the broker has taken it. A topic that the broker refuses is
    held back and tried again with one message, also across connections: some brokers hang up at every
    refusal. What is retained is worth sending only in its newest form, and is offered anew after every
    reconnect.
    """

    def __init__(self, connection: Connection, tally: Tally, clock: Callable[[], float]) -> None:
        """Waits for `restart`; `clock` is monotonic, in seconds."""
        self._connection = connection
        self._tally = tally
        self._clock = clock
        self._waiting: deque[Outgoing] = deque()
        self._in_flight: dict[int, Outgoing] = {}
        self._held: dict[str, _Held] = {}  # by topic
        self._generation: int | None = None
        self._most = self._largest = 0
        self._one_by_one_until = 0.0  # by the clock
        self._tried_at = {True: -RETRY_REFUSED, False: -RETRY_REFUSED}  # of what is stored, and of the rest
        self._due: dict[bool, deque[_Held]] = {True: deque(), False: deque()}  # as of the last look
        self._looked_at = {True: -LOOK, False: -LOOK}
        self._answers = 0  # of those that wait
        self._permitted_at = -RETRY_REFUSED  # when a topic was taken that had been refused

    def connected(self) -> bool:
        """Whether the connection that was last heard of still stands."""
        return self._generation is not None and self._generation == self._connection.generation

    def restart(self, notice: Connected, unsent: list[tuple[int, str, bytes]]) -> None:
        """Starts on a new connection with all that is stored and unsent."""
        self._generation = notice.generation
        self._most, self._largest = notice.receive_maximum, notice.maximum_packet_size
        # Of a broker that hangs up at a refusal, the refusal arrives only if nothing follows what it is of.
        self._one_by_one_until = self._clock() + SHORT if notice.careful else 0.0
        answers = [each for each in (*self._in_flight.values(), *self._waiting) if each.answer]
        self._answers = len(answers)
        self._in_flight.clear()
        for held in self._held.values():
            held.waiting, held.trial = [], None
        for due in self._due.values():
            due.clear()
        self._waiting = deque((*(stored(*row) for row in unsent), *answers))

    def offer(self, outgoing: Outgoing) -> None:
        """Puts a message at the end; without a connection it is dropped, since `restart` brings it again.

        An answer to a command waits for the next connection, as long as the process lives.
        """
        if outgoing.answer:
            if self._answers >= MOST_ANSWERS:
                self._tally.count("answer_dropped", "too_many", topic=outgoing.topic)
                return
            self._answers += 1
        if outgoing.answer or self.connected():
            self._waiting.append(outgoing)

    def withdraw(self, numbers: Iterable[int]) -> None:
        """Sends no more of what left the outbox otherwise, but for what is on its way."""
        gone = frozenset(numbers)
        self._waiting = deque(each for each in self._waiting if each.number not in gone)
        for held in self._held.values():
            held.waiting = [each for each in held.waiting if each.number not in gone]

    def end(self, outgoing: Outgoing) -> None:
        """Puts a message in place of all that waits: the outbox keeps it for the next start."""
        self._waiting.clear()
        if self._answers:
            self._tally.count("answer_dropped", "stopped", self._answers)
            self._answers = 0
        self.offer(outgoing)

    def publish_once(self, topic: str, payload: bytes) -> None:
        """Publishes at QoS 0, past the queue; without a connection it is gone."""
        if not self.connected():
            return
        if _packet_size(topic, payload) > self._largest:
            self._tally.count("publication_dropped", "too_large", topic=topic)
            return
        self._connection.publish(topic, payload, qos=0)

    def pump(self) -> list[tuple[int, str]]:
        """Sends as much as the broker lets us.

        Returns:
            Outbox numbers of what is larger than the broker takes, which no retry can change, and why.
        """
        too_large: list[tuple[int, str]] = []
        self._try_again()
        most = 1 if self._clock() < self._one_by_one_until else self._most
        while self._waiting and len(self._in_flight) < most and self.connected():
            outgoing = self._waiting[0]
            held = self._held.get(outgoing.topic)
            size = _packet_size(outgoing.topic, outgoing.payload, outgoing.correlation)
            if outgoing.answer and (size > self._largest or held is not None):
                reason = "too_large" if held is None else reasons.of_broker(held.refusal)
                self._tally.count("answer_dropped", reason, topic=outgoing.topic)
            elif size > self._largest:
                self._tally.report(
                    "publication_too_large", topic=outgoing.topic, size=size, limit=self._largest
                )
                if outgoing.number is not None:
                    detail = f"the broker takes packets of at most {self._largest} bytes, got {size}"
                    too_large.append((outgoing.number, detail))
            elif held is not None and held.trial is not outgoing:
                _hold(held, outgoing)
            else:
                topic, payload, correlation = outgoing.topic, outgoing.payload, outgoing.correlation
                mid = self._connection.publish(
                    topic, payload, retain=outgoing.retain, correlation=correlation
                )
                if mid is None:
                    break  # the connection is going; `restart` follows
                self._in_flight[mid] = outgoing
                if outgoing.number is not None:
                    failpoint("alert_published")
            self._answers -= self._waiting.popleft().answer
        return too_large

    def _try_again(self) -> None:
        """Puts a message of a topic that was refused long ago in front; of the stored ones and of the rest.

        Of a thousand topics that are refused, one at a time is tried: each may cost the connection.
        """
        now = self._clock()
        for stored in (False, True):
            if now < self._tried_at[stored] + RETRY_REFUSED:
                continue
            held = self._next_due(now, stored=stored)
            if held is not None:
                self._tried_at[stored] = now
                held.retry_at = now + RETRY_REFUSED
                held.trial = held.waiting.pop(0)
                self._waiting.appendleft(held.trial)

    def _next_due(self, now: float, *, stored: bool) -> _Held | None:
        """The topic that was refused longest ago, of those that may be tried."""
        due = self._due[stored]
        if not due and now >= self._looked_at[stored] + LOOK:
            self._looked_at[stored] = now
            found = (
                held
                for held in self._held.values()
                if held.waits(stored=stored)
                and (now >= held.retry_at or held.retry_at - RETRY_REFUSED < self._permitted_at)
            )
            due.extend(sorted(found, key=lambda held: held.retry_at))
        while due:
            held = due.popleft()
            if held.waits(stored=stored):
                return held
        return None

    def settle(self, notice: Published) -> int | None:
        """Takes the broker's answer; returns the outbox number that is now sent, if any."""
        if notice.generation != self._generation:
            return None
        outgoing = self._in_flight.pop(notice.mid, None)
        if outgoing is None:
            return None
        held = self._held.get(outgoing.topic)
        if notice.refusal is not None and outgoing.answer:
            self._tally.count("answer_dropped", reasons.of_broker(notice.refusal), topic=outgoing.topic)
            return None
        if notice.refusal is not None:
            if held is None or held.trial is outgoing:
                reason = reasons.of_broker(notice.refusal)
                self._tally.report("publication_refused", reason, topic=outgoing.topic, hint=PERMIT)
            if held is None:
                held = _Held(notice.refusal, self._clock() + RETRY_REFUSED)
                self._held[outgoing.topic] = held
            _hold(held, outgoing, older=True)
            return None
        self._tally.figures.publications += 1
        if held is not None and held.trial is outgoing:
            del self._held[outgoing.topic]
            self._permit(self._clock())
            self._waiting.extendleft(reversed(held.waiting))
        return outgoing.number

    def _permit(self, now: float) -> None:
        """Has all topics tried that were refused before: they may be permitted now as well."""
        if now >= self._permitted_at + LOOK:  # else those that were found then are still tried
            for stored, due in self._due.items():
                due.clear()
                self._looked_at[stored] = now - LOOK
        self._permitted_at = now
        self._tried_at = dict.fromkeys(self._tried_at, now - RETRY_REFUSED)

    def problem(self) -> str | None:
        """What the broker does not let us publish; None if it takes everything."""
        if not self._held:
            return None
        topic, held = next(iter(self._held.items()))
        more = f" and {len(self._held) - 1} more topics" if len(self._held) > 1 else ""
        return f"the broker refuses publications to {topic}{more}: {held.refusal}"

    def idle(self) -> bool:
        """Whether nothing waits and nothing is on its way."""
        return not self._waiting and not self._in_flight


def _hold(held: _Held, outgoing: Outgoing, *, older: bool = False) -> None:
    """Holds a message back in its place; of what is retained the newest alone, not an `older` one."""
    if outgoing.number is not None:
        insort(held.waiting, outgoing, key=lambda each: each.number or 0)
    elif not (older and held.waiting):
        held.waiting = [outgoing]


def _packet_size(topic: str, payload: bytes, correlation: bytes | None = None) -> int:
    """Bytes of a PUBLISH packet at QoS 1 with no property but this (MQTT 5, section 3.3)."""
    properties = 0 if correlation is None else 3 + len(correlation)
    rest = 2 + len(topic.encode()) + 2 + _length(properties) + properties + len(payload)
    return 1 + _length(rest) + rest


def _length(number: int) -> int:
    """Bytes of a number as MQTT writes it: seven bits in each."""
    return max(1, -(-number.bit_length() // 7))
