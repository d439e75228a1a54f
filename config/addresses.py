"""Where to listen: `127.0.0.1:9464`, or `off`."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from config.problems import UnmetError
from config.quantities import OFF
from config.section import Before, Schema

_ADDRESS = r"([^\s:/@\[\]]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})"


class Address(msgspec.Struct, frozen=True):
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address_or_off(value: object) -> Address | None:
    """Reads `127.0.0.1:9464` or `[::1]:9464`; None from `off` and `null`."""
    if value is None or value == OFF:
        return None
    match = re.fullmatch(_ADDRESS, value) if isinstance(value, str) else None
    if match is None:
        raise UnmetError("must be an address and a port, or off", hint="such as 127.0.0.1:9464")
    port = int(match[2])
    if not 1 <= port <= 65_535:
        raise UnmetError("must have a port from 1 to 65535")
    return Address(match[1].strip("[]"), port)


Listen = Annotated[
    Address | None,
    Before(parse_address_or_off),
    Schema({"type": ["string", "null"], "pattern": f"^({OFF}|{_ADDRESS})$"}),
]
