"""`anomalyd check-data`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from cli.exits import CommandError, Exit
from cli.histories import read
from cli.options import config_option, files_argument, json_option, load_settings, machine_option
from cli.tables import print_table
from config.policies import milliseconds
from trainer.wording import counted, duration

if TYPE_CHECKING:
    from trainer.facts import SensorFacts
    from trainer.verdict import Verdict


@click.command("check-data", short_help="Say whether a history can carry a model.")
@files_argument("history")
@machine_option()
@config_option
@json_option
def check_data(history: tuple[Path, ...], machine: str | None, config: Path | None, *, as_json: bool) -> int:
    """Say whether the HISTORY can carry a model, before any training.

    Exits with 65 if it cannot. Findings come with what to do about them.
    """
    from trainer.verdict import Verdict, check

    _, settings = load_settings(config)
    try:
        histories = read(history, settings, machine)
    except CommandError as error:
        if not as_json or error.code not in {Exit.IO, Exit.DATA}:
            raise
        _answer(Verdict((), (), error.problems, (), None, ()))
        return error.code
    interval = settings.readings.interval
    verdict = check(
        histories,
        settings.trainer,
        interval=None if interval is None else milliseconds(interval),
        channels=settings.readings.channels,
    )
    code = Exit.DATA if verdict.errors else Exit.DONE
    if as_json:
        _answer(verdict)
        return code
    for facts in verdict.machines:
        click.echo(
            f"{facts.machine}: {counted(facts.rows, 'row')}"
            + (f" and {facts.anomalous} labelled anomalous" if facts.anomalous else "")
            + (f", one every {duration(facts.interval)}" if facts.interval else "")
            + f", {counted(facts.holes, 'hole')} too long to bridge"
        )
    click.echo()
    print_table(HEADINGS, map(_row, verdict.sensors))
    click.echo()
    for text in verdict.errors:
        click.echo(f"error: {text}")
    for text in verdict.warnings:
        click.echo(f"note: {text}")
    click.echo("not usable: see the errors" if verdict.errors else "usable for training")
    return code


def _answer(verdict: Verdict) -> None:
    answer = {
        "usable": not verdict.errors,
        "errors": verdict.errors,
        "warnings": verdict.warnings,
        "interval_ms": verdict.grid.interval if verdict.grid else None,
        "machines": verdict.machines,
        "sensors": verdict.sensors,
    }
    click.echo(msgspec.json.encode(answer).decode())


HEADINGS = ("sensor", "missing", "minimum", "maximum", "mean", "std", "most rows\nunchanged")


def _row(sensor: SensorFacts) -> tuple[str, ...]:
    numbers = (sensor.minimum, sensor.maximum, sensor.mean, sensor.std)
    return (
        sensor.sensor,
        f"{sensor.missing:.1%}",
        *("-" if number is None else f"{number:.4g}" for number in numbers),
        f"{sensor.longest_stuck}",
    )
