"""Runs commands in this process, as a shell would see them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import TIMEOUT_MAX
from typing import Any

import pytest

from cli.main import main
from tests.conftest import Setup

Answer = dict[str, list[dict[str, Any]]]  # findings by check
Doctor = Callable[..., tuple[int, Answer]]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a command takes, it says no more than a quick one."""
    monkeypatch.setattr("cli.progress.EVERY", TIMEOUT_MAX)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with a state directory of its own, found by $ANOMALYD_CONFIG."""
    path = tmp_path / "anomalyd.yaml"
    path.write_text(
        f"state_dir: {tmp_path}/state\nreadings: {{interval: 1s}}\n"
        "trainer: {window: 10, model: {kind: dense, epochs: 3}}\n"
    )
    monkeypatch.setenv("ANOMALYD_CONFIG", str(path))
    return path


@pytest.fixture
def anomalyd(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """`anomalyd ARGUMENTS`."""

    def run(*arguments: object) -> Ended:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Ended(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture
def doctor(anomalyd: Callable[..., Ended]) -> Doctor:
    """Runs `anomalyd doctor --json`; returns its exit code and what it found, by check."""

    def run(setup: Setup, *options: str, wait: int = 0) -> tuple[int, Answer]:
        ended = anomalyd("doctor", "--json", "--wait", f"{wait}s", "--config", setup.file, *options)
        assert ended.err == ""
        answer = json.loads(ended.out)
        found: Answer = {}
        for finding in answer["findings"]:
            found.setdefault(finding["check"], []).append(finding)
        failures = [each for each in answer["findings"] if each["verdict"] == "failure"]
        assert answer["failures"] == len(failures)
        assert (ended.code != 0) == bool(failures)
        return ended.code, found

    return run


def failed(found: Answer) -> set[str]:
    """The checks that failed."""
    return {check for check, findings in found.items() for each in findings if each["verdict"] == "failure"}
