"""The demonstration on a terminal: what goes on, the score against the threshold, the sensors, the alerts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import IO

from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from demo.chart import chart
from demo.pump import SENSORS
from demo.seen import Alert, Blame
from demo.show import Report, Scene
from demo.summary import culprits, plain_name, summary

REFRESH = 0.125  # seconds; more often is unrest, and costs the daemon's processor
HEAD, FOOT = 2, 1
PICTURE = 8  # lines of the chart that is left at the end
LOWER = len(SENSORS) + 2  # a rule and the column heads
SENSORS_WIDTH = 41


class ScreenShow:
    """Says the steps of the preparation line by line, then takes the whole screen while readings stream."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._next_refresh = 0.0
        self._last: Scene | None = None

    def say(self, text: str) -> None:
        self._console.print(Text.assemble(("▸ ", "bold cyan"), text))

    def training(self) -> IO[str] | int | None:
        return None  # straight to this terminal, where it draws its own progress

    def training_said(self, line: str) -> None:
        self._console.print(Text(line.rstrip(), "dim"))

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        with Live(console=self._console, screen=True, auto_refresh=False) as self._live:
            yield

    def update(self, scene: Scene) -> None:
        self._last = scene
        if self._live is not None and time.monotonic() >= self._next_refresh:
            self._next_refresh = time.monotonic() + REFRESH
            self._live.update(whole(scene, *self._console.size), refresh=True)

    def alert(self, event: Alert) -> None:
        """The scene holds it already."""

    def report(self, report: Report) -> None:
        """The picture stays on the terminal, with the table below."""
        if self._last is not None:
            title = Rule("score over the whole stream (threshold 1, log scale)", align="left", style="dim")
            self._console.print(title, _plot(self._last, self._console.width, PICTURE))
        self._console.print(summary(report))


def whole(scene: Scene, width: int, height: int) -> Layout:
    """The full screen of `width` columns and `height` lines."""
    layout = Layout()
    lower = Layout(name="lower", size=LOWER)
    lower.split_row(
        Layout(_sensors(scene), size=SENSORS_WIDTH), Layout(_alerts(scene, width - SENSORS_WIDTH))
    )
    plot_height = max(4, height - HEAD - LOWER - FOOT - 1)
    layout.split_column(
        Layout(_head(scene), size=HEAD),
        Layout(_score_title(scene), size=1),
        Layout(_plot(scene, width, plot_height)),
        lower,
        Layout(_foot(scene), size=FOOT),
    )
    return layout


def _head(scene: Scene) -> RenderableType:
    grid = Table.grid(expand=True)
    grid.add_column()
    grid.add_column(justify="right")
    grid.add_row(
        Text.assemble(("anomalyd", "bold cyan"), " watches ", ("pump-1", "bold")),
        Text(f"{scene.now:%H:%M:%S} pump time, {scene.pace:.0f} × real time", "dim"),
    )
    sign, style = ("!", "bold red") if scene.stretch.fault is not None else ("●", "bold green")
    return Group(grid, Text(f"{sign} {scene.stretch.title}", style, no_wrap=True, overflow="ellipsis"))


def _score_title(scene: Scene) -> Rule:
    if not scene.seen.scores:
        return Rule("score: waiting for the first full window", align="left", style="dim")
    score = scene.seen.scores[-1].score or 0.0
    text = Text.assemble(
        "score ",
        (f"{score:.2f}", "bold red" if score > 1 else "bold green"),
        ("  (threshold 1, log scale)", "dim"),
    )
    return Rule(text, align="left", style="dim")


def _plot(scene: Scene, width: int, height: int) -> Text:
    points = ((scene.second_of(each.at), each.score or 0.0) for each in scene.seen.scores)
    return chart(points, scene.story, scene.second, width=width - 1, height=height)


def _sensors(scene: Scene) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("sensor", width=19, no_wrap=True)
    table.add_column("now", justify="right", width=6, no_wrap=True)
    table.add_column("", width=4, no_wrap=True)
    table.add_column("expected", justify="right", width=8, no_wrap=True)
    alert = scene.seen.open_alert
    values = scene.reading.values if scene.reading else {}
    blames = {blame.sensor: blame for blame in alert.sensors} if alert else {}
    for sensor in SENSORS:
        value, blame = values.get(sensor.name), blames.get(sensor.name)
        table.add_row(
            Text(plain_name(sensor.name), _blame_style(blame)),
            Text("silent", "bold yellow") if value is None else f"{value:.{sensor.digits}f}",
            Text(sensor.unit, "dim"),
            "" if blame is None or blame.expected is None else f"{blame.expected:.{sensor.digits}f}",
        )
    return _titled("sensors", table)


def _blame_style(blame: Blame | None) -> str:
    if blame is None or blame.contribution < 0.1:
        return ""
    return "bold red" if blame.contribution >= 0.3 else "red"


def _alerts(scene: Scene, width: int) -> RenderableType:
    histories = scene.seen.histories()
    if not histories:
        return _titled("alerts", Text("none so far", "dim"))
    lines: list[Text] = []
    for events in reversed(histories):
        opened, latest = events[0], events[-1]
        if latest.change == "closed":
            head = Text(f"✓ {opened.at:%H:%M:%S}-{latest.at:%H:%M:%S} peak {latest.peak_score:.0f}", "dim")
            blamed = Text(f" {culprits(opened)}", "dim")
        else:
            head = Text(
                f"▲ {opened.at:%H:%M:%S} OPEN, {latest.severity}, score {latest.score:.1f}", "bold red"
            )
            blamed = Text(f" {culprits(latest)}", "red")
        lines += [head, blamed]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return _titled("alerts", Text("\n").join(lines))


def _titled(title: str, body: RenderableType) -> RenderableType:
    grid = Table.grid(expand=True)
    grid.add_row(Rule(title, align="left", style="dim"))
    grid.add_row(body)
    return grid


def _foot(scene: Scene) -> Text:
    return Text(
        f"{scene.sent} readings, {len(scene.seen.scores)} scores, state {scene.seen.state}, "
        f"broker {scene.broker}. Ctrl-C ends all.",
        "dim",
        no_wrap=True,
        overflow="ellipsis",
    )
