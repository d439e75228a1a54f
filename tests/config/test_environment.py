"""Options by environment variable."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

import config
from config.environment import variable
from config.options import Names, options
from config.schema import plain


def refusal(environ: dict[str, str], file: Path | None = None) -> str:
    with pytest.raises(config.ConfigError) as error:
        config.load(file, environ)
    return str(error.value)


def test_values_are_read_as_in_the_file() -> None:
    settings = config.load(
        None,
        {
            "ANOMALYD_STATE_DIR": "/srv/anomalyd",
            "ANOMALYD_MQTT__PORT": "1884",
            "ANOMALYD_MQTT__TLS__ENABLED": "true",
            "ANOMALYD_MQTT__VERSION": "5",
            "ANOMALYD_READINGS__INTERVAL": "1s",
            "ANOMALYD_RETRAIN__EVERY": "off",
            "ANOMALYD_TRAINER__MODEL__UNITS": "[32, 16]",
            "ANOMALYD_HISTORY__IGNORE_COLUMNS": "[batch]",
            "ANOMALYD_TRAINER__THRESHOLD__FALSE_ALERTS_PER_DAY": "3",
            "ANOMALYD_LOG__LEVEL": "debug",
        },
    )
    assert settings.state_dir == Path("/srv/anomalyd")
    assert settings.mqtt.port == 1884
    assert settings.mqtt.tls.enabled is True
    assert settings.mqtt.version == "5"
    assert settings.readings.interval == timedelta(seconds=1)
    assert settings.retrain.every is None
    assert settings.trainer.model.units == (32, 16)
    assert settings.history.ignore_columns == ("batch",)
    assert settings.trainer.threshold.false_alerts_per_day == 3.0
    assert settings.log.level == "debug"


@pytest.mark.parametrize("text", ["007", "true", "{machine", "a: b # c", "'quoted'", "*star"])
def test_text_is_taken_as_it_is(text: str) -> None:
    assert config.load(None, {"ANOMALYD_MQTT__CLIENT_ID": text}).mqtt.client_id == text


@pytest.mark.parametrize("text", ["", "null"])
def test_an_optional_text_can_be_unset(text: str, tmp_path: Path) -> None:
    file = tmp_path / "anomalyd.yaml"
    file.write_text("mqtt: {username: me}", encoding="utf-8")
    assert config.load(file, {"ANOMALYD_MQTT__USERNAME": text}).mqtt.username is None


def test_a_topic_needs_no_quotes() -> None:
    settings = config.load(None, {"ANOMALYD_READINGS__TOPIC": "{machine}/sensors/all"})
    assert settings.readings.topic == "{machine}/sensors/all"


def test_names_may_be_in_any_case() -> None:
    assert config.load(None, {"anomalyd_Mqtt__Host": "broker"}).mqtt.host == "broker"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "anomalyd.yaml"
    file.write_text("mqtt:\n  host: from-file\n  port: nonsense\n", encoding="utf-8")
    environ = {"ANOMALYD_MQTT__PORT": "1884", "ANOMALYD_LOG__LEVEL": "error"}
    settings = config.load(file, environ)
    assert (settings.mqtt.host, settings.mqtt.port, settings.log.level) == ("from-file", 1884, "error")


def test_a_section_that_is_commented_out_can_be_set_into(tmp_path: Path) -> None:
    file = tmp_path / "anomalyd.yaml"
    file.write_text("mqtt:\n", encoding="utf-8")
    assert config.load(file, {"ANOMALYD_MQTT__TLS__ENABLED": "true"}).mqtt.tls.enabled is True


@pytest.mark.parametrize("names", options(), ids=".".join)
def test_every_option_can_be_set(names: Names) -> None:
    default: object = plain(config.Settings())
    for name in names:
        assert isinstance(default, dict)
        default = default[name]
    text = default if isinstance(default, str) else json.dumps(default)
    assert config.load(None, {variable(names): text}) == config.Settings()
    with pytest.raises(config.ConfigError) as error:
        config.load(None, {variable(names): "\udcff"})
    assert error.value.problems == (
        config.Problem(".".join(names), "must be UTF-8 text", variable=variable(names)),
    )


def test_problems_name_the_variable(tmp_path: Path) -> None:
    file = tmp_path / "anomalyd.yaml"
    file.write_text("alerts:\n  open_after: 2\n  open_within: 0\n", encoding="utf-8")
    environ = {
        "ANOMALYD_ALERTS__OPEN_AFTER": "0",
        "ANOMALYD_ALERTS__CLOSE_AFTER": "05",
        "ANOMALYD_MQTT__KEEPALIVE": "30",
        "ANOMALYD_TRAINER__MODEL__UNITS": "[8, 0]",
        "ANOMALYD_HISTORY__IGNORE_COLUMNS": "[a",
        "ANOMALYD_STATUS__TOPIC": "plant/a/readings",
    }
    assert (
        refusal(environ, file)
        == """\
