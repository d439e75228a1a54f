"""`make bench-detection`: all detectors on all recordings, written into docs/detection.md.

What was measured before with the same code is not measured again, so it may be stopped at any time.
"""

from __future__ import annotations

import argparse
import sys

from bench.detection import live, page
from bench.detection.protocol import DATA, SETS, sources
from bench.detection.running import Work, detectors, measured
from bench.stage import progress


def main() -> int:
    """Measures, prints and writes; fails if alerts differ between a real daemon and replay."""
    parser = argparse.ArgumentParser(prog="python -m bench.detection", description=__doc__)
    parser.add_argument("--sets", nargs="*", choices=SETS, help="these alone, printed and not written")
    parser.add_argument("--detectors", nargs="*", choices=detectors(), help="the same")
    options = parser.parse_args()
    if not DATA.is_dir():
        parser.error(f"{DATA}: must hold the recordings, got nothing; ANOMALYD_DATA names another folder")
    works = [
        Work(name, source)
        for name in options.detectors or detectors()
        for source in sources()
        if source.of in (options.sets or SETS)
    ]
    results = measured(works, told=progress)
    in_order = {work: results[work] for work in works}
    if options.sets or options.detectors:
        for name, content in page.contents(in_order, "").items():
            print(f"\n{name}\n{content}")
        return 0
    progress("the same alerts from a real daemon and from replay")
    same, said = live.said()
    page.write(in_order, said)
    print(said)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
