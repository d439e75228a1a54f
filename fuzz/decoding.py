"""Any bytes, decoded by four configurations: a reading or a refusal, and a reading can be stored."""

from __future__ import annotations

import json
import math
import sys

import atheris

with atheris.instrument_imports(include=["json", "daemon.decoding"]):
    # Those in C tell the fuzzer nothing.
    json.decoder.scanstring = json.decoder.py_scanstring  # type: ignore[attr-defined]
    json.scanner.make_scanner = json.scanner.py_make_scanner  # type: ignore[attr-defined]
    from config.streams import Channel
    from daemon.decoding import MAX_SENSORS, Decoder, Refusal

from daemon.intake import Message
from detector.reading import Reading

NOW = 1_735_725_600_000
CHANNELS = {"mode": Channel("category"), "open": Channel("binary"), "flow": Channel("angle")}


def decoder(values: str | None, channels: dict[str, Channel]) -> Decoder:
    """As a configuration makes it."""
    return Decoder(
        topic="plant/{machine}/readings",
        time="ts",
        values=values,
        max_payload=4000,
        ignore=("unit",),
        channels=channels,
    )


DECODERS = [decoder(values, channels) for values in (None, "data.values") for channels in ({}, CHANNELS)]


def one(data: bytes) -> None:
    """The first byte chooses whether the rest is a topic, or a payload, retained or not."""
    rest = data[1:]
    first = data[0] if data else 0
    topic = rest[:300].decode(errors="replace") if first % 16 == 0 else "plant/press/readings"
    for each in DECODERS:
        message = Message(topic, rest, NOW, 1, 1, 1, retained=first % 2 == 1)
        decoded = each.decode(message)
        if isinstance(decoded, Refusal):
            assert decoded.message is message
            decoded.detail.encode()
            assert len(decoded.detail) < 1000
        else:
            assert isinstance(decoded, Reading)
            assert 0 < len(decoded.sensors) == len(decoded.values) <= MAX_SENSORS
            assert decoded.sensors == tuple(sorted({*decoded.sensors}))
            assert not any(math.isinf(value) for value in decoded.values)
            assert 0 <= decoded.at < 10**14
            "".join((decoded.machine, *decoded.sensors)).encode()
        for text in each.new_texts().values():
            text.encode()


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
