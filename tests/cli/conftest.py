"""Runs commands in this process, as a shell would see them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import TIMEOUT_MAX

import pytest

from cli.main import main


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
