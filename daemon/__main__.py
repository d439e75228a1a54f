"""`python -m daemon` is `anomalyd run`."""

from __future__ import annotations

import sys

from cli.main import main

main(["run", *sys.argv[1:]])
