"""The table at the end: what each stretch was, and what came of it."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from demo.seen import Alert
from demo.show import Report
from demo.verdict import Outcome

BLAMED_SHOWN = 2  # sensors; the rest of the list rarely holds a tenth of the error


def culprits(event: Alert, count: int = BLAMED_SHOWN) -> str:
    """The sensors to blame, with their shares of the error."""
    shown = (f"{plain_name(blame.sensor)} {blame.contribution:.0%}" for blame in event.sensors[:count])
    return ", ".join(shown) or "no sensor named"


def plain_name(sensor: str) -> str:
    return sensor.replace("_", " ")


def summary(report: Report) -> Group:
    table = Table(title="What the daemon made of it (delays in the pump's time)", title_justify="left")
    for column in ("stretch", "alert after", "first blamed"):
        table.add_column(column, no_wrap=True)
    table.add_column("result")
    for outcome in report.outcomes:
        table.add_row(outcome.stretch.label, _delay(outcome), _blamed(outcome), _result(outcome))
    return Group(table, *(_notes(report)))


def _delay(outcome: Outcome) -> str:
    return "no alert" if outcome.delay is None else f"{outcome.delay:.0f} s"


def _blamed(outcome: Outcome) -> Text:
    if outcome.blamed is None:
        return Text("-")
    fits = outcome.blamed.sensor in outcome.stretch.culprits
    return Text(
        f"{plain_name(outcome.blamed.sensor)} {outcome.blamed.contribution:.0%}",
        "green" if fits else "yellow",
    )


def _result(outcome: Outcome) -> Text:
    return (
        Text(f"ok: {outcome.remark}", "green") if outcome.good else Text(f"NO: {outcome.remark}", "bold red")
    )


def _notes(report: Report) -> list[Text]:
    notes = []
    if report.first_alert_after is not None:
        notes.append(Text(f"First alert {report.first_alert_after.total_seconds():.0f} s after the start."))
    if report.false_alerts:
        times = ", ".join(f"{alert.at:%H:%M:%S} ({culprits(alert, 1)})" for alert in report.false_alerts)
        notes.append(Text(f"Alerts that no fault explains: {times}", "yellow"))
    if report.good:
        notes.append(Text("The normal stretch was quiet, and every fault was dealt with.", "bold green"))
    else:
        notes.append(Text("The demonstration did not go as it should.", "bold red"))
    return notes
