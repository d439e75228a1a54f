from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"tensorflow", "keras", "pandas", "sklearn", "pyarrow"}


@pytest.mark.parametrize(
    "modules", ["detector.pipeline, detector.replay, detector.history, detector.litert", "registry.champions"]
)
def test_the_detector_and_the_registry_import_nothing_that_only_training_needs(modules: str) -> None:
    program = f"import sys, {modules}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert {"detector", "numpy"} <= loaded
    assert not loaded & HEAVY
