"""The page of `check-data`: what a history looks like, for the person who wonders whether it will do."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from trainer.charts import Spans, bands, heat_map, moments
from trainer.drawing import FAULT, ONE
from trainer.page import (
    bullets,
    cell,
    figure,
    key,
    lead,
    page,
    section,
    table,
    tiles,
    verdict,
)  # fmt: skip
from trainer.sparks import spark_course, spark_values
from trainer.wording import counted, duration, listed, moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trainer.groups import Correlations
    from trainer.profile import Profile, Profiles
    from trainer.regimes import Change
    from trainer.survey import Survey

MOST_DRAWN = 100  # sensors: a chart of each is some kB
MOST_MAPPED = 120  # sensors in the map of correlations: of more one sees no square
MOST_BANDS = 40  # machines in the timeline


def survey_page(found: Survey, source: Sequence[str]) -> str:
    """The page.

    Args:
        found: What was found.
        source: Names of the files.
    """
    body = [*_head(found, source), _time(found), _sensors(found)]
    if found.correlations:
        body.append(_correlations(found.correlations))
    if found.profiles:
        body.append(_changes(found.changes, found.profiles))
    return page("check-data", body)


def _head(found: Survey, source: Sequence[str]) -> Iterator[str]:
    it = found.verdict
    yield f"<h1>{escape(listed(source))}</h1>"
    starts = [facts.start for facts in it.machines if facts.start is not None]
    ends = [facts.end for facts in it.machines if facts.end is not None]
    if starts:
        yield lead(f"{moment(min(starts))} to {moment(max(ends))} UTC")
    enough = (
        f"{counted(found.rows, 'row')} of normal operation; {found.rows_needed:,} without holes are needed."
    )
    if it.errors:
        yield verdict("Not usable for training", [*it.errors, enough], good=False)
    else:
        yield verdict("Usable for training", [enough], good=True)
    if it.warnings:
        yield "<h3>Worth knowing</h3>" + bullets(it.warnings)
    together = found.correlations.groups if found.correlations else ()
    yield tiles(
        {
            "Rows": f"{found.rows:,}",
            "Machines": f"{len(it.machines)}",
            "Sensors": f"{len(it.sensors)}",
            "Interval": duration(it.grid.interval) if it.grid else "–",
            "Labelled anomalous": f"{sum(facts.anomalous for facts in it.machines):,}",
            "Holes": f"{sum(facts.holes for facts in it.machines):,}",
            "Groups": f"{len(together)}",
            "Changes of regime": f"{len(found.changes)}",
        }
    )


def _time(found: Survey) -> str:
    machines = found.verdict.machines
    rows = [
        (
            facts.machine,
            f"{facts.rows:,}",
            f"{facts.anomalous:,}",
            duration(facts.interval) if facts.interval else "–",
            duration(facts.jitter),
            f"{facts.same_time:,}",
            f"{facts.same_slot - facts.same_time:,}",
            f"{facts.holes:,}",
            duration(facts.longest_hole),
        )
        for facts in machines[:MOST_BANDS]
    ]
    headings = (
        "machine", "rows", "labelled anomalous", "interval", "jitter", "same time as another",
        "same slot as another", "holes", "longest hole",
    )  # fmt: skip
    drawn = ""
    courses = found.profiles.courses if found.profiles else ()
    if courses:
        between = min(course.start for course in courses), max(course.end for course in courses)
        shown = [
            [Spans(ONE, moments(np.array([[course.start, course.end]]))), Spans(FAULT, moments(course.holes))]
            for course in courses
        ]
        drawn = figure(
            bands(shown, [course.machine for course in courses], between, title="when there are rows"),
            "When there are rows (UTC)",
            key("rows", "one band"),
            key("hole", "fault band"),
            kind="wide",
        )
    return section(
        "Time",
        "Good is an even course: one row each interval, few in the time or the slot of another (they are not "
        "used), and few holes; jitter is how far 95 % of the rows are at most from their place on the "
        "grid. No window is learned from across a hole.",
        drawn,
        table(headings, rows),
        lead(f"{len(machines) - MOST_BANDS} more machines are not listed.")
        if len(machines) > MOST_BANDS
        else "",
    )


def _sensors(found: Survey) -> str:
    profiles = found.profiles
    places = {one.sensor: i for i, one in enumerate(profiles.sensors)} if profiles else {}
    rows = []
    for facts in found.verdict.sensors:
        place = places.get(facts.sensor)
        course = values = far_out = "–"
        numbers: tuple[float | None, ...] = (facts.minimum, None, facts.maximum)
        if profiles and place is not None:
            one = profiles.sensors[place]
            numbers = (facts.minimum, one.median, facts.maximum)
            far_out = "–" if one.outlier_share is None else f"{one.outlier_share:.2%}"
            if place < MOST_DRAWN:
                course = spark_course(profiles.courses, place, f"{one.sensor} over time")
                values = _values(profiles, place, one)
        stuck = f"{facts.longest_stuck:,}"
        if facts.stuck and facts.stuck_from is not None and not facts.constant:
            stuck += f"<br><small>from {moment(facts.stuck_from)}</small>"
        rows.append(
            (
                facts.sensor,
                cell(course, "drawn"),
                cell(values, "drawn"),
                f"{facts.missing:.1%}",
                *("–" if number is None else f"{number:.4g}" for number in numbers),
                far_out,
                f"{facts.stuck:.1%}",
                cell(stuck, "long"),
            )
        )
    headings = (
        "sensor", "over time", "how often each value", "missing", "minimum", "median", "maximum", "far out",
        "unchanged for a window", "longest unchanged",
    )  # fmt: skip
    return section(
        "Sensors",
        "Each sensor over time (mean, and in a light shade the lowest and highest of each moment) and how "
        "often it shows each value. Far out are values more than three interquartile ranges beyond the "
        "quartiles and three standard deviations from the mean: a few are normal for spiky sensors, many in "
        "one place may be a fault that the model should not learn.",
        table(headings, rows),
    )


def _values(profiles: Profiles, place: int, one: Profile) -> str:
    """How often each value occurs, what is far out counted at the ends."""
    values = profiles.sample[:, place]
    values = values[~np.isnan(values)]
    if not len(values):
        return "–"
    if one.outliers:
        values = values.clip(*one.bounds)
    return spark_values(values, f"values of {one.sensor}")


def _correlations(found: Correlations) -> str:
    names = found.order[:MOST_MAPPED]
    ends = np.cumsum([0, *map(len, found.groups)]).tolist()
    drawn = heat_map(
        found.matrix[: len(names), : len(names)],
        names,
        title="rank correlations of the sensors",
        borders=[end for end in ends if 0 < end < len(names)],
    )
    texts = [f"{counted(len(group), 'sensor')}: {', '.join(group)}" for group in found.groups]
    left_out = len(found.order) - len(names)
    return section(
        "Sensors that move together",
        "Red squares are sensors that rise together, blue ones fall while the other rises; a group, framed "
        "by lines, is what the model learns from. A sensor without any colour in its row can only be "
        "watched by itself.",
        figure(drawn, f"{counted(left_out, 'more sensor')} not drawn." if left_out else "", kind="own"),
        bullets(texts),
    )


def _changes(found: Sequence[Change], profiles: Profiles) -> str:
    rows = [
        (
            change.machine,
            moment(change.at),
            f"{change.sensors}",
            cell(
                "<br>".join(
                    f"{escape(one.sensor)}: {one.before:.4g} → {one.after:.4g}" for one in change.shifts
                ),
                "text",
            ),
        )
        for change in found
    ]
    text = (
        "Moments from which on sensors keep to another level: another product, a repair, a new sensor. If "
        "one of the ways of running is not meant to be normal, leave its rows out; if both are, the "
        "history should hold enough of each."
    )
    drawn = (
        table(("machine", "time (UTC)", "sensors that moved", "those that moved most"), rows) if rows else ""
    )
    none = "" if rows else lead(f"None was found in {counted(len(profiles.courses), 'machine')}.")
    return section("Likely changes of regime", text, drawn, none)
