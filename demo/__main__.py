"""`python -m demo`: the demonstration with its defaults; `anomalyd demo` has the options."""

import sys

from demo.stage import run

if __name__ == "__main__":
    sys.exit(run(seconds=None, headless=False, seed=0))
