from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.main import COMMANDS
from cli.models import models
from tests.cli.conftest import Ended

Run = Callable[..., Ended]


def test_no_command_is_a_usage_error_that_shows_the_commands(anomalyd: Run) -> None:
    ended = anomalyd()
    assert ended.code == 64
    for command in ("train", "run", "check-data", "replay", "evaluate", "retrain", "models", "demo"):
        assert command in ended.err


@pytest.mark.parametrize(
    "arguments",
    [("tarin",), ("train",), ("train", "--wnidow", "3", "a.csv"), ("replay",), ("models", "promote")],
)
def test_a_mistyped_command_line_is_a_usage_error(anomalyd: Run, arguments: tuple[str, ...]) -> None:
    ended = anomalyd(*arguments)
    assert ended.code == 64
    assert ended.out == ""
    assert "Usage: anomalyd" in ended.err


@pytest.mark.parametrize(
    "command",
    [("train", "a.csv"), ("run",), ("check",), ("check-data", "a.csv"), ("replay", "a.csv"), ("retrain",),
     ("evaluate", "a.csv"), ("models", "list"), ("models", "show"), ("models", "rollback")],
)  # fmt: skip
def test_a_wrong_configuration_ends_every_command_with_78_and_every_problem(
    anomalyd: Run, config: Path, command: tuple[str, ...]
) -> None:
    config.write_text("mqtt: {prot: 1883}\nalerts: {open_after: 0}\n")
    ended = anomalyd(*command)
    assert ended.code == 78
    assert ended.out == ""
    assert "mqtt.prot: unknown key, nearest known: mqtt.port" in ended.err
    assert "alerts.open_after: must be at least 1, got 0" in ended.err


def test_check_says_in_json_what_is_wrong(anomalyd: Run, config: Path) -> None:
    assert json.loads(anomalyd("check", "--json").out) == {"file": str(config), "valid": True, "problems": []}
    config.write_text("mqtt: {prot: 1883}\n")
    ended = anomalyd("check", "--json")
    assert ended.code == 78
    answer = json.loads(ended.out)
    assert answer["valid"] is False
    assert len(answer["problems"]) == 1


def test_the_option_wins_over_the_environment(anomalyd: Run, config: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("log: {level: loud}\n")
    assert anomalyd("check").code == 0
    assert anomalyd("check", "--config", other).code == 78


def test_a_missing_history_is_an_io_error_that_names_it(anomalyd: Run, config: Path) -> None:
    for command in ("train", "check-data", "replay", "evaluate"):
        ended = anomalyd(command, "nowhere.csv")
        assert ended.code == 74
        assert ended.err.strip() == "anomalyd: nowhere.csv: cannot be read: No such file or directory"


def test_replay_without_a_bundle_says_what_to_do(anomalyd: Run, config: Path, tmp_path: Path) -> None:
    history = tmp_path / "press.csv"
    history.write_text("timestamp,a\n1,2\n2,3\n")
    ended = anomalyd("replay", history)
    assert ended.code == 1
    assert "holds no bundle for press; train one: anomalyd train HISTORY" in ended.err


def test_evaluate_without_labels_says_what_is_missing(anomalyd: Run, config: Path, tmp_path: Path) -> None:
    history = tmp_path / "press.csv"
    history.write_text("timestamp,a\n1,2\n2,3\n")
    ended = anomalyd("evaluate", history)
    assert ended.code == 65
    assert "press: must have a column label" in ended.err


def test_retrain_without_stored_readings_is_no_failure_and_says_where_they_come_from(
    anomalyd: Run, config: Path
) -> None:
    ended = anomalyd("retrain")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "no reading is stored yet; the daemon stores them: anomalyd run\n"
    as_json = anomalyd("retrain", "--json")
    assert (as_json.code, json.loads(as_json.out)) == (0, [])


def test_an_unknown_bundle_is_refused_by_name(anomalyd: Run, config: Path, tmp_path: Path) -> None:
    ended = anomalyd("models", "promote", "2026")
    assert ended.code == 1
    assert ended.err.strip() == f"anomalyd: bundle 2026: there is none in {tmp_path}/state/bundles"
    assert anomalyd("models", "rollback").code == 1
    assert anomalyd("models", "show").code == 1
    assert json.loads(anomalyd("models", "list", "--json").out) == []


def test_the_version_is_printed(anomalyd: Run) -> None:
    plain, as_json = anomalyd("version"), anomalyd("version", "--json")
    assert plain.out.split() == ["anomalyd", json.loads(as_json.out)["version"]]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completion_is_a_script_for_anomalyd(anomalyd: Run, shell: str) -> None:
    ended = anomalyd("completion", shell)
    assert ended.code == 0
    assert f"_ANOMALYD_COMPLETE={shell}_complete" in ended.out


@pytest.mark.parametrize(("module", "usage"), [("daemon", "anomalyd run"), ("trainer", "anomalyd train")])
def test_the_packages_are_commands_as_well(module: str, usage: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", module, "--help"], check=True, capture_output=True, text=True
    ).stdout
    assert f"Usage: {usage}" in shown


def test_the_help_of_every_command_names_its_options(anomalyd: Run) -> None:
    commands: list[tuple[str, ...]] = [(name,) for name in COMMANDS if name != "models"]
    commands += [("models", name) for name in models.commands]
    for command in commands:
        ended = anomalyd(*command, "--help")
        assert ended.code == 0
        assert "--config" in ended.out
