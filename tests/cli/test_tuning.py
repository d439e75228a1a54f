from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import plant
from tests.cli.conftest import Ended
from tests.cli.test_training import write

Run = Callable[..., Ended]


@pytest.fixture
def normal(tmp_path: Path) -> Path:
    return write(tmp_path / "normal.csv", plant.history(400))


def test_what_is_found_is_written_checked_and_trained_with(
    anomalyd: Run, config: Path, tmp_path: Path, normal: Path
) -> None:
    best, report = tmp_path / "best.yaml", tmp_path / "report.html"
    files = ("--output", best, "--report", report)
    ended = anomalyd("tune", normal, "--trials", 3, "--over", "window,smoothing", *files)
    assert ended.code == 0, ended.err
    assert ended.err.splitlines()[0].startswith("trial 0: ")
    assert ended.err.splitlines()[0].endswith(", as configured (the best so far)")
    assert "3 trials: as many trials as asked for" in ended.err
    assert f"{best}: its section `trainer:` takes the place of the one in the configuration" in ended.err
    assert [line.split()[0] for line in ended.out.splitlines() if line.startswith("score")] == ["score"]
    checked = anomalyd("check", "--config", best)
    assert (checked.code, checked.out) == (0, f"{best}: no problem found\n")
    best.write_text(f"{best.read_text()}state_dir: {tmp_path}/state\n")
    assert anomalyd("train", normal, "--config", best).code == 0
    assert "<svg" in report.read_text()
    assert "http" not in report.read_text().replace("http://www.w3.org", "")

    refused = anomalyd("tune", normal, "--trials", 3, "--output", best)
    assert refused.code == 64
    assert f"--output {best}: is there already; --force overwrites it" in refused.err


def test_all_is_told_as_json_and_a_study_goes_on(
    anomalyd: Run, config: Path, tmp_path: Path, normal: Path
) -> None:
    study = ("--study", tmp_path / "study", "--over", "error", "--sampler", "grid", "--json")
    first = anomalyd("tune", normal, *study, "--trials", 1)
    assert first.code == 0, first.err
    answer = json.loads(first.out)
    assert (answer["ended"], answer["best"], answer["configured"], answer["improved"]) == (
        "trials",
        0,
        0,
        False,
    )
    (trial,) = answer["trials"]
    assert trial["options"] == {"error": "mse"}
    assert trial["problem"] is None
    assert 0 < trial["score"] <= 1
    assert trial["marks"]["faults"].keys() >= {"spike", "drift"}
    second = anomalyd("tune", normal, *study)
    assert second.err.startswith("going on after 1 trial\ntrial 1: ")
    answer = json.loads(second.out)
    assert answer["ended"] == "everything_tried"
    assert answer["trials"][0] == trial
    assert {one["options"]["error"] for one in answer["trials"]} == {"mse", "rmse", "mae"}

    other = anomalyd("tune", normal, "--study", tmp_path / "study")
    assert other.code == 65
    assert "must be a study of the same search, got another options" in other.err
    assert anomalyd("tune", normal, "--study", normal).code == 65


def test_real_faults_are_found_too_where_they_are_labelled(
    anomalyd: Run, config: Path, tmp_path: Path
) -> None:
    fault = range(300, 340)
    path = write(tmp_path / "labelled.csv", plant.history(500, faults=[fault]), label=fault)
    ended = anomalyd("tune", path, "--trials", 1, "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["trials"][0]["marks"]["labelled"] > 0.5


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--over", "window,lr"), "--over: must be some of window, imputation, "),
        (("--over", "windw"), "got 'windw'; nearest known: window"),
        (("--over", "learnig_rate,nois"), "got 'learnig_rate'; nearest known: model.learning_rate"),
        (("--over", "learnig_rate,nois"), "got 'nois'; nearest known: model.noise"),
        (("--over", "threshold.k"), "--over: must be some of window, imputation, "),
        (("--time-budget", "10"), "must be a whole number with a unit of time, got 10; such as"),
        (("--time-budget", "0s"), "must be more than 0s, got 0s"),
        (("--trials", "0"), "0 is not in the range x>=1"),
        (("--sampler", "best"), "'best' is not one of 'tpe', 'random', 'grid'"),
    ],
)
def test_what_cannot_be_searched_is_a_usage_error(
    anomalyd: Run, config: Path, normal: Path, arguments: tuple[str, ...], text: str
) -> None:
    ended = anomalyd("tune", normal, *arguments)
    assert ended.code == 64
    assert text in ended.err


