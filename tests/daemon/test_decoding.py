from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.streams import Channel
from daemon.decoding import MAX_SENSORS, Decoder, Refusal
from daemon.intake import Message
from detector.categories import number_of
from detector.reading import Reading

NOW = 1_735_725_600_000
AT = 1_735_725_601_500
TIME = "must be ISO 8601, or seconds or milliseconds since 1970"
DEEP = "must be nested at most 64 levels deep, got more"
NAME = "a sensor's name must be 1 to 256 printable characters"
flat = Decoder(topic="plant/{machine}/readings", time="ts", values=None, max_payload=100_000)
nested = Decoder(topic="plant/{machine}/readings", time="ts", values="data.values", max_payload=100_000)


def message(payload: bytes, topic: str = "plant/press/readings") -> Message:
    return Message(topic, payload, NOW, 1, 1, 1)


def decoded(payload: bytes, decoder: Decoder = flat) -> tuple[int, dict[str, float]]:
    """Time and values of a good message."""
    reading = decoder.decode(message(payload))
    assert isinstance(reading, Reading), reading
    assert (reading.machine, reading.received_at) == ("press", NOW)
    assert reading.values.dtype == "float64"
    return reading.at, dict(zip(reading.sensors, reading.values.tolist(), strict=True))


def refused(payload: bytes, decoder: Decoder = flat, topic: str = "plant/press/readings") -> tuple[str, str]:
    """Reason and detail of a bad message."""
    refusal = decoder.decode(message(payload, topic))
    assert isinstance(refusal, Refusal), refusal
    return refusal.reason.value, refusal.detail


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ('"2025-01-01T10:00:01.500Z"', AT),
        ('"2025-01-01T11:00:01.500+01:00"', AT),
        ('"2025-01-01 10:00:01.500"', AT),
        ('"20250101T100001.500Z"', AT),
        ("1735725601.5", AT),
        ("1735725601500", AT),
        ("1735725601500.4", AT),
        ("1.7357256015e12", AT),
        ("0", 0),
        ("4291747200", 4_291_747_200_000),  # the year 2106
        ("99999999999", 99_999_999_999_000),  # the year 5138, as far as history files go
        ("99999999999999", 99_999_999_999_999),
        ("100000000000", 100_000_000_000),  # from here on milliseconds: the year 1973
    ],
)
def test_a_time_is_iso_text_or_seconds_or_milliseconds(text: str, at: int) -> None:
    assert decoded(b'{"ts": %s, "flow": 1}' % text.encode()) == (at, {"flow": 1.0})


def test_without_a_time_the_time_of_arrival_counts() -> None:
    assert decoded(b'{"flow": 1.5, "load": -2}') == (NOW, {"flow": 1.5, "load": -2.0})


def test_sensors_come_in_one_order_however_they_were_sent() -> None:
    one, other = (flat.decode(message(p)) for p in (b'{"a": 1, "b": 2, "c": 3}', b'{"c": 3, "a": 1, "b": 2}'))
    assert isinstance(one, Reading)
    assert isinstance(other, Reading)
    assert one.sensors == other.sensors == ("a", "b", "c")
    assert one.values.tolist() == other.values.tolist() == [1, 2, 3]


@pytest.mark.parametrize("text", ["null", "NaN"])
@pytest.mark.parametrize(("decoder", "frame"), [(flat, "{%s}"), (nested, '{"data": {"values": {%s}}}')])
def test_null_and_nan_are_missing_values(text: str, decoder: Decoder, frame: str) -> None:
    _, values = decoded((frame % f'"flow": {text}, "load": 1').encode(), decoder)
    assert math.isnan(values.pop("flow"))
    assert values == {"load": 1.0}


def test_values_are_found_under_their_path() -> None:
    payload = b'{"ts": 1735725601.5, "unit": "7", "data": {"quality": [1], "values": {"flow": 1, "ts": 2}}}'
    assert decoded(payload, nested) == (AT, {"flow": 1.0, "ts": 2.0})


