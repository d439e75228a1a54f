"""A TCP proxy between clients and a broker, which does to their connections what networks do."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Coroutine
from dataclasses import dataclass
from threading import Thread
from typing import Literal, TypeVar

T = TypeVar("T")
Side = Literal["client", "broker"]
BOTH: tuple[Side, ...] = ("client", "broker")
AT_ONCE = 65_536  # bytes
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing throws away what was not sent, and says RST


@dataclass(eq=False)
class _Link:
    """A client's connection and the one to the broker that stands for it."""

    client: asyncio.StreamWriter
    broker: asyncio.StreamWriter
    deaf: tuple[Side, ...] = ()  # who hears nothing any more, for as long as the connection lives

    def reset(self, *sides: Side) -> None:
        for side in sides:
            writer = self.client if side == "client" else self.broker
            channel = writer.get_extra_info("socket")
            if channel is not None and channel.fileno() >= 0:
                channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()


class Proxy:
    """Hands bytes on between `port` and the broker's, in a thread of its own; faults last until `heal`.

    Attributes:
        port: Where clients connect to; the same for ever.
        connections: How many have been made so far.
        delay: Seconds that each piece is held back.
        per_second: Bytes a second in each direction of each connection; 0: as fast as it goes.
        garbled: The share of pieces in which one byte is another one.
    """

    def __init__(self, broker: int, *, seed: int = 0) -> None:
        """Listens, and connects to the broker's port on this host for each client."""
        self.connections = 0
        self.delay = self.per_second = self.garbled = 0.0
        self._broker = broker
        self._random = random.Random(seed)
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._resets = 0
        self._deaf: tuple[Side, ...] = ()  # the same for new connections
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever)
        self._thread.start()
        self.port = 0
        self._server = self._do(self._listen())
        self.port = self._server.sockets[0].getsockname()[1]

    def reset(self) -> int:
        """Ends all connections by RST, on both sides; returns how many."""
        return self._do(self._reset())

    def swallow(self, *deaf: Side) -> None:
        """A black hole: connections stay open and no byte of theirs arrives any more at both sides, or one.

        What is swallowed is missing, so the connections that are there now stay mute after `heal`.
        """
        self._do(self._swallow(deaf or BOTH))

    def half_open(self) -> None:
        """The broker's side of all connections ends, and the client is not told."""
        self._do(self._half_open())

    def refuse(self) -> None:
        """Ends all connections and refuses new ones, as a host does on which nobody listens."""
        self._do(self._refuse())

    def heal(self) -> None:
        """New connections are as they should be; so are old ones of which nothing was swallowed."""
        self.delay = self.per_second = self.garbled = 0.0
        self._do(self._heal())

    def close(self) -> None:
        """Ends all connections and the thread."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        resets = self._resets
        try:
            answers, broker = await asyncio.open_connection("127.0.0.1", self._broker)
        except OSError:  # the broker is down
            client.transport.abort()
            return
        link = _Link(client, broker, self._deaf)
        if resets != self._resets:  # meanwhile
            link.reset(*BOTH)
            return
        self.connections += 1
        self._links.add(link)
        for work in (
            self._hand_on(link, "broker", reader, broker),
            self._hand_on(link, "client", answers, client),
        ):
            task = self._loop.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _hand_on(
        self, link: _Link, side: Side, source: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while piece := await source.read(AT_ONCE):
                if self.delay:
                    await asyncio.sleep(self.delay)
                if self.per_second:
                    await asyncio.sleep(len(piece) / self.per_second)
                if side not in link.deaf:
                    writer.write(self._spoilt(piece))
                    await writer.drain()
            if side not in link.deaf:  # the end is passed on like all else
                writer.close()
        except OSError:
            if side not in link.deaf:
                link.reset(side)
        finally:
            if all(each.is_closing() for each in (link.client, link.broker)):
                self._links.discard(link)

    def _spoilt(self, piece: bytes) -> bytes:
        if self._random.random() >= self.garbled:
            return piece
        spoilt = bytearray(piece)
        spoilt[self._random.randrange(len(piece))] ^= self._random.randrange(1, 256)
        return bytes(spoilt)

    async def _reset(self) -> int:
        self._resets += 1
        links, self._links = self._links, set()
        for link in links:
            link.reset(*BOTH)
        return len(links)

    async def _swallow(self, deaf: tuple[Side, ...]) -> None:
        self._deaf = deaf
        for link in self._links:
            link.deaf = deaf

    async def _half_open(self) -> None:
        for link in self._links:
            link.deaf = BOTH
            link.reset("broker")

    async def _refuse(self) -> None:
        self._server.close()
        await self._reset()

    async def _heal(self) -> None:
        self._deaf = ()
        if not self._server.is_serving():
            self._server = await self._listen()

    async def _close(self) -> None:
        self._server.close()
        await self._reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