def test_a_mistyped_option_is_refused_before_anything_is_read(anomalyd: Run, config: Path) -> None:
    assert anomalyd("tune", "nowhere.csv", "--over", "windw").code == 64
    assert anomalyd("tune", "nowhere.csv", "--over", "window").code == 74


@pytest.mark.parametrize("option", ["--output", "--report"])
def test_a_file_that_cannot_be_written_is_told_before_the_search(
    anomalyd: Run, config: Path, tmp_path: Path, option: str
) -> None:
    path = tmp_path / "nowhere" / "file"
    ended = anomalyd("tune", "nowhere.csv", option, path)
    assert ended.code == 74
    assert ended.err == f"anomalyd: {path}: cannot be written: there is no folder {path.parent}\n"


def test_what_was_in_a_file_stays_until_the_search_is_over(
    anomalyd: Run, config: Path, tmp_path: Path, normal: Path
) -> None:
    path = tmp_path / "best.yaml"
    path.write_text("before")
    assert anomalyd("tune", "nowhere.csv", "--output", path).code == 64
    assert anomalyd("tune", "nowhere.csv", "--output", path, "--force").code == 74
    assert path.read_text() == "before"


def test_a_history_that_is_too_short_ends_with_65_and_the_rows_that_are_enough(
    anomalyd: Run, config: Path, tmp_path: Path
) -> None:
    ended = anomalyd("tune", write(tmp_path / "short.csv", plant.history(120)), "--trials", 1)
    assert ended.code == 65
    assert "got 120 rows; 146 rows without holes are enough at trainer.window 2" in ended.err


def test_where_every_trial_fails_the_reasons_are_told(
    anomalyd: Run, config: Path, tmp_path: Path, normal: Path
) -> None:
    config.write_text(config.read_text().replace("window: 10", "window: 150"))
    ended = anomalyd("tune", normal, "--trials", 1)
    assert ended.code == 65
    assert ended.err.splitlines()[-2:] == [
        "anomalyd: no trial succeeded",
        ended.err.splitlines()[0],
    ]
    assert ended.err.startswith("trial 0: history: must give 50 windows to fit on")


class Process:
    """`anomalyd tune` as a process of its own, whose lines on stderr can be waited for."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "cli", "tune", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.said: list[str] = []

    def wait_for(self, start: str) -> None:
        assert self.process.stderr is not None
        while not (self.said and self.said[-1].startswith(start)):
            line = self.process.stderr.readline()
            assert line, self.said
            self.said.append(line)

    def end(self, number: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(number)
        out, rest = self.process.communicate()
        self.said += rest.splitlines(keepends=True)
        return self.process.returncode, out


@pytest.mark.slow
def test_ctrl_c_keeps_and_writes_what_was_found(config: Path, tmp_path: Path, normal: Path) -> None:
    best = tmp_path / "best.yaml"
    process = Process(normal, "--time-budget", "1h", "--output", best)
    process.wait_for("trial 1: ")
    code, out = process.end(signal.SIGINT)
    assert code == 0, process.said
    assert "stopped; what was found is kept" in "".join(process.said)
    assert "score" in out
    assert "trainer:" in best.read_text()


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on(anomalyd: Run, config: Path, tmp_path: Path, normal: Path) -> None:
    study = ("--study", tmp_path / "study")
    process = Process(normal, "--time-budget", "1h", *study)
    process.wait_for("trial 1: ")
    code, _ = process.end(signal.SIGKILL)
    assert code == -signal.SIGKILL
    ended = anomalyd("tune", normal, "--trials", 4, *study, "--json")
    assert ended.code == 0, ended.err
    assert ended.err.startswith("going on after ")
    trials = json.loads(ended.out)["trials"]
    assert len(trials) == 4
    told = [line.partition(",")[0] for line in process.said if line.startswith("trial")]
    assert [f"trial {trial['number']}: {trial['score']:.3f}" for trial in trials[: len(told)]] == told
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"anomalyd.yaml", "normal.csv", "study"}, "no lock is left"
