from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.alerts import alerts
from cli.dead_letters import dead_letters
from cli.labels import labels
from cli.machines import machines
from cli.main import COMMANDS
from cli.models import models
from tests import plant
from tests.cli.conftest import Ended

Run = Callable[..., Ended]


def test_no_command_is_a_usage_error_that_shows_the_commands(anomalyd: Run) -> None:
    ended = anomalyd()
    assert ended.code == 64
    for command in ("train", "run", "check-data", "tune", "replay", "evaluate", "retrain", "models", "demo"):
        assert command in ended.err


@pytest.mark.parametrize(
    "arguments",
    [("tarin",), ("train",), ("train", "--wnidow", "3", "a.csv"), ("replay",), ("models", "diff")],
)
def test_a_mistyped_command_line_is_a_usage_error(anomalyd: Run, arguments: tuple[str, ...]) -> None:
    ended = anomalyd(*arguments)
    assert ended.code == 64
    assert ended.out == ""
    assert "Usage: anomalyd" in ended.err


@pytest.mark.parametrize(
    "command",
    [("train", "a.csv"), ("run",), ("check",), ("doctor",), ("check-data", "a.csv"), ("tune", "a.csv"),
     ("replay", "a.csv"), ("retrain",), ("evaluate", "a.csv"), ("models", "list"), ("models", "show"),
     ("models", "rollback")],
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
    for command in ("train", "check-data", "tune", "replay", "evaluate"):
        ended = anomalyd(command, "nowhere.csv")
        assert ended.code == 74
        assert ended.err.strip() == "anomalyd: nowhere.csv: cannot be read: No such file or directory"


@pytest.mark.parametrize("command", ["train", "check-data", "tune", "replay", "evaluate"])
def test_a_history_that_may_not_be_read_is_an_io_error_like_a_missing_one(
    anomalyd: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    history = tmp_path / "press.csv"
    history.mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read anything
    ended = anomalyd(command, history)
    assert ended.code == 74
    assert ended.err == f"anomalyd: {history}: cannot be read: Is a directory\n"


def test_check_data_answers_in_json_when_the_files_cannot_be_used_or_read(
    anomalyd: Run, config: Path, tmp_path: Path
) -> None:
    history = tmp_path / "press.csv"
    history.write_text("timestamp,a,b\n1,x,y\n")
    for path, code, problems in ((history, 65, 2), (tmp_path / "none.csv", 74, 1)):
        ended = anomalyd("check-data", path, "--json")
        assert (ended.code, ended.err) == (code, "")
        answer = json.loads(ended.out)
        assert answer["usable"] is False
        assert len(answer["errors"]) == problems
        assert answer.keys() == {
            "usable", "errors", "warnings", "rows", "rows_needed", "interval_ms", "machines", "sensors",
            "groups", "changes",
        }  # fmt: skip


def test_check_data_says_what_is_in_a_history_and_draws_it(
    anomalyd: Run, config: Path, tmp_path: Path
) -> None:
    history = tmp_path / "press.csv"
    rows = [f"{1000 + i},{i % 7},{2 * (i % 7) + 1},{i * 7919 % 101 + 500 * (i > 200)}" for i in range(400)]
    history.write_text("\n".join(["timestamp,speed,power,other", *rows]))
    page = tmp_path / "press.html"
    ended = anomalyd("check-data", history, "--html", page)
    assert ended.code == 0
    assert ended.err == f"drawn in {page}\n"
    lines = ended.out.splitlines()
    assert lines[0] == "press: 400 rows, one every 1 s, 0 holes too long to bridge"
    assert "move together: power, speed" in lines
    assert any(line.startswith("likely change of regime: press, 1970-01-01 00:20:") for line in lines)
    assert lines[-2:] == ["400 rows: enough, 133 without holes are needed", "usable for training"]
    assert page.read_text().startswith("<!doctype html>")
    answer = json.loads(anomalyd("check-data", history, "--json").out)
    assert answer["groups"] == [["power", "speed"]]
    assert [change["shifts"][0]["sensor"] for change in answer["changes"]] == ["other"]
    assert answer["sensors"][0]["outliers"] == 0
    assert (answer["rows"], answer["rows_needed"]) == (400, 133)


def test_the_table_of_check_data_names_its_sensors_in_80_columns(
    anomalyd: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.tables.WIDE", 80)
    history = tmp_path / "press.csv"
    rows = [f"{1000 + i},{-1234.5678 * (i % 7)},{1e-9 * (i % 5)}" for i in range(400)]
    history.write_text("\n".join(["timestamp,hydraulic,temperature", *rows]))
    shown = anomalyd("check-data", history).out.splitlines()
    assert max(map(len, shown[2:7])) <= 80
    table = [line.split() for line in shown]
    (hydraulic,) = (line for line in table if line[:1] == ["hydraulic"])
    assert hydraulic[1:5] == ["0.0%", "-7407", "-3704", "-0"]


def test_a_file_that_cannot_be_written_is_told_before_anything_is_read(
    anomalyd: Run, config: Path, tmp_path: Path
) -> None:
    plant.promote(tmp_path / "state")
    missing, folder, file = tmp_path / "none" / "a", tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    file.write_text("")
    for command, option in (("check-data", "--html"), ("replay", "--scores")):
        for path, reason in (
            (missing, f"cannot be written: there is no folder {missing.parent}"),
            (file / "a", f"cannot be written: there is no folder {file}"),
            (folder, "must be a file, got a folder"),
            (Path("/proc/a"), "cannot be written: "),
        ):
            ended = anomalyd(command, "nowhere.csv", option, path)
            assert ended.code == 74
            assert ended.err.startswith(f"anomalyd: {path}: {reason}"), ended.err


def test_check_data_does_not_call_rows_enough_that_it_refuses(
    anomalyd: Run, config: Path, tmp_path: Path
) -> None:
    history = tmp_path / "press.csv"
    for times, rows, told in (
        ("1000", 400, "400 rows; 133 without holes are needed"),
        ("{}", 40, "40 rows: too few, 133 without holes are needed"),
        ("{}", 400, "400 rows: enough, 133 without holes are needed"),
    ):
        lines = [f"{times.format(1000 + i)},{i % 7},{i * 7919 % 101}" for i in range(rows)]
        history.write_text("\n".join(["timestamp,speed,other", *lines]))
        page = tmp_path / "press.html"
        ended = anomalyd("check-data", history, "--html", page)
        assert told in ended.out.splitlines(), ended.out
        assert (ended.code == 0) == ("enough" in told)
        assert ("Not usable for training" in page.read_text()) == (ended.code == 65)


@pytest.mark.parametrize("name", ["a/b", "", "a+", "#", "a\0b", "a" * 257])
@pytest.mark.parametrize("command", ["train", "check-data", "tune", "replay", "evaluate"])
def test_a_name_that_no_machine_can_have_is_a_usage_error(
    anomalyd: Run, config: Path, command: str, name: str
) -> None:
    ended = anomalyd(command, "nowhere.csv", "--machine", name)
    assert ended.code == 64
    assert "must be one level of a topic, 1 to 256 printable characters without / + #, got " in ended.err


def test_an_error_of_the_disk_names_the_file_first(anomalyd: Run, config: Path, tmp_path: Path) -> None:
    plant.promote(tmp_path / "state")
    lock = tmp_path / "state" / "champions.lock"
    lock.unlink()
    lock.mkdir()
    ended = anomalyd("models", "promote", "2025-01-01T09-00-00Z-0001")
    assert ended.code == 74
    assert ended.err == f"anomalyd: {lock}: cannot be read or written: Is a directory\n"


def test_a_bundle_that_is_unusable_is_listed_with_its_role_and_the_reason(
    anomalyd: Run, config: Path, tmp_path: Path
) -> None:
    names = [f"2025-01-01T09-00-00Z-000{i}" for i in (1, 2)]
    for name in names:
        bundle = plant.promote(tmp_path / "state", name, machine="press-7")
    (bundle / "model.tflite").write_bytes(b"changed")
    listed = anomalyd("models", "list")
    reason = f"bundle {names[1]}: model.tflite was changed after it was written"
    assert listed.code == 0
    assert listed.err == f"unusable: {reason}\n"
    rows = [line.split() for line in listed.out.splitlines() if line.startswith("2025")]
    assert rows == [
        [names[0], "former", "press-7", "dense", "4", "x", "3", "1"],
        [names[1], "champion", "press-7", "unusable", "-", "-"],
    ]
    former, champion = json.loads(anomalyd("models", "list", "--json").out)
    assert (former["role"], former["problem"]) == ("former", None)
    assert (champion["role"], champion["machine"], champion["problem"]) == ("champion", "press-7", reason)


def test_data_without_a_sensor_that_the_bundle_knows_are_refused_with_both_named(
    anomalyd: Run, config: Path, tmp_path: Path
) -> None:
    plant.promote(tmp_path / "state")
    history = tmp_path / "press.csv"
    history.write_text("timestamp,Flow,load,label\n1,2,3,0\n2,3,4,0\n")
    text = (
        "press: must have a sensor of bundle 2025-01-01T09-00-00Z-0001 (flow, pressure, temperature), "
        "got Flow, load\n"
    )
    for command in ("replay", "evaluate"):
        ended = anomalyd(command, history)
        assert (ended.code, ended.out, ended.err) == (65, "", f"anomalyd: {text}")
    known = tmp_path / "lathe.csv"
    known.write_text("timestamp,flow\n1,2\n2,3\n")
    ended = anomalyd("replay", history, known)
    assert ended.code == 0
    assert ended.err.startswith(f"left out: {text}")


def test_sensors_of_the_model_that_a_machine_lacks_are_named_once(
    anomalyd: Run, config: Path, tmp_path: Path
) -> None:
    plant.promote(tmp_path / "state")
    bundle = "2025-01-01T09-00-00Z-0001"
    for name, column in (("press-1", "presure"), ("press-2", "presure"), ("press-3", "pressure")):
        rows = [f"{plant.START + 1000 * i},40,{i % 2},0" for i in range(60)]
        (tmp_path / f"{name}.csv").write_text("\n".join([f"timestamp,flow,{column},label", *rows]))
    files = [tmp_path / f"press-{i}.csv" for i in (1, 2, 3)]
    for command in ("replay", "evaluate"):
        ended = anomalyd(command, *files)
        assert ended.code == 0, ended.err
        assert [line for line in ended.err.splitlines() if line.startswith("warning: ")] == [
            (
                f"warning: press-1, press-2: has no column for pressure, temperature of bundle {bundle}, so "
                "that 2 sensors of 3 will count as missing; is presure pressure?"
            ),
            (
                f"warning: press-3: has no column for temperature of bundle {bundle}, so "
                "that 1 sensor of 3 will count as missing"
            ),
        ]


def test_a_sensor_that_is_declared_and_nowhere_recorded_is_told_before_anything_else(
    anomalyd: Run, config: Path, tmp_path: Path
) -> None:
    config.write_text(config.read_text().replace("{interval: 1s}", "{channels: {spede: angle}}"))
    history = tmp_path / "press.csv"
    history.write_text(
        "\n".join(["timestamp,speed,power", *(f"{1000 + i},{i % 7},{i % 5}" for i in range(9))])
    )
    text = "readings.channels.spede: must be a sensor of the history, got none of this name"
    for command in (("train",), ("train", "--per-machine"), ("tune",)):
        ended = anomalyd(*command, history)
        assert ended.code == 65
        assert ended.err.startswith(f"warning: {text}; nearest known: speed\n")
    assert f"note: {text}; nearest known: speed" in anomalyd("check-data", history).out.splitlines()


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
    groups = {
        "models": models,
        "alerts": alerts,
        "labels": labels,
        "machines": machines,
        "dead-letters": dead_letters,
    }
    commands: list[tuple[str, ...]] = [(name,) for name in COMMANDS if name not in groups]
    commands += [(group, name) for group, commands_of in groups.items() for name in commands_of.commands]
    for command in commands:
        ended = anomalyd(*command, "--help")
        assert ended.code == 0
        assert "--config" in ended.out
