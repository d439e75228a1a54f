"""Which file is read, what it may be, and what comes out."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import config

SMALLEST = """
state_dir: /var/lib/anomalyd        # bundles, stored readings, outbox
mqtt:
  host: localhost                   # port 1883, MQTT 5, QoS 1, a persistent session
readings:
  topic: plant/{machine}/readings   # {machine} is one topic level
  time: ts                          # key of the timestamp; absent in a payload: arrival time
  interval: 1s                      # the regular grid (default: learned from the history)
alerts:
  topic: anomalyd/{machine}/alert
trainer:
  window: 30                        # samples
  threshold: {method: mean_std, k: 10}
retrain:
  every: 24h
"""


def load(folder: Path, text: str | bytes) -> config.Settings:
    file = folder / "anomalyd.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    return config.load(file, {})


def refusal(file: Path) -> str:
    with pytest.raises(config.ConfigError) as error:
        config.load(file, {})
    return str(error.value).replace(str(file), "FILE")


def test_the_smallest_useful_file_differs_from_the_defaults_in_what_it_says(tmp_path: Path) -> None:
    settings = load(tmp_path, SMALLEST)
    defaults = config.Settings()
    assert settings.readings.interval == timedelta(seconds=1)
    assert settings.retrain.every == timedelta(days=1)
    assert settings == msgspec.structs.replace(
        defaults,
        readings=msgspec.structs.replace(defaults.readings, interval=timedelta(seconds=1)),
        retrain=msgspec.structs.replace(defaults.retrain, every=timedelta(days=1)),
        trainer=msgspec.structs.replace(
            defaults.trainer, window=30, threshold=config.Threshold(method="mean_std", k=10.0)
        ),
    )


@pytest.mark.parametrize(
    "text", ["", "\n", "# nothing but words\n", "---\n", "---\n...\n", "{}", "null", "\ufeff"]
)
def test_an_empty_file_means_all_defaults(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == config.Settings()


def test_a_section_with_all_options_commented_out_means_its_defaults(tmp_path: Path) -> None:
    text = "mqtt:\n  # host: broker\n  tls:\ntrainer:\n  model:\n    # code: 4\n"
    assert load(tmp_path, text) == config.Settings()


def test_no_file_means_defaults_and_environment() -> None:
    assert config.load(None, {}) == config.Settings()
    assert config.load(None, {"ANOMALYD_MQTT__HOST": "broker"}).mqtt.host == "broker"


def test_scalars_mean_what_people_mean_by_them(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "mqtt: {client_id: no, username: 12:30:45, version: 5, host: on}\n"
        "trainer: {model: {learning_rate: 1e-4, units: [16, 8]}, threshold: {false_alerts_per_day: 3}}\n"
        "alerts: {repeat_every: off, silent_after: null, close_score: .5}\n"
        "readings: {max_payload: 1MB, interval: 500 ms}\n"
        "history: {ignore_columns: [batch, 'y']}\n"
        "scores: {publish: True}\n",
    )
    assert (settings.mqtt.client_id, settings.mqtt.username, settings.mqtt.host) == ("no", "12:30:45", "on")
    assert settings.mqtt.version == "5"
    assert settings.trainer.model.learning_rate == 1e-4
    assert settings.trainer.model.units == (16, 8)
    assert settings.trainer.threshold.false_alerts_per_day == 3.0
    assert settings.alerts.repeat_every is None
    assert settings.alerts.silent_after is None
    assert settings.alerts.close_score == 0.5
    assert settings.readings.max_payload == 1_000_000
    assert settings.readings.interval == timedelta(milliseconds=500)
    assert settings.history.ignore_columns == ("batch", "y")
    assert settings.scores.publish is True


def test_an_alias_stands_for_its_value(tmp_path: Path) -> None:
    settings = load(tmp_path, "store: {keep: &month 31d}\nretrain: {look_back: *month}\n")
    assert settings.retrain.look_back == settings.store.keep == timedelta(days=31)


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    assert load(tmp_path, b"\xef\xbb\xbfmqtt:\r\n  host: broker\r\n").mqtt.host == "broker"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.yaml") == (
        "FILE: must be a readable file: no such file or directory; "
        "name another by --config or ANOMALYD_CONFIG"
    )


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (
        "FILE: must be a readable file: is a directory; name another by --config or ANOMALYD_CONFIG"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"mqtt:\n  host: M\xfcller\n", "FILE: must be UTF-8 text, got byte 0xfc (line 2)"),
        ("mqtt:\n".encode("utf-16"), "FILE: must be UTF-8 text, got byte 0xff (line 1)"),
        (b"mqtt:\n  host: a\x00b\n", "FILE: must not contain control characters, got U+0000 (line 2)"),
        (b"#" * 300_000, "FILE: must be at most 262144 bytes"),
        (b"[" * 100_000, "FILE: must hold at most 10000 values, aliases counted each time, and 20 levels"),
        (b"- " * 30 + b"x", "FILE: must hold at most 10000 values, aliases counted each time, and 20 levels"),
    ],
    ids=["latin-1", "utf-16", "nul", "too long", "too deep", "a little too deep"],
)
def test_a_file_that_is_no_text_of_ours_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "anomalyd.yaml"
    file.write_bytes(content)
    assert refusal(file) == message


PIECES = [
    *(
        "mqtt",
        "tls",
        "trainer",
        "model",
        "units",
        "topic",
        "{machine}",
        "\n",
        "\n  ",
        "\n    ",
        ": ",
        "- ",
        "? ",
    ),
    *(
        "[",
        "]",
        "{",
        "}",
        ", ",
        "'",
        '"',
        "&a ",
        "*a ",
        "!!int ",
        "!x ",
        "<<",
        "|",
        ">",
        "#",
        "%",
        "@",
        "---",
        "...",
    ),
    *(
        "\\UFFFFFFFF",
        "\\uD800",
        "\\x00",
        "\t",
        "\x85",
        "\0",
        "0640",
        "1e999",
        ".nan",
        "9" * 400,
        "1" + "0" * 14 + "d",
    ),
]


@given(
    st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=20).map("".join) | st.binary(max_size=50)
)
def test_whatever_a_file_holds_it_is_loaded_or_refused(content: str | bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            load(Path(folder), content)
        except config.ConfigError as error:
            words = str(error)
            assert all(line.isprintable() for line in words.split("\n"))
            assert words


def test_problems_hold_their_parts_for_machines_to_read(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError) as error:
        load(tmp_path, "alerts:\n  open_after: 0\n")
    assert error.value.problems == (
        config.Problem("alerts.open_after", "must be at least 1", value="0", line=2),
    )


def test_the_file_is_the_option_then_the_variable_then_the_systems() -> None:
    environ = {"ANOMALYD_CONFIG": "/b.yaml"}
    assert config.find(Path("/a.yaml"), environ) == Path("/a.yaml")
    assert config.find(None, environ) == Path("/b.yaml")
    assert config.find(None, {"ANOMALYD_CONFIG": ""}) == Path("/etc/anomalyd/anomalyd.yaml")
    assert config.find(None, {}) == Path("/etc/anomalyd/anomalyd.yaml")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        config.Settings().mqtt.host = "elsewhere"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "port"),
    [("", 1883), ("mqtt: {tls: {enabled: true}}", 8883), ("mqtt: {port: 1, tls: {enabled: true}}", 1)],
)
def test_the_port_follows_the_encryption_unless_it_is_given(tmp_path: Path, text: str, port: int) -> None:
    assert load(tmp_path, text).mqtt.broker_port == port


def test_a_machine_may_be_silent_for_a_little_longer_than_its_interval(tmp_path: Path) -> None:
    text = "readings: {interval: 5min}\nalerts: {silent_after: 300001ms}"
    assert load(tmp_path, text).readings.interval == timedelta(minutes=5)
