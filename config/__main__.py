"""Prints the JSON Schema: `python -m config > config/anomalyd.schema.json` renews the copy beside this."""

from __future__ import annotations

import json
import sys

from config import json_schema

sys.stdout.write(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")
