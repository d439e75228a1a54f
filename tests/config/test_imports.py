"""What the configuration costs to import."""

from __future__ import annotations

import subprocess
import sys


def test_the_configuration_imports_nothing_heavy() -> None:
    program = "import sys, config; config.load(None, {}); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert "config" in loaded
    assert not loaded & {"tensorflow", "keras", "pandas", "sklearn", "pyarrow", "numpy", "pydantic_settings"}