alerts.open_within: must be at least 1, got 0 (line 3)
alerts.close_after: must not start with a zero; some programs read it as octal; quote it if it is text \
(ANOMALYD_ALERTS__CLOSE_AFTER)
history.ignore_columns: must be valid YAML: expected ',' or ']', but got '<stream end>'; \
quote a text that contains a bracket, a brace or a comma (ANOMALYD_HISTORY__IGNORE_COLUMNS)
mqtt.keepalive: must be a whole number with a unit of time, got 30; add a unit: 30s (ANOMALYD_MQTT__KEEPALIVE)
status.topic: must not match readings.topic, got "plant/a/readings"; the daemon would read its own messages \
(ANOMALYD_STATUS__TOPIC)
alerts.open_after: must be at least 1, got 0 (ANOMALYD_ALERTS__OPEN_AFTER)
trainer.model.units[1]: must be at least 1, got 0 (ANOMALYD_TRAINER__MODEL__UNITS)"""
    )


def test_unknown_names_are_refused_without_their_values() -> None:
    environ = {
        "ANOMALYD_MQTT_HOST": "hunter2",
        "ANOMALYD_MQTT__PASWORD": "hunter2",
        "ANOMALYD_MQTT__TLS": "hunter2",
        "ANOMALYD_XYZ": "hunter2",
        "anomalyd_confg": "hunter2",
    }
    assert (
        refusal(environ)
        == """\
ANOMALYD_MQTT_HOST: unknown variable, nearest known: ANOMALYD_MQTT__HOST
ANOMALYD_MQTT__PASWORD: unknown variable, nearest known: ANOMALYD_MQTT__PASSWORD
ANOMALYD_MQTT__TLS: names a section, not an option; set its options, such as ANOMALYD_MQTT__TLS__ENABLED
ANOMALYD_XYZ: unknown variable
anomalyd_confg: unknown variable, nearest known: ANOMALYD_CONFIG"""
    )


def test_two_names_of_one_option_are_refused() -> None:
    environ = {"ANOMALYD_MQTT__HOST": "a", "anomalyd_mqtt__host": "b"}
    assert (
        refusal(environ) == "anomalyd_mqtt__host: must be given once, ANOMALYD_MQTT__HOST is the same option"
    )


def test_names_are_checked_even_where_the_file_cannot_be_read(tmp_path: Path) -> None:
    lines = refusal({"ANOMALYD_MQTT_HOST": "a"}, tmp_path / "none.yaml").splitlines()
    assert len(lines) == 2
    assert lines[1] == "ANOMALYD_MQTT_HOST: unknown variable, nearest known: ANOMALYD_MQTT__HOST"


def test_variables_that_are_no_options_are_left_alone() -> None:
    environ = {
        "ANOMALYD_CONFIG": "/etc/x.yaml",
        "ANOMALYD_DATA": "/data",
        "ANOMALYD_MQTT__PASSWORD": "hunter2",
        "PATH": "/bin",
        "ANOMALYDX": "1",
    }
    assert config.load(None, environ) == config.Settings()
