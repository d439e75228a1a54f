"""`make bench`: what is fast and small, as ratios; fails only where one is far below what it should be.

`python -m bench` takes the short versions of all parts, `--full` takes everything and writes the tables,
the pictures and results.json of docs/performance.md. Names of parts measure these alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from bench.results import Result, keep, machine, ratios_table
from bench.stage import Plant, make_plant, mosquitto, progress

PARTS = ("receiving", "latency", "footprint", "replaying", "training", "scaling")
FULL = ("hot_path", "comparing")  # no ratio of theirs has to hold, so the short version leaves them out


def measured(part: str, plant: Plant, *, full: bool) -> Result:
    """Runs one part, which is imported only now: processes that it starts may not carry the others."""
    module = import_module(f"bench.{part}")
    result: Result = module.measure(plant) if part in FULL else module.measure(plant, full=full)
    return result


def main() -> int:
    """Prints tables and ratios; returns how many ratios are beyond their limits."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="everything, written into docs/performance.md")
    parser.add_argument("part", nargs="*", help="these parts alone")
    options = parser.parse_args()
    known = (*PARTS, *FULL) if options.full else PARTS
    unknown = [name for name in options.part if name not in known]
    if unknown:
        parser.error(f"part: must be one of {', '.join(known)}, got {', '.join(unknown)}")
    print(machine())
    results = {}
    with tempfile.TemporaryDirectory() as name, mosquitto(Path(name)) as port:
        progress("training the model that all parts use")
        plant = make_plant(Path(name) / "plant", port)
        for part in options.part or known:
            started = time.monotonic()
            results[part] = measured(part, plant, full=options.full)
            progress(f"{part}: {time.monotonic() - started:.0f} s")
            for table in results[part].tables:
                print(f"\n{part}: {table.name}\n{table.markdown()}")
    ratios = [ratio for result in results.values() for ratio in result.ratios]
    print(f"\n{ratios_table(ratios).markdown()}")
    if options.full:
        keep(results)
    failed = [ratio for ratio in ratios if ratio.failed]
    for ratio in failed:
        bound = "at most" if ratio.most else "at least"
        print(f"{ratio.what}: must be {bound} {ratio.limit:g}, got {ratio.value:.3g}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
