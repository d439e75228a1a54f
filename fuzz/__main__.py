"""Runs both targets for so many minutes, each on a core of its own; an input that breaks one is kept.

`make fuzz MINUTES=10`
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests import plant
from tests.daemon.nonsense import nonsense

SEEDS = 300  # inputs to begin with
TARGETS = ("decoding", "stepping")
FOUND = Path(".fuzz")  # what was interesting, to begin with the next time, and what broke something


def main(minutes: float) -> int:
    """How many targets broke."""
    processes = []
    for target in TARGETS:
        corpus = FOUND / target
        corpus.mkdir(parents=True, exist_ok=True)
        for number, (_, payload) in enumerate(nonsense(1, SEEDS, start=plant.START)):
            (corpus / f"seed-{number}").write_bytes(bytes([number % 256]) + payload)
        options = [f"-max_total_time={round(minutes * 60)}", f"-artifact_prefix={corpus}.", "-max_len=4096"]
        command = [sys.executable, "-m", f"fuzz.{target}", str(corpus), *options]
        processes.append(subprocess.Popen(command))
    codes = [process.wait() for process in processes]
    for target, code in zip(TARGETS, codes, strict=True):
        print(f"{target}: {'nothing found' if code == 0 else 'BROKEN, see above'}")
    return sum(code != 0 for code in codes)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
