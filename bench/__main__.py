"""`make bench`: the short benchmarks; fails only where a ratio is far below what it should be."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from bench.receiving import bare, whole
from bench.replaying import rates
from bench.stage import make_plant
from demo.broker import broker

LEAST_RECEIVING = 0.05  # of paho alone; what is reached stands in docs/figures.md
LEAST_REPLAYING = 0.02  # of LiteRT alone


def main() -> int:
    """Prints the figures; returns how many are too low."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, ", end="")
    print(f"paho {version('paho-mqtt')}, LiteRT {version('ai-edge-litert')}")
    failures = 0
    for machines in (1, 1000):
        with tempfile.TemporaryDirectory() as folder, broker(Path(folder), kind="mosquitto") as address:
            plant = make_plant(Path(folder), address.port)
            if machines == 1:
                figures = rates(plant)
                print("replay      " + _line(figures))
                failures += figures["ratio"] < LEAST_REPLAYING
            alone, ours = bare(plant, machines), whole(plant, machines)
        ratio = ours["readings/s"] / alone["readings/s"]
        print(f"{machines} machine(s), QoS 1, 8 sensors, window 30, every reading stored and scored")
        print("  paho alone " + _line(alone))
        print("  anomalyd   " + _line(ours) + f"   ratio {ratio:.2f}")
        failures += ratio < LEAST_RECEIVING
    if failures:
        print(f"{failures} ratio(s) too low", file=sys.stderr)
    return failures


def _line(figures: dict[str, float]) -> str:
    return "   ".join(f"{name} {number:,.4g}" for name, number in figures.items())


sys.exit(1 if main() else 0)
