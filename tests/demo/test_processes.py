from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from demo.processes import running
from tests.demo.leftovers import MARK, marked
from tests.waiting import wait_until

LEADER = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(600)"])
time.sleep(600)
"""

PLAY = f"""
import sys
from demo.processes import Stopped, running, stoppable, workplace
import subprocess
try:
    with stoppable(), workplace() as folder:
        (folder / "file").write_text("x")
        with running([sys.executable, "-c", {LEADER!r}], stdout=subprocess.PIPE, stderr=None) as process:
            assert process.stdout is not None
            print(process.stdout.readline().strip(), flush=True)
            process.wait()
except Stopped as stopped:
    print(stopped, flush=True)
"""


def test_nothing_that_a_command_started_outlives_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, "block")
    with running([sys.executable, "-c", LEADER], stdout=subprocess.PIPE, stderr=None) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert len(marked("block")) == 2
    wait_until(lambda: not marked("block"), "the end of all that was killed")


def test_settings_of_a_real_daemon_do_not_reach_the_demonstrations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALYD_MQTT__HOST", "plant.example")
    code = "import os; print([name for name in os.environ if name.startswith('ANOMALYD_')])"
    with running([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=None) as process:
        assert process.communicate()[0] == "[]\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_process_and_no_folder(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MARK, number.name)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", PLAY], stdout=subprocess.PIPE, text=True) as play:
        assert play.stdout is not None
        assert play.stdout.readline() == "ready\n"
        play.send_signal(number)
        play.send_signal(number)  # an impatient second one must not cut the clean-up short
        assert play.communicate(timeout=30)[0] == f"{number.name}\n"
    assert play.returncode == 0
    wait_until(lambda: not marked(number.name), "the end of all that was killed")
    assert list(tmp_path.iterdir()) == []