def test_keys_that_are_no_sensors_are_left_out_whatever_they_hold() -> None:
    ignoring = Decoder(
        topic="plant/{machine}/readings",
        time="ts",
        values=None,
        max_payload=1000,
        ignore=("unit", "is", "more"),
    )
    for extra in ('"unit": "bar"', '"is": true', '"more": {"deep": [1]}', '"unit": 3'):
        decoded = ignoring.decode(message(f'{{"ts": 1735725600, "flow": 1, {extra}}}'.encode()))
        assert isinstance(decoded, Reading), decoded
        assert decoded.sensors == ("flow",)


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert decoded(b'\xef\xbb\xbf{"flow": 1}') == (NOW, {"flow": 1.0})


def test_the_last_of_two_equal_keys_counts() -> None:
    assert decoded(b'{"flow": 1, "flow": 2}') == (NOW, {"flow": 2.0})
    assert math.isnan(decoded(b'{"flow": 1, "flow": NaN}')[1]["flow"])


@pytest.mark.parametrize(
    ("payload", "reason", "detail"),
    [
        (b"", "not_json", "Expecting value: line 1 column 1 (char 0)"),
        (b"hello", "not_json", "Expecting value: line 1 column 1 (char 0)"),
        (b'{"flow": 1', "not_json", "Expecting ',' delimiter: line 1 column 11 (char 10)"),
        (b'{"flow": 1}x', "not_json", "Extra data: line 1 column 12 (char 11)"),
        (b'{"fl\xf6w": 1}', "not_json", "is not UTF-8"),
        ('{"flow": 1}'.encode("utf-16"), "not_json", "is not UTF-8"),
        (b"[" * 50_000, "too_deep", DEEP),
        (b'{"a":' * 15_000, "too_deep", DEEP),
        (b'{"a":%s}' % (b"[" * 64 + b"]" * 64), "too_deep", DEEP),
        (b'{"a":%s}' % (b"[" * 63 + b"]" * 63), "not_a_number", "'a' must be a number, got a list"),
        (b'{"a":[%s1]}' % (b"[]," * 99), "not_a_number", "'a' must be a number, got a list"),
        (b"[1]", "not_an_object", "must be an object, got a list"),
        (b"1", "not_an_object", "must be an object, got a number"),
        (b"NaN", "not_an_object", "must be an object, got a number"),
        (b"null", "not_an_object", "must be an object, got null"),
        (b"true", "not_an_object", "must be an object, got true or false"),
        (b'"flow"', "not_an_object", "must be an object, got text"),
        (b"{}", "no_sensor", "holds no sensor"),
        (b'{"ts": 1735725601}', "no_sensor", "holds no sensor"),
        (b'{"flow": "1"}', "not_a_number", "'flow' must be a number, got text"),
        (b'{"flow": true}', "not_a_number", "'flow' must be a number, got true or false"),
        (b'{"flow": [1]}', "not_a_number", "'flow' must be a number, got a list"),
        (b'{"flow": {}}', "not_a_number", "'flow' must be a number, got an object"),
        (b'{"flow": Infinity}', "not_finite", "'flow' must be finite"),
        (b'{"flow": -Infinity}', "not_finite", "'flow' must be finite"),
        (b'{"flow": 1e999}', "not_finite", "'flow' must be finite"),
        (b'{"flow": %s}' % (b"9" * 400), "not_finite", "'flow' must be finite"),
        (b'{"flow": %s}' % (b"9" * 9_000), "not_finite", "'flow' must be finite"),
        (b'{"ts": "yesterday", "flow": 1}', "bad_time", f"ts {TIME}, got 'yesterday'"),
        (b'{"ts": null, "flow": 1}', "bad_time", f"ts {TIME}, got null"),
        (b'{"ts": true, "flow": 1}', "bad_time", f"ts {TIME}, got true or false"),
        (b'{"ts": NaN, "flow": 1}', "bad_time", f"ts {TIME}, got nan"),
        (b'{"ts": -1, "flow": 1}', "bad_time", f"ts {TIME}, got -1.0"),
        (b'{"ts": 1e300, "flow": 1}', "bad_time", f"ts {TIME}, got 1e+300"),
        (b'{"ts": 100000000000000, "flow": 1}', "bad_time", f"ts {TIME}, got 100000000000000.0"),
        (b'{"ts": 1735725601500000, "flow": 1}', "bad_time", f"ts {TIME}, got 1735725601500000.0"),
        (b'{"ts": "0001-01-01T00+14:00", "flow": 1}', "bad_time", f"ts {TIME}, got '0001-01-01T00+14:00'"),
        (b'{"ts": %s, "flow": 1}' % (b"[" * 60 + b"]" * 60), "bad_time", f"ts {TIME}, got a list"),
        (b'{"": 1}', "bad_name", f"{NAME}, got ''"),
        (b'{"a\\nb": 1}', "bad_name", rf"{NAME}, got 'a\nb'"),
        (b'{"\\ud800": 1}', "bad_name", rf"{NAME}, got '\ud800'"),
        (b" " * 100_001, "too_large", "must be at most 100000 bytes, got more"),
    ],
)  # fmt: skip
def test_what_is_no_reading_is_refused_with_its_reason(payload: bytes, reason: str, detail: str) -> None:
    assert refused(payload) == (reason, detail)


