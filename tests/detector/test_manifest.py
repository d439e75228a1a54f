from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given

from detector.manifest import Manifest, UnreadableManifest, checksum, decode, encode
from tests.detector.examples import manifest, manifests


@given(made=manifests())
def test_a_manifest_survives_being_written_down(made: Manifest) -> None:
    assert decode(encode(made)) == made


def test_a_manifest_of_an_older_version_has_no_evidence_of_its_threshold() -> None:
    made = manifest()
    content = msgspec.json.decode(encode(made))
    del content["threshold"]["evidence"]
    del content["sha256"]
    content["sha256"] = checksum(content)
    assert decode(msgspec.json.encode(content)) == made


def test_a_manifest_of_an_older_version_has_no_limits() -> None:
    content = msgspec.json.decode(encode(manifest()))
    del content["limits"]
    del content["sha256"]
    content["sha256"] = checksum(content)
    assert decode(msgspec.json.encode(content)).limits is None


def edited(change: Callable[[dict[str, Any]], None]) -> bytes:
    content = msgspec.json.decode(encode(manifest()))
    change(content)
    return msgspec.json.encode(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "Input data was truncated"),
        (b"[]", "schema: must be 1 to 2 for this version, got None"),
        (
            b'{"schema": 3, "more": 1}',
            "schema: must be at most 2 for this version, got 3: made by a newer one",
        ),
        (b'{"schema": "1"}', "schema: must be 1 to 2 for this version, got '1'"),
        (b'{"schema": 0}', "schema: must be 1 to 2 for this version, got 0"),
        (b'{"schema": true}', "schema: must be 1 to 2 for this version, got True"),
        (b'{"schema": 1}', "Object missing required field `id`"),
        (b"[" * 100_000, "maximum recursion depth exceeded while deserializing an object"),
        (b'{"\xff": 1}', "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (
            edited(lambda m: m.update(novelty=1)),
            "Object contains unknown field `novelty`",
        ),
        (
            edited(lambda m: m["window"].update(overlap=1)),
            "Object contains unknown field `overlap` - at `$.window`",
        ),
        (edited(lambda m: m.update(sensors=[])), "sensors: must be one or more different names"),
        (
            edited(lambda m: m.update(sensors=["flow", "flow"])),
            "sensors: must be one or more different names",
        ),
        (
            edited(lambda m: m["scaler"].update(scale=[1.0])),
            "scaler.scale: must hold 2 finite numbers, one per column",
        ),
        (
            edited(lambda m: m["scaler"].update(scale=[1.0, 0.0])),
            "scaler.scale: must be above 0 for every column",
        ),
        (
            edited(lambda m: m["imputer"].update(fallback=[1.0, 2.0, 3.0])),
            "imputer.fallback: must hold 2 finite numbers, one per column",
        ),
        (
            edited(lambda m: m["threshold"].update(value=0)),
            "threshold.value: must be a finite number above 0, got 0.0 - at `$.threshold`",
        ),
        (
            edited(lambda m: m["error"].update(smoothing=1)),
            "error.smoothing: must be at least 0 and below 1, got 1.0 - at `$.error`",
        ),
        (
            edited(lambda m: m["error"].update(usual=[1.0, 0.0])),
            "error.usual: must be finite and above 0 for every sensor - at `$.error`",
        ),
        (
            edited(lambda m: m["error"].update(usual=[1.0])),
            "error.usual: must hold 2 numbers, one per sensor",
        ),
        (
            edited(lambda m: m.update(limits=[4.0, -4.0])),
            "limits: must be finite and ascend, got (4.0, -4.0)",
        ),
        (
            edited(lambda m: m["grid"].update(interval=0)),
            "grid.interval: must be at least 1 ms, got 0 - at `$.grid`",
        ),
        (
            edited(lambda m: m["window"].update(length=0)),
            (
                "window: length, stride >= 1, max_gap >= 0, 0 <= min_coverage <= 1, got "
                "WindowSpec(length=0, stride=1, max_gap=2, min_coverage=0.5) - at `$.window`"
            ),
        ),
        (
            edited(lambda m: m["imputer"].update(method="guess")),
            "Invalid enum value 'guess' - at `$.imputer.method`",
        ),
        (encode(manifest()).replace(b"0.731", b"1e999"), "Number out of range - at `$[...][...]`"),
        (encode(manifest()).replace(b"0.731", b"NaN"), "JSON is malformed: invalid character (byte 677)"),
    ],
)
def test_what_is_no_manifest_is_refused_with_the_reason(text: bytes, message: str) -> None:
    with pytest.raises(UnreadableManifest, match=f"^{re.escape(message)}$"):
        decode(text)
