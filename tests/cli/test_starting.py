"""What the daemon imports before it is ready: each library that it has no use for costs time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

UNUSED = {
    *("amqtt", "demo", "trainer"),
    *("keras", "pandas", "pyarrow", "sklearn", "tensorflow"),
    *("pydantic", "pygments", "rich", "typing_extensions"),
}


def test_the_daemon_imports_nothing_that_it_has_no_use_for(tmp_path: Path) -> None:
    config = tmp_path / "anomalyd.yaml"
    settings = {"state_dir": str(tmp_path / "state"), "mqtt": {"port": 1}, "log": {"format": "json"}}
    config.write_text(json.dumps(settings), encoding="utf-8")
    program = (
        "import atexit, sys; from cli.main import main; "
        f"atexit.register(lambda: print(*sys.modules)); main(['run', '--config', {str(config)!r}])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stderr is not None
        while "broker_lost" not in daemon.stderr.readline():  # it heeds signals by then
            assert daemon.poll() is None
        daemon.terminate()
        modules, _ = daemon.communicate()
    assert daemon.returncode == 0
    imported = {name.partition(".")[0] for name in modules.split()}
    assert {"ai_edge_litert", "config", "daemon", "numpy", "paho", "structlog"} <= imported
    assert not imported & UNUSED


def test_importing_lean_hides_nothing_for_good() -> None:
    program = (
        "import os; from cli.lean import import_lean; import_lean(); "
        "print(len(os.listdir('/proc/self/task')), 'OPENBLAS_NUM_THREADS' in os.environ); "
        "import rich, typing_extensions"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1 False\n"