CHANNELS = {
    "mode": Channel("category"),
    "open": Channel("binary"),
    "energy": Channel("counter"),
    "wind": Channel("angle"),
}


def declared(values: str | None) -> Decoder:
    return Decoder(
        topic="plant/{machine}/readings", time="ts", values=values, max_payload=100_000, channels=CHANNELS
    )


FRAMES = [(declared(None), "{%s}"), (declared("data.values"), '{"data": {"values": {%s}}}')]
GOOD = "must be text of 1 to 256 printable characters"


@pytest.mark.parametrize(("decoder", "frame"), FRAMES)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"mode": "run"', number_of("run")),
        ('"mode": " run "', number_of("run")),
        ('"mode": "NaN"', number_of("NaN")),
        ('"mode": "l\u00e4uft"', number_of("läuft")),
        ('"mode": ""', math.nan),
        ('"mode": " "', math.nan),
        ('"mode": null', math.nan),
        ('"mode": NaN', math.nan),
        ('"open": true', 1.0),
        ('"open": false', 0.0),
        ('"open": 1', 1.0),
        ('"open": 0.0', 0.0),
        ('"open": null', math.nan),
        ('"open": NaN', math.nan),
        ('"energy": 1000000000001', 1e12 + 1),
        ('"wind": -370', -370.0),
    ],
)
def test_what_is_declared_is_read_as_what_it_is(
    decoder: Decoder, frame: str, text: str, value: float
) -> None:
    _, values = decoded((frame % text).encode(), decoder)
    assert list(values.values()) == pytest.approx([value], nan_ok=True, rel=0)


@pytest.mark.parametrize(("decoder", "frame"), FRAMES)
@pytest.mark.parametrize(
    ("text", "reason", "detail"),
    [
        ('"mode": 7', "not_a_category", "'mode' must be text, got a number"),
        ('"mode": true', "not_a_category", "'mode' must be text, got true or false"),
        ('"mode": ["run"]', "not_a_category", "'mode' must be text, got a list"),
        (f'"mode": "{"x" * 257}"', "not_a_category", f"'mode' {GOOD}, got '{'x' * 56}..."),
        ('"mode": "a\\nb"', "not_a_category", rf"'mode' {GOOD}, got 'a\nb'"),
        ('"mode": "\\ud800"', "not_a_category", rf"'mode' {GOOD}, got '\ud800'"),
        ('"open": 2', "not_binary", "'open' must be true or false (or 1 or 0), got 2.0"),
        ('"open": "yes"', "not_binary", "'open' must be true or false (or 1 or 0), got text"),
        ('"energy": "12"', "not_a_number", "'energy' must be a number, got text"),
        ('"energy": true', "not_a_number", "'energy' must be a number, got true or false"),
        ('"flow": "run", "mode": "run"', "not_a_number", "'flow' must be a number, got text"),
        ('"flow": true, "open": true', "not_a_number", "'flow' must be a number, got true or false"),
        ('"wind": Infinity', "not_finite", "'wind' must be finite"),
    ],
)
def test_what_is_not_what_it_is_declared_to_be_is_refused(
    decoder: Decoder, frame: str, text: str, reason: str, detail: str
) -> None:
    assert refused((frame % text).encode(), decoder) == (reason, detail)


