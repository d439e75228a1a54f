"""paho's client, made quicker where it spends most: on system calls for every single message."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - a look for it that fails, as while files are short, is never made again
import struct
import time
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode, _ConnectionState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

AHEAD = 65_536  # bytes read at once; a message of eight sensors has about 200
PAUSE = 0.004  # seconds until it is asked again whether there is room
LONGEST_PAUSE = 0.25  # seconds after which something is read all the same: the broker's answers are among it
PUBACK = struct.Struct("!BBH")


class Client(paho.Client):
    """Reads what has arrived at once, and acknowledges many messages by one write.

    paho asks the socket three times for each message, and wakes its thread and writes for each
    acknowledgement. Reading ahead alone takes a third of a message's CPU time away. Both rely on
    what paho does not promise to keep; see docs/decisions/0007.
    """

    _ahead = b""  # what was read and not asked for yet
    _position = 0
    _source: object = None  # the socket that it was read from
    _may_read = True  # whether the next packet may be read from the socket
    _read_at = 0.0
    failure: OSError | None = None  # what reading last raised; paho keeps it to itself
    turns = 0  # of the network thread's loop, at least one a second while there is a connection
    crowded: Callable[[], bool] = staticmethod(lambda: False)  # whether messages should stay with the broker

    def _check_keepalive(self) -> None:
        """Does not wait for the answer to CONNECT for longer than for the connection itself."""
        keepalive = self._keepalive
        if self._state is not _ConnectionState.MQTT_CS_CONNECTED:
            self._keepalive = min(keepalive, max(1, int(self._connect_timeout)))
        try:
            super()._check_keepalive()
        finally:
            self._keepalive = keepalive

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._position == len(self._ahead) or self._source is not self._sock:
            self._source = self._sock
            self._ahead, self._position = b"", 0
            begins = self._in_packet["command"] == 0  # else it is the rest of a packet
            if begins and not self._may_read:
                raise BlockingIOError
            self._may_read = self._may_read and not begins
            self.failure = None
            try:
                self._ahead = super()._sock_recv(AHEAD if begins else bufsize)
            except BlockingIOError:
                raise
            except OSError as error:
                self.failure = error
                raise
        begin = self._position
        self._position = min(begin + bufsize, len(self._ahead))
        return self._ahead[begin : self._position]

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Deals with all packets that were read; no `select` tells of those behind the first.

        It reads ahead once: under a flood, too, the thread must write and keep the connection alive.
        """
        now = time.monotonic()
        if self.crowded() and now - self._read_at < LONGEST_PAUSE:
            time.sleep(PAUSE)  # what is not read, the broker keeps
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        self._read_at = now
        self._may_read = True
        result = super().loop_read(max_packets)
        while (
            result is paho.MQTT_ERR_SUCCESS
            and self._position < len(self._ahead)
            and self._source is self._sock
        ):
            result = super().loop_read(max_packets)
        return result

    def loop_misc(self) -> MQTTErrorCode:
        """Ends each turn of the loop."""
        self.turns += 1
        return super().loop_misc()

    def acknowledge(self, mids: Sequence[int]) -> None:
        """Acknowledges messages at QoS 1 by their packet identifiers."""
        packets = b"".join([PUBACK.pack(paho.PUBACK, 2, mid) for mid in mids])
        self._packet_queue(paho.PUBACK, packets, mids[-1], 1)


def topic_of(message: paho.MQTTMessage) -> str:
    """A message's topic; of one that is no UTF-8 the replacement character, which no machine is called."""
    try:
        return message.topic
    except UnicodeDecodeError:
        return "\ufffd"
