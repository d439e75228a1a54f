"""A turn that is killed at any of its stages leaves whole files alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from registry.champions import Registry
from registry.incidents import Incidents
from registry.turns import Record, Turns
from tests.trainer.test_judging import Plant, healthy, moved, wishes

STAGES = ("comparing with the champion", "writing the bundle", "putting it into service", "writing it down")

KILLED = """
import os, signal, sys
from pathlib import Path
from tests.trainer.test_judging import Plant, moved, wishes

def progress(stage):
    if stage.text == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

plant = Plant(Path(sys.argv[1]), wishes())
plant.minutes = 1
plant.turn(moved(), progress=progress)
"""


@pytest.mark.parametrize("stage", STAGES)
def test_a_turn_that_is_killed_leaves_champions_and_records_whole_and_the_next_one_goes_on(
    tmp_path: Path, stage: str
) -> None:
    plant = Plant(tmp_path, wishes())
    first = plant.turn(healthy(2000)).trained.manifest.id
    ended = subprocess.run([sys.executable, "-c", KILLED, tmp_path, stage], check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    registry = Registry(tmp_path)
    promoted = stage == "writing it down"
    ids = registry.ids()
    assert len(ids) == 1 + (stage in STAGES[2:])
    for bundle in ids:
        registry.read(bundle)
    assert registry.champion_of(None) == (ids[-1] if promoted else first)
    assert all(isinstance(one, Record) for one in Turns(tmp_path).all())
    assert Turns(tmp_path).ids() == [first]
    assert len(Incidents(tmp_path).all()[0]) == 1
    plant.minutes += 1
    turn = plant.turn(moved())
    assert turn.decision.promote is not promoted, turn.decision.text
    assert len(Turns(tmp_path).ids()) == 2
