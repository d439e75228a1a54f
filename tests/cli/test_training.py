from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from daemon.assembly import STORE
from daemon.store import Store
from daemon.transaction import Transaction
from detector.history import History
from detector.replay import readings
from registry.champions import Registry
from tests import plant
from tests.cli.conftest import Ended

Run = Callable[..., Ended]


def write(path: Path, history: History, *, label: range | None = None) -> Path:
    """A history as CSV; rows in `label` are labelled anomalous."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["timestamp", *history.sensors, *(["label"] if label else [])])
        for i, (at, row) in enumerate(zip(history.at.tolist(), history.values.tolist(), strict=True)):
            table.writerow([at, *row, *([int(i in label)] if label else [])])
    return path


@pytest.fixture
def normal(tmp_path: Path) -> Path:
    return write(tmp_path / "normal.csv", plant.history(900))


def test_a_bundle_is_trained_listed_replayed_and_rolled_back(
    anomalyd: Run, config: Path, tmp_path: Path, normal: Path
) -> None:
    trained = anomalyd("train", normal, "--json")
    assert trained.code == 0, trained.err
    answer = json.loads(trained.out)
    assert answer["promoted"] is True
    assert answer["reason"] == "first_model"
    assert answer["machine"] is None
    assert answer["sensors"] == ["flow", "pressure", "temperature"]
    evidence = answer["threshold"]
    assert evidence["method"] == "calibrated"
    assert evidence["windows"] > 100
    candidates = evidence["evidence"]["candidates"]
    assert [each["method"] for each in candidates] == ["mean_std", "quantile", "pot", "calibrated"]
    assert candidates[3]["value"] == evidence["value"]
    assert candidates[0]["value"] == pytest.approx(evidence["mean"] + 10 * evidence["std"])
    folder = tmp_path / "state" / "bundles" / answer["bundle"]
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json", "model.tflite", "encoder.tflite", "decoder.tflite", "model.keras", "report.html",
        "learned.npz",
    }  # fmt: skip
    manifest = json.loads(anomalyd("models", "show", "--json").out)
    assert manifest["id"] == answer["bundle"]

    again = json.loads(anomalyd("train", normal, "--json").out)
    assert again["champion_before"] == answer["bundle"]
    assert again["threshold"] == answer["threshold"], "the same seed gives the same model"
    listed = json.loads(anomalyd("models", "list", "--json").out)
    assert [row["role"] for row in listed].count("champion") == 1
    rolled = json.loads(anomalyd("models", "rollback", "--json").out)
    assert rolled == {"machine": None, "champion": answer["bundle"]}

    fault = range(200, 240)
    data = write(
        tmp_path / "press-7.csv", plant.history(400, start=plant.START + 10**9, faults=[fault]), label=fault
    )
    scores = tmp_path / "scores.csv"
    replayed = anomalyd("replay", data, "--scores", scores)
    assert replayed.code == 0
    alerts = [json.loads(line) for line in replayed.out.splitlines()]
    assert alerts[0]["change"] == "opened"
    assert alerts[-1]["change"] == "closed"
    assert alerts[0]["machine"] == "press-7"
    assert alerts[0]["sensors"][0]["sensor"] == "pressure"
    opened = plant.milliseconds(alerts[0]["at"])
    assert 200 <= (opened - plant.START - 10**9) / 1000 < 240
    rows = list(csv.reader(scores.read_text().splitlines()))
    assert rows[0] == ["machine", "at", "score", "anomaly"]
    assert len(rows) == 1 + 400 - 9
    assert {row[3] for row in rows[1:]} == {"0", "1"}

    good = json.loads(anomalyd("evaluate", data, "--json").out)
    assert good["events"] == good["events_found"] == 1
    assert good["recall"] > 0.8
    assert good["files"] == 1
    assert "harmonic mean" in anomalyd("evaluate", data).out


def test_a_bundle_for_one_machine_serves_no_other(
    anomalyd: Run, config: Path, normal: Path, tmp_path: Path
) -> None:
    assert anomalyd("train", normal, "--machine", "press-7").code == 0
    assert anomalyd("replay", normal, "--machine", "press-7").code == 0
    assert anomalyd("replay", normal, "--machine", "press-8").code == 1

    label = range(200, 240)
    served = write(tmp_path / "press-7.csv", plant.history(400, faults=[label]), label=label)
    unserved = write(tmp_path / "press-8.csv", plant.history(400), label=label)
    shown = anomalyd("evaluate", served, unserved)
    assert shown.code == 0
    assert shown.err == "left out, as no bundle serves them: press-8\n"
    assert shown.out.splitlines()[0].split()[:2] == ["files", "1"]
    assert json.loads(anomalyd("evaluate", served, unserved, "--json").out)["rows"] == 400


def test_a_history_that_cannot_carry_a_model_is_refused_with_65_and_the_reason(
    anomalyd: Run, config: Path, tmp_path: Path
) -> None:
    at = np.arange(900, dtype=np.int64) * 1000
    cases = {
        "133 rows without holes are enough": plant.history(40),
        "constant": History("flat", ("a",), at, np.ones((900, 1))),
        "empty cells alone": History("empty", ("a",), at, np.full((900, 1), np.nan)),
    }
    for words, history in cases.items():
        path = write(tmp_path / "bad.csv", history)
        trained, checked = anomalyd("train", path), anomalyd("check-data", path, "--json")
        assert trained.code == 65, trained.err
        assert checked.code == 65
        answer = json.loads(checked.out)
        assert answer["usable"] is False
        assert words in " ".join(answer["errors"]), answer["errors"]
        assert all(error in trained.err for error in answer["errors"])
        assert not (tmp_path / "state" / "champions.json").exists()


def test_a_state_directory_that_cannot_be_written_is_told_before_anything_is_fitted(
    anomalyd: Run, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("no folder")
    path = write(tmp_path / "short.csv", plant.history(40))  # which a fit would refuse with 65
    ended = anomalyd("train", path)
    assert ended.code == 74
    assert f"anomalyd: {tmp_path}/state: must be writable, as bundles are kept in it, got " in ended.err


def test_what_an_earlier_turn_of_a_retraining_decided_is_told_before_the_error_of_a_later_one(
    anomalyd: Run, config: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    config.write_text(config.read_text() + "retrain: {gate: {max_error_ratio: 100}}\n")
    plant.promote(state, "2025-01-01T09-00-00Z-0001", machine="a-press")
    plant.promote(state, "2025-01-01T09-00-00Z-0002")
    store = Store(state / STORE)
    few, many = plant.history(10, machine="a-press"), plant.history(1000, machine="b-press")
    store.commit(Transaction(readings=[*readings(few), *readings(many)]))
    store.close()
    (state / "champions.lock").unlink()
    (state / "champions.lock").mkdir()  # nothing can be promoted any more

    as_json, plain = anomalyd("retrain", "--json"), anomalyd("retrain")
    assert (as_json.code, plain.code) == (74, 74)
    assert "champions.lock" in as_json.err
    (turn,) = json.loads(as_json.out)
    assert (turn["machine"], turn["reason"]) == ("a-press", "too_few_readings")
    assert plain.out.startswith(
        f"a-press: not promoted: {turn['text']}\nlearned     0 readings; of 10 stored\n"
    )


def test_a_fleet_is_trained_at_once_and_a_bad_machine_fails_alone(
    anomalyd: Run, config: Path, tmp_path: Path
) -> None:
    files = [write(tmp_path / f"press-{i}.csv", plant.history(600, machine=f"press-{i}")) for i in range(3)]
    still = write(tmp_path / "still.csv", History("still", ("a",), plant.history(600).at, np.ones((600, 1))))
    broken = tmp_path / "broken.csv"
    broken.write_text("timestamp,a\nnever,1\n")
    named = tmp_path / "two.csv"
    named.write_text("timestamp,machine,a\n1,hall/7,1\n")
    ended = anomalyd("train", "--per-machine", *files, still, broken, named, tmp_path / "none.csv", "--json")
    assert ended.code == 65
    answers = {turn["machine"]: turn for turn in json.loads(ended.out)}
    assert {name for name, turn in answers.items() if turn["promoted"]} == {"press-0", "press-1", "press-2"}
    assert answers["press-0"]["threshold"]["value"] > 0
    assert "machine still: history: must hold a sensor whose value changes" in ended.err
    assert f"machine broken: {broken}: column timestamp: must hold times" in ended.err
    assert "machine hall/7: a machine's name must be one level of a topic" in ended.err
    assert "machine none: " in ended.err
    assert ended.err.splitlines()[-1] == "4 of 7 machines got no bundle"
    listed = json.loads(anomalyd("models", "list", "--json").out)
    assert {row["machine"] for row in listed} == {"press-0", "press-1", "press-2"}

    again = anomalyd("train", "--per-machine", *files)
    assert again.code == 0, again.err
    lines = [line.split() for line in again.out.splitlines()[2:-1]]
    assert [line[0] for line in lines] == ["press-0", "press-1", "press-2"]
    assert all(line[2:4] == ["in", "service"] for line in lines)


def test_the_table_of_a_fleet_fits_into_a_terminal(
    anomalyd: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = plant.history(1100)
    values = history.values.copy()
    values[1040:] *= 100  # what the gate finds on rows that nothing was learned from
    odd = History("odd", history.sensors, history.at, values)
    files = [write(tmp_path / "press-1.csv", history), write(tmp_path / "odd.csv", odd)]
    monkeypatch.setattr("cli.tables.WIDE", 80)
    ended = anomalyd("train", "--per-machine", *files)
    assert ended.code == 0, ended.err
    headings, _, first, second, reports = ended.out.splitlines()
    assert headings.split() == ["machine", "bundle", "decision", "threshold", "alerts/d"]
    assert first.startswith("odd ")
    assert "refused: alert_rate" in first
    assert second.startswith("press-1 ")
    assert max(map(len, ended.out.splitlines()[:4])) <= 80
    assert reports == f"reports in {tmp_path}/state/bundles"
    assert "machine odd is not in service: " in ended.err


def test_an_interrupted_fleet_leaves_whole_bundles_and_their_champions_alone(
    config: Path, tmp_path: Path
) -> None:
    sensors = ("a", "b", "c")
    random = np.random.default_rng(0)
    files = []
    for width in range(1, 4):  # machines of different shapes, as each is converted for itself
        values = random.normal(size=(400, width)).cumsum(axis=0)
        history = History("", sensors[:width], plant.history(400).at, values)
        files.append(write(tmp_path / f"press-{width}.csv", history))
    registry = Registry(tmp_path / "state")
    command = [sys.executable, "-m", "cli", "train", "--per-machine", *map(str, files)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not registry.champions():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 1, err
    assert err.splitlines()[-1] == "anomalyd: stopped"
    assert "Traceback" not in err
    ids = registry.ids()
    assert 0 < len(ids) < 3
    champions = {name: line.champion for name, line in registry.champions().items()}
    assert {registry.read(bundle).manifest.machine: bundle for bundle in ids}.items() >= champions.items()
    assert {path.name for path in registry.bundles.iterdir()} == {*ids}, "nothing half-made is left"


def test_a_fleet_may_come_in_one_file(anomalyd: Run, config: Path, tmp_path: Path) -> None:
    path = tmp_path / "hall.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["timestamp", "machine", *plant.history(1).sensors])
        history = plant.history(600)
        for name in ("left", "right"):
            table.writerows(
                [at, name, *row] for at, row in zip(history.at.tolist(), history.values.tolist(), strict=True)
            )
    ended = anomalyd("train", "--per-machine", path, "--json")
    assert ended.code == 0, ended.err
    assert [turn["machine"] for turn in json.loads(ended.out)] == ["left", "right"]
    with path.open("a") as file:
        file.write("1,right,much,1,1\n2,,1,1,1\n")
    broken = anomalyd("train", "--per-machine", path)
    assert broken.code == 65
    assert broken.err.count("column machine: must hold the name of a machine") == 1
    assert "anomalyd: machines left, right: " in broken.err
    usage = anomalyd("train", "--per-machine", "--machine", "left", path)
    assert usage.code == 64
    assert "give one of them" in usage.err


def test_bundles_are_compared_pinned_and_pruned(anomalyd: Run, config: Path, normal: Path) -> None:
    ids = [json.loads(anomalyd("train", normal, "--json").out)["bundle"] for _ in range(2)]
    assert "nothing that matters" in anomalyd("models", "diff", *ids).out
    config.write_text(config.read_text().replace("window: 10", "window: 12"))
    third = json.loads(anomalyd("train", normal, "--json").out)
    differences = json.loads(anomalyd("models", "diff", ids[0], "--json").out)
    assert {
        "what": "window",
        "first": "10, stride 1, gaps up to 5",
        "second": "12, stride 1, gaps up to 5",
    } in (differences)
    assert f"{third['bundle']} is pinned" in anomalyd("models", "pin").out
    assert "champion, pinned" in anomalyd("models", "list").out
    refused = json.loads(anomalyd("train", normal, "--json").out)
    assert (refused["promoted"], refused["reason"]) == (False, "pinned")
    assert json.loads(anomalyd("models", "unpin", "--json").out)["pinned"] is False
    would = json.loads(anomalyd("models", "prune", "--max-size", "1B", "--dry-run", "--json").out)
    assert (would["bundles"], would["deleted"]) == ([ids[0]], False)
    assert f"deleted {ids[0]}, " in anomalyd("models", "prune", "--max-size", "1B").out
    assert "nothing to delete" in anomalyd("models", "prune", "--max-size", "1B").out
    wrong = anomalyd("models", "prune", "--max-size", "much")
    assert wrong.code == 64
    assert "must be a whole number with a unit of size" in wrong.err
