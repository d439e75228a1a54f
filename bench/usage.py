"""What a process has used, as Linux counts it; imports nothing that would be counted too."""

from __future__ import annotations

import os
import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import cache_from_source
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(process: int) -> float:
    """CPU time of all threads of a process, user and system."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(process: int | str = "self") -> float:
    """Resident memory of a process in MiB."""
    return int(Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1]) * PAGE / 2**20


def installed(name: str) -> dict[str, float]:
    """Megabytes on disk of a package and all that it needs, compiled files too, by package, largest first."""
    found: dict[str, float] = {}
    waiting = [name]
    while waiting:
        try:
            package = distribution(waiting.pop())
        except PackageNotFoundError:
            continue  # for another platform or another version of Python
        if package.name in found:
            continue
        found[package.name] = _size(package) / 1e6
        needed = [each for each in package.requires or () if "extra ==" not in each]
        waiting += [re.split(r"[^\w.-]", each, maxsplit=1)[0] for each in needed]
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _size(package: Distribution) -> int:
    files = {Path(str(file.locate())) for file in package.files or ()}
    files |= {Path(cache_from_source(str(file))) for file in files if file.suffix == ".py"}
    return sum(file.stat().st_size for file in files if file.is_file())
