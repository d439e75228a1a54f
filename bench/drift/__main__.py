"""`make bench-drift`: retraining as shipped, beside none and a blind one, written into docs/retraining.md.

What was measured before with the same code is not measured again, so it may be stopped at any time.
"""

from __future__ import annotations

import argparse
import sys

from bench.detection.protocol import DATA
from bench.drift import page, works
from bench.stage import progress

PARTS = {"recordings": works.recordings, "pumps": works.pumps}


def main() -> int:
    """Measures and prints; writes if asked to."""
    parser = argparse.ArgumentParser(prog="python -m bench.drift", description=__doc__)
    parser.add_argument("part", nargs="*", help=f"{' and '.join(PARTS)}; both by default")
    parser.add_argument("--over", nargs="*", help="these machines alone")
    parser.add_argument("--write", action="store_true", help="into docs/retraining.md")
    options = parser.parse_args()
    unknown = set(options.part) - PARTS.keys()
    if unknown:
        parser.error(f"part: must be among {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    if not DATA.is_dir() and "pumps" not in options.part:
        parser.error(f"{DATA}: must hold the recordings, got nothing; ANOMALYD_DATA names another folder")
    chosen = [work for part in options.part or PARTS for work in PARTS[part]()]
    if options.over:
        chosen = [work for work in chosen if any(name in str(work) for name in options.over)]
    results = works.walked(chosen, told=progress)
    for table in page.tables(results):
        print(f"\n{table.name}\n{table.markdown()}")
    if options.write:
        page.write(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
