from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest

from bench.charts import chart
from bench.results import Ratio, Result, Table, keep, text

PLACES = ("goals", "speed", "delay", "machines")
PAGE = "# Performance\n" + "".join(f"<!-- {name} -->\nold\n<!-- /{name} -->\n" for name in PLACES) + "Last.\n"
TABLE = Table("speed", ("what", "readings/s"), (("paho", 18_432.1), ("anomalyd", 0.5374), ("none", None)))


@pytest.mark.parametrize(
    "name", ["receiving", "latency", "scaling", "hot_path", "comparing", "detection.page"]
)
def test_every_benchmark_can_be_imported(name: str) -> None:
    assert import_module(f"bench.{name}").__doc__


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        (18_432.1, "18,400"),
        (83.14, "83.1"),
        (0.5374, ".537"),
        (-0.25, "-.25"),
        (0.0, "0"),
        (10_000, "10,000"),
        (None, "–"),
        ("as it is", "as it is"),
    ],
)
def test_a_number_is_cut_to_what_a_reader_needs(cell: str | float | None, written: str) -> None:
    assert text(cell) == written


def test_a_table_is_markdown_with_numbers_on_the_right() -> None:
    assert TABLE.markdown() == (
        "| what | readings/s |\n| --- | ---: |\n| paho | 18,400 |\n| anomalyd | .537 |\n| none | – |"
    )


def test_a_ratio_knows_its_goal_and_its_limit_on_either_side() -> None:
    least = Ratio("speed", 0.5, goal=0.6, limit=0.3)
    most = Ratio("delay", 2.0, goal=3.0, limit=9.0, most=True)
    assert (least.reached, least.failed) == (False, False)
    assert (most.reached, most.failed) == (True, False)
    assert Ratio("speed", 0.2, goal=0.6, limit=0.3).failed
    assert Ratio("delay", 10.0, goal=3.0, limit=9.0, most=True).failed
    assert Ratio("nothing measured", float("nan"), goal=0.6, limit=0.3).failed


def test_results_fill_their_places_and_leave_what_was_not_measured(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(PAGE, encoding="utf-8")
    first = Result((TABLE,), (Ratio("speed", 0.5, goal=0.6, limit=0.3),), {"speed.svg": "<svg/>"})
    keep({"receiving": first}, page, tmp_path / "figures")
    second = Result((Table("delay", ("p99, ms",), ((2.5,),)),), (Ratio("delay", 2, 3, 9, most=True),))
    keep({"latency": second}, page, tmp_path / "figures")
    content = page.read_text(encoding="utf-8")
    assert "old" not in content
    assert "| paho | 18,400 |" in content
    assert content.count("<!-- speed -->") == 1
    assert "| speed | .5 × | at least .6 × | **no** |\n| delay | 2 × | at most 3 × | yes |" in content
    assert "<!-- delay -->\n| p99, ms |\n| ---: |\n| 2.5 |\n<!-- /delay -->\n<!-- machines" in content
    assert content.index("- receiving: 2") < content.index("- latency: 2")
    kept = json.loads((tmp_path / "figures" / "results.json").read_text(encoding="utf-8"))
    assert kept["receiving"]["tables"][0]["rows"][0] == ["paho", 18_432.1]
    assert (tmp_path / "figures" / "speed.svg").read_text(encoding="utf-8") == "<svg/>"


def test_a_table_without_a_place_in_the_document_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(PAGE.replace("speed", "haste"), encoding="utf-8")
    with pytest.raises(ValueError, match="must have a place <!-- speed --> … <!-- /speed -->, got none"):
        keep({"receiving": Result((TABLE,))}, page, tmp_path / "figures")


def test_a_chart_holds_every_point() -> None:
    assert chart("cost", (1, 10, 1000), (25.0, 27.0, 41.0)).count("<circle") == 3
