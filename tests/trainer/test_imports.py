from __future__ import annotations

import subprocess
import sys


def test_reading_and_evaluating_history_does_not_load_tensorflow() -> None:
    program = (
        "import sys, trainer.history_files, trainer.verdict, trainer.evaluation, trainer.gate, "
        "trainer.training; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "pandas" in loaded
    assert not loaded & {"tensorflow", "keras"}


def test_importing_tensorflow_writes_nothing_to_the_terminal() -> None:
    program = "from trainer.keras_backend import load; load()"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")
