"""What a benchmark found: tables for people, ratios that must hold, and the files that keep both."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

Cell = str | int | float | None

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
FIGURES = DOCUMENT.parent / "performance"  # pictures and results.json
LIBRARIES = ("paho-mqtt", "ai-edge-litert", "numpy", "msgspec", "tensorflow", "keras")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under column titles; `name` is the marker in docs/performance.md where the table stands."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def markdown(self) -> str:
        """The table as Markdown; numbers are right-aligned and cut to three or four digits."""
        numeric = [
            any(isinstance(cell, float | int) for cell in column) for column in zip(*self.rows, strict=True)
        ]
        lines = [self.columns, ["---:" if right else "---" for right in numeric], *self.rows]
        return "\n".join("| " + " | ".join(map(text, line)) + " |" for line in lines)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of two things measured in one run.

    Attributes:
        what: What was divided by what.
        value: The ratio.
        goal: What it should reach.
        limit: `make bench` fails beyond it; far enough from the goal that no noise gets there.
        most: Whether goal and limit are upper bounds.
    """

    what: str
    value: float
    goal: float
    limit: float
    most: bool = False

    @property
    def reached(self) -> bool:
        """Whether the goal is reached."""
        return self.value <= self.goal if self.most else self.value >= self.goal

    @property
    def failed(self) -> bool:
        """Whether it is beyond the limit."""
        return not (self.value <= self.limit if self.most else self.value >= self.limit)


@dataclass(frozen=True, slots=True)
class Result:
    """What one benchmark found; `pictures` are SVG texts by file name."""

    tables: tuple[Table, ...] = ()
    ratios: tuple[Ratio, ...] = ()
    pictures: dict[str, str] = field(default_factory=dict)


def text(cell: Cell) -> str:
    """A cell as people read it: `12,300`, `83.1`, `.54`; None is a dash."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int):
        return f"{cell:,}"
    if abs(cell) >= 1000:
        return f"{float(f'{cell:.3g}'):,.0f}"
    return f"{cell:.3g}".replace("0.", ".", 1) if 0 < abs(cell) < 1 else f"{cell:.3g}"


def ratios_table(ratios: Iterable[Ratio]) -> Table:
    """All ratios beside their goals."""
    rows = tuple(
        (
            ratio.what,
            f"{text(ratio.value)} ×",
            f"{'at most' if ratio.most else 'at least'} {text(ratio.goal)} ×",
            "yes" if ratio.reached else "**no**",
        )
        for ratio in ratios
    )
    return Table("goals", ("ratio", "measured", "goal", "reached"), rows)


def machine() -> str:
    """The machine and the versions that the figures belong to, in one line."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    parts = [
        f"{model[1].strip() if model else platform.machine()}, {os.cpu_count()} cores",
        f"Linux {platform.release().partition('-')[0]}",
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in LIBRARIES),
    ]
    return ", ".join(parts)


def keep(results: dict[str, Result], document: Path = DOCUMENT, figures: Path = FIGURES) -> None:
    """Writes results into the document, between `<!-- NAME -->` and `<!-- /NAME -->`, and as JSON and SVG.

    Parts that were not measured this time keep what stands there.

    Raises:
        ValueError: The document has no place for a table.
    """
    figures.mkdir(parents=True, exist_ok=True)
    kept_file = figures / "results.json"
    kept = json.loads(kept_file.read_text(encoding="utf-8")) if kept_file.exists() else {}
    measured = {"measured_on": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine()}
    kept |= {part: measured | _content(result) for part, result in results.items()}
    kept_file.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = document.read_text(encoding="utf-8")
    for result in results.values():
        for table in result.tables:
            page = filled(page, table.name, table.markdown())
        for name, picture in result.pictures.items():
            (figures / name).write_text(picture, encoding="utf-8")
    parts = sorted(kept, key=lambda part: page.find(f"<!-- {kept[part]['tables'][0]['name']} -->"))
    ratios = [Ratio(**ratio) for part in parts for ratio in kept[part]["ratios"]]
    page = filled(page, "goals", ratios_table(ratios).markdown())
    on = "\n".join(f"- {part}: {kept[part]['measured_on']}, {kept[part]['machine']}" for part in parts)
    document.write_text(filled(page, "machines", on), encoding="utf-8")


def _content(result: Result) -> dict[str, object]:
    return {
        "tables": [asdict(table) for table in result.tables],
        "ratios": [asdict(ratio) for ratio in result.ratios],
    }


def filled(page: str, name: str, content: str) -> str:
    """The page with this content in its place of that name.

    Raises:
        ValueError: It has no such place.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"page: must have a place {begin} … {end}, got none")
    return f"{before}{begin}\n{content}\n{end}{after}"
