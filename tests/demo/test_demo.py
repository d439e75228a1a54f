from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.demo.leftovers import MARK, marked
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path, request: pytest.FixtureRequest) -> Start:
    """Starts the demonstration, marked by the test's name, with its temporary files under tmp_path."""

    def started(*options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "cli", "demo", "--headless", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {MARK: request.node.name, "TMPDIR": str(tmp_path)},
        )

    return started


def test_the_demonstration_succeeds_and_leaves_nothing(
    start: Start, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with start("--seconds", "40") as demo:
        said, errors = demo.communicate(timeout=300)
    assert demo.returncode == 0, f"{said}\n{errors}"
    assert "ALERT opened" in said
    assert "ALERT closed" in said
    assert "\x1b" not in said
    wait_until(lambda: not marked(request.node.name), "the end of all that was killed")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("reached", ["Training", "Normal running"])
def test_a_demonstration_that_is_stopped_leaves_nothing(
    reached: str, start: Start, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with start() as demo:
        assert demo.stdout is not None
        while reached not in demo.stdout.readline():
            assert demo.poll() is None
        demo.send_signal(signal.SIGTERM)
        said, _ = demo.communicate(timeout=60)
    assert said.splitlines()[-1].endswith("Stopped by SIGTERM; nothing is left running.")
    assert demo.returncode == 1
    wait_until(lambda: not marked(request.node.name), "the end of all that was killed")
    assert list(tmp_path.iterdir()) == []