def test_a_decoder_tells_each_text_of_a_category_once() -> None:
    decoder = declared(None)
    for mode in ("run", "stop", "run ", "run"):
        decoded(b'{"mode": "%s"}' % mode.encode(), decoder)
    assert decoder.new_texts() == {number_of("run"): "run", number_of("stop"): "stop"}
    decoded(b'{"mode": "run"}', decoder)
    assert decoder.new_texts() == {}


@pytest.mark.parametrize("text", [b'"%s"' % (b"[" * 99), b'"%s"' % (b'\\"[' * 99), b'"%s' % (b"{" * 99)])
def test_brackets_in_texts_nest_nothing(text: bytes) -> None:
    assert refused(b'{"unit": %s, "flow": [1]}' % text)[0] in {"not_a_number", "not_json"}


def test_a_retained_message_without_a_time_is_refused_since_it_may_be_of_any_time() -> None:
    def sent(payload: bytes) -> Reading | Refusal:
        return flat.decode(Message("plant/press/readings", payload, NOW, 1, 1, 1, retained=True))

    refusal = sent(b'{"flow": 1}')
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "retained"
    assert refusal.detail == "a retained message must have a ts: nobody knows when it was sent"
    assert isinstance(sent(b'{"ts": 1735725600, "flow": 1}'), Reading)


