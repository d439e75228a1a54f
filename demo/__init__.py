"""The one-command demonstration: a simulated pump, its training, its daemon, its faults and its alerts."""

from demo.stage import run

__all__ = ["run"]
