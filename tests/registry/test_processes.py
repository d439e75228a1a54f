"""What several processes, and one that is killed, make of a registry."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from registry.bundle import MODEL
from registry.champions import Registry
from tests.detector.examples import manifest, tflite

ROOT = Path(__file__).parents[2]

PROMOTE = """
import sys
from pathlib import Path
from registry.champions import Registry
registry = Registry(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for bundle in sys.argv[2:]:
    registry.promote(bundle)
"""

DIE = """
import os, signal, sys
from pathlib import Path
from registry.champions import Registry
from tests.detector.examples import manifest, tflite

rename = Path.rename
def killed(path, target):
    os.kill(os.getpid(), signal.SIGKILL)
Path.rename = killed
registry = Registry(Path(sys.argv[1]))
if sys.argv[2] == "add":
    registry.add(manifest("two"), {"model.tflite": tflite()})
else:
    registry.promote("two")
"""


def add(registry: Registry, name: str, machine: str | None = None) -> str:
    return registry.add(manifest(name, machine=machine), {MODEL: tflite()}).manifest.id


def test_two_processes_that_promote_at_once_lose_nothing(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    names = [[add(registry, f"{line}-{i}", machine=f"{line}-{i}") for i in range(25)] for line in "ab"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROMOTE, str(tmp_path), *own],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for own in names
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        with process:
            pass
        assert process.returncode == 0
    assert set(registry.champions()) == {name for own in names for name in own}


@pytest.mark.parametrize("act", ["add", "promote"])
def test_a_process_that_is_killed_before_the_rename_changes_nothing(tmp_path: Path, act: str) -> None:
    registry = Registry(tmp_path)
    registry.promote(add(registry, "one"))
    if act == "promote":
        add(registry, "two")
    before = registry.ids(), registry.champions(), registry.version()
    done = subprocess.run([sys.executable, "-c", DIE, str(tmp_path), act], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (registry.ids(), registry.champions(), registry.version()) == before

    if act == "add":
        add(registry, "two")  # what the dead process left is in nobody's way
    assert registry.promote("two").id == "two"