def filled(begin: bytes, unit: bytes, end: bytes = b"") -> bytes:
    """A payload of the largest size."""
    return begin + unit * ((SIZE - len(begin) - len(end)) // len(unit)) + end


SIZE = 256 * 1024
COSTLY = {
    "numbers": filled(b'{"a": [', b"1,", b"1]}"),
    "objects": filled(b'{"a": [', b'{"x":0},', b"1]}"),
    "lists": filled(b'{"a": [', b"[],", b"1]}"),
    "keys": b"{%s}" % b",".join(b'"%x":NaN' % i for i in range(22_000)),
    "one key": filled(b"{", b'"a":NaN,', b'"a":1}'),
    "digits": filled(b'{"a": NaN, "b": ', b"9", b"}"),
    "decimals": filled(b'{"a": NaN, "b": 0.', b"3", b"e-300}"),
    "digits of a time": filled(b'{"flow": NaN, "ts": ', b"1", b"}"),
    "text of a time": filled(b'{"flow": 1, "ts": "', b"2", b'"}'),
    "name": filled(b'{"', b"a", b'": 1}'),
    "escapes": filled(b'{"a": "', b"\\ud83d\\ude00", b'"}'),
    "open lists": filled(b"", b"["),
    "open objects": filled(b"", b'{"a":'),
    "open text": filled(b"[" * 99 + b'"', b'\\"'),
    "open texts": filled(b"[" * 99, b'"\\'),
    "lines": filled(b"", b"\n"),
}


def test_no_payload_costs_much_more_than_a_good_one_of_its_size() -> None:
    decoder = Decoder(topic="plant/{machine}/readings", time="ts", values=None, max_payload=SIZE)
    good = json.dumps({f"{i:052}": i / 7 for i in range(3_400)}).encode()
    assert isinstance(decoder.decode(message(good)), Reading)

    def cost(payload: bytes) -> float:
        def once() -> float:
            begun = time.process_time()
            decoder.decode(message(payload))
            return time.process_time() - begun

        return min(once() for _ in range(5))

    usual = cost(good)
    # 30 is usual; what grows with the square of the size would be thousands.
    assert {name: ratio for name, each in COSTLY.items() if (ratio := cost(each) / usual) > 300} == {}


@pytest.mark.parametrize(
    ("payload", "got"),
    [(b"{}", "null"), (b'{"data": [1]}', "null"), (b'{"data": {"values": 3}}', "a number")],
)
def test_a_path_that_leads_nowhere_is_said(payload: bytes, got: str) -> None:
    assert refused(payload, nested) == ("not_an_object", f"data.values must be an object, got {got}")


def test_a_reading_of_thousands_of_sensors_is_refused() -> None:
    most = json.dumps({f"s{i}": i for i in range(MAX_SENSORS)}).encode()
    assert len(decoded(most)[1]) == MAX_SENSORS
    more = json.dumps({f"s{i}": i for i in range(MAX_SENSORS + 1)}).encode()
    assert refused(more) == ("too_large", "must have at most 4096 sensors, got 4097")


@pytest.mark.parametrize("name", ["press-7", "Presse 7", "ポンプ", "$SYS", "..", "{machine}", "m" * 256])
def test_a_machine_is_the_level_of_the_topic_that_the_template_says(name: str) -> None:
    reading = flat.decode(message(b'{"flow": 1}', f"plant/{name}/readings"))
    assert isinstance(reading, Reading)
    assert reading.machine == name


@pytest.mark.parametrize(
    "topic",
    ["plant/press", "plant/a/b/readings", "plant/readings", "site/press/readings", "plant/press/state", ""],
)
def test_another_topic_is_refused(topic: str) -> None:
    assert refused(b'{"flow": 1}', topic=topic) == ("topic", "must look like plant/{machine}/readings")


@pytest.mark.parametrize("name", ["", "a\tb", "m" * 257])
def test_a_machine_without_a_proper_name_is_refused(name: str) -> None:
    reason, detail = refused(b'{"flow": 1}', topic=f"plant/{name}/readings")
    assert reason == "topic"
    assert detail.startswith("a machine's name must be 1 to 256 printable characters, got '")
    assert len(detail) < 140


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
trees = st.recursive(
    values, lambda t: st.lists(t, max_size=4) | st.dictionaries(st.text(max_size=5), t, max_size=4)
)
keys = st.sampled_from(["ts", "flow", "load"]) | st.text(max_size=5)


@given(
    st.binary(max_size=200)
    | st.dictionaries(keys, trees, max_size=5).map(lambda tree: json.dumps(tree).encode())
)
@example(b'{"ts": "9999-12-31T23:59:59-23:59", "flow": 1}')
def test_whatever_comes_it_is_a_reading_or_a_refusal(payload: bytes) -> None:
    for decoder in (flat, nested):
        result = decoder.decode(message(payload))
        assert isinstance(result, Reading | Refusal)
        if isinstance(result, Reading):
            assert result.sensors
            assert len(result.values) == len(result.sensors)
            assert not any(math.isinf(value) for value in result.values)
            json.dumps(result.sensors).encode()
            "".join(result.sensors).encode()


@given(st.dictionaries(keys, values, max_size=5))
def test_the_quick_and_the_slow_way_agree(payload: dict[str, Any]) -> None:
    """The flat payload under a path is read slowly; a NaN, too, must make no difference but itself."""
    under = {"data": {"values": {k: v for k, v in payload.items() if k != "ts"}}}
    if "ts" in payload:
        under["ts"] = payload["ts"]
    quick, slow = (d.decode(message(json.dumps(p).encode())) for d, p in ((flat, payload), (nested, under)))
    if isinstance(quick, Refusal) or isinstance(slow, Refusal):
        assert isinstance(quick, Refusal)
        assert isinstance(slow, Refusal)
        assert (quick.reason, quick.detail) == (slow.reason, slow.detail)
    else:
        assert (quick.at, quick.sensors) == (slow.at, slow.sensors)
        assert quick.values.tobytes() == slow.values.tobytes()
