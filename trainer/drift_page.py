"""The page of `anomalyd drift`: each machine's blocks beside what its model knows."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from registry.drifts import Kind
from trainer.charts import moments
from trainer.drawing import LIMIT, LINE, ONE, SOFT, drawing
from trainer.page import key, lead, page, section, small_figure, table, tiles, verdict
from trainer.wording import DAY, counted, duration, moment, rounded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from detector.scoring import Detector
    from registry.drifts import Drift, Moved
    from trainer.drift_blocks import Course
    from trainer.drift_memory import Followed

Measured = tuple["Drift", "Followed", "Detector"]
SIZE = (290, 110)  # pixels of a chart among many
MOST_MACHINES = 100  # that are drawn: a chart is some kB
MOST_SENSORS = 12  # of a machine
EDGES = (0.02, 0.98)  # of what is usual
WORST_FIRST = (Kind.DEVELOPING, Kind.SETTLED, Kind.DRIFT, Kind.UNKNOWN, Kind.NONE)


def drift_page(found: Sequence[Measured]) -> str:
    """The page; machines with something to look at come first."""
    ranked = sorted(found, key=lambda one: (WORST_FIRST.index(one[0].kind), one[0].machine))
    kinds = [one.kind for one, _, _ in ranked]
    body = [
        "<h1>Drift</h1>",
        lead("What has come since each machine's model was made, less alerts, beside what the model knows."),
        tiles({kind.value.capitalize(): str(kinds.count(kind)) for kind in WORST_FIRST}),
        table(
            ("machine", "drift", "since", "score", "usual", "sensors"),
            [
                (
                    one.machine,
                    one.kind,
                    "" if one.since is None else moment(one.since),
                    "" if one.score is None else rounded(one.score),
                    "" if one.usual is None else rounded(one.usual),
                    ", ".join(part.sensor for part in one.sensors[:3]),
                )
                for one, _, _ in ranked
            ],
        ),
    ]
    body += [_machine(*one) for one in ranked[:MOST_MACHINES]]
    if len(ranked) > MOST_MACHINES:
        body.append(lead(f"{len(ranked) - MOST_MACHINES} more machines are not drawn; see --machine."))
    return page("drift", body)


def _machine(one: Drift, followed: Followed, detector: Detector) -> str:
    blocks = counted(len(followed.newest), "block")
    how = f"{blocks} of {duration(followed.about.length)} since {one.model} was made."
    good = {Kind.NONE: True, Kind.DEVELOPING: False}.get(one.kind)
    charts = list(_charts(one, followed, detector)) if len(followed.newest) else []
    keys = key("what the model knows", "soft band") + key("newest", "one") + key("since then", "limit")
    return section(
        one.machine,
        how,
        verdict(one.kind.value.capitalize(), [one.text], good=good),
        f"<p>{keys}</p>" if charts else "",
        f'<div class="many">{"".join(charts)}</div>',
    )


def _charts(one: Drift, followed: Followed, detector: Detector) -> Iterator[str]:
    usual, newest = followed.usual, followed.newest
    note = "1 is the threshold"
    yield small_figure(
        "score", _chart(newest, 10**newest.score, 10**usual.score, one, "score", log=True), note
    )
    sensors = detector.manifest.sensors
    named = [part.sensor for part in one.sensors]
    others = [name for name in sensors if name not in named]
    told = {part.sensor: _told(part) for part in one.sensors}
    for name in [*named, *others][:MOST_SENSORS]:
        column = sensors.index(name)
        level = newest.level[:, column]
        if np.isnan(level).all():
            continue
        yield small_figure(name, _chart(newest, level, usual.level[:, column], one, name), told.get(name, ""))


def _told(part: Moved) -> str:
    """What a sensor has to do with it."""
    if part.share:
        return f"{part.share:.0%} of the growth"
    return "" if part.size is None else f"moved by {part.size:+.1f} deviations"


def _chart(
    newest: Course,
    numbers: NDArray[np.float64],
    usual: NDArray[np.float64],
    one: Drift,
    title: str,
    *,
    log: bool = False,
) -> str:
    """Blocks over time before the band in which those lie that the model knows."""
    with drawing(SIZE, escape(title), left=46, right=18, bottom=22) as (axes, drawn):
        known = usual[~np.isnan(usual)]
        if len(known):
            axes.axhspan(*np.quantile(known, EDGES), color=LINE, linewidth=0, zorder=0)
        at = moments(newest.at)
        axes.plot(at, numbers, color=ONE, linewidth=1.0)
        if one.since is not None:
            axes.axvline(one.since / DAY, color=LIMIT, linewidth=0.9)
        if log:
            axes.set_yscale("log")
        axes.grid(visible=False)
        axes.margins(x=0, y=0.08)
        axes.set_xticks([at[0], at[-1]], [moment(int(newest.at[i]))[5:10] for i in (0, -1)])
        axes.tick_params(colors=SOFT)
    return drawn.getvalue()
