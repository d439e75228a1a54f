"""`python -m trainer` is `anomalyd train`."""

from __future__ import annotations

import sys

from cli.main import main

main(["train", *sys.argv[1:]])
