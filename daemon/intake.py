"""What the network thread hands over to the service thread, in order and bounded."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue

import msgspec

from daemon.losses import Loss


class Reply(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Where MQTT 5 has a request answered, and what tells the asker which one it was."""

    topic: str
    correlation: bytes | None = None


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message as it came from the broker.

    Attributes:
        topic: Its topic.
        payload: Its bytes.
        received_at: Milliseconds since the epoch, by this host's clock.
        qos: 0 or 1; only QoS 1 is acknowledged.
        mid: The broker's number of the message, valid within one connection.
        generation: The connection that brought it.
        retained: Whether the broker had kept it for who subscribes, so that it may be old.
        arrived: When it came by a clock that nobody sets; see `daemon.clock.steady`.
        again: Whether the broker says that it may have sent it before.
        reply: Where a command is to be answered, if it says so.
    """

    topic: str
    payload: bytes
    received_at: int
    qos: int
    mid: int
    generation: int
    retained: bool = False
    arrived: int | None = None
    again: bool = False
    reply: Reply | None = None


class Connected(msgspec.Struct, frozen=True, gc=False):
    """A connection stands and the broker has answered the subscription.

    Attributes:
        generation: The connection's number.
        session_present: Whether the broker had kept the session; if not, readings may be missing.
        receive_maximum: Publications that may be on their way at once.
        maximum_packet_size: Bytes of the largest packet that the broker takes.
        careful: Whether the connection before ended soon, so that what we publish may be the reason.
        session_expiry: Seconds for which the broker keeps the session, where it keeps it shorter than asked.
    """

    generation: int
    session_present: bool
    receive_maximum: int
    maximum_packet_size: int
    careful: bool = False
    session_expiry: int | None = None


class Disconnected(msgspec.Struct, frozen=True, gc=False):
    """The connection is gone, or was refused by the broker."""

    loss: Loss
    refused: bool


class Published(msgspec.Struct, frozen=True, gc=False):
    """The broker answered a publication: `refusal` is its reason, None when it took it."""

    generation: int
    mid: int
    refusal: str | None


class Subscribed(msgspec.Struct, frozen=True, gc=False):
    """The broker answered a subscription: to the readings, or to commands.

    `refusal` is its reason, None when it agreed.
    """

    topic: str
    refusal: str | None
    commands: bool = False


class Unsubscribed(msgspec.Struct, frozen=True, gc=False):
    """The broker has ended subscriptions of a former configuration."""

    topics: tuple[str, ...]


Notice = Connected | Disconnected | Published | Subscribed | Unsubscribed


CROWD = 2000  # two steps; some brokers send more than the receive maximum once acknowledgements flow


class Intake:
    """Messages and notices on their way from one thread to the other; `take` waits for either.

    At QoS 1 the connection stops reading while it is crowded, and the broker keeps the rest. At
    QoS 0 the oldest messages go and are counted, but the newest while nobody calls `take`. Each count
    below has one writer, so that nothing but the queue needs a lock.
    """

    def __init__(self, most: int = 50_000, most_bytes: int = 32 * 2**20) -> None:
        """Holds up to `most` messages at QoS 0, of `most_bytes`; as many again between two `take`s."""
        self._most = most
        self._most_bytes = most_bytes
        self._queue: SimpleQueue[Message | Notice | None] = SimpleQueue()
        self._put = self._put_lasting = self._put_bytes = self._refused = 0  # by the network thread
        # By the service thread. What is seen has left the queue; what is taken is not held any more.
        self._seen = self._seen_bytes = self._taken = self._taken_lasting = self._taken_bytes = 0
        self._let_go = self._reported = 0
        self._messages: deque[Message] = deque()
        self._notices: list[Notice] = []

    def put(self, item: Message | Notice) -> None:
        """Called by the network thread; never blocks and never raises."""
        if isinstance(item, Message):
            if item.qos == 0 and self._full():
                self._refused += 1
                return
            self._put += 1
            self._put_lasting += item.qos > 0
            self._put_bytes += len(item.payload)
        self._queue.put(item)

    def _full(self) -> bool:
        return self._put - self._seen >= self._most or self._put_bytes - self._seen_bytes >= self._most_bytes

    def crowded(self) -> bool:
        """Whether so many messages at QoS 1 wait that the broker should keep the rest."""
        return self._put_lasting - self._taken_lasting >= CROWD

    def wake(self) -> None:
        """Makes a waiting `take` return at once; safe in a signal handler, since the queue is reentrant."""
        self._queue.put(None)

    def take(self, most: int, wait: float) -> tuple[list[Message], list[Notice]]:
        """All notices and up to `most` messages; waits up to `wait` seconds for the first of them."""
        with suppress(Empty):
            if not self._notices and not (self._messages and most):
                self._sort(self._queue.get(timeout=wait))
            while True:
                self._sort(self._queue.get_nowait())
        messages = [self._messages.popleft() for _ in range(min(most, len(self._messages)))]
        notices, self._notices = self._notices, []
        self._taken += len(messages)
        self._taken_lasting += sum(message.qos > 0 for message in messages)
        self._taken_bytes += sum(len(message.payload) for message in messages)
        return messages, notices

    def _sort(self, item: Message | Notice | None) -> None:
        if isinstance(item, Message):
            self._messages.append(item)
            self._seen += 1
            self._seen_bytes += len(item.payload)
            while (
                self._seen - self._taken > self._most
                or self._seen_bytes - self._taken_bytes > self._most_bytes
            ):
                if not self._forget_oldest():
                    break
        elif item is not None:
            self._notices.append(item)

    def _forget_oldest(self) -> bool:
        """Lets the oldest message at QoS 0 go; returns whether there was one."""
        place = next((i for i, message in enumerate(self._messages) if message.qos == 0), None)
        if place is None:
            return False
        self._taken += 1
        self._taken_bytes += len(self._messages[place].payload)
        self._let_go += 1
        del self._messages[place]
        return True

    def overflowed(self) -> int:
        """Messages at QoS 0 that were lost since the last call."""
        lost = self._refused + self._let_go
        count, self._reported = lost - self._reported, lost
        return count

    @property
    def received(self) -> int:
        """Messages that ever came."""
        return self._put + self._refused

    @property
    def waiting(self) -> int:
        """Messages that wait to be taken."""
        return self._put - self._taken

    @property
    def waiting_bytes(self) -> int:
        """Their payloads together."""
        return self._put_bytes - self._taken_bytes
