"""`anomalyd check-data`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from cli.exits import Exit
from cli.options import config_option, json_option, load_settings, machine_option
from cli.replay import read
from cli.tables import print_table
from config.policies import milliseconds

if TYPE_CHECKING:
    from trainer.facts import SensorFacts


@click.command("check-data", short_help="Say whether a history can carry a model.")
@click.argument("history", nargs=-1, required=True, type=click.Path(path_type=Path))
@machine_option
@config_option
@json_option
def check_data(history: tuple[Path, ...], machine: str | None, config: Path | None, *, as_json: bool) -> int:
    """Say whether the HISTORY can carry a model, before any training.

    Exits with 65 if it cannot. Findings come with what to do about them.
    """
    _, settings = load_settings(config)
    histories = read(history, settings, machine)
    from trainer.verdict import check

    interval = settings.readings.interval
    verdict = check(
        histories, settings.trainer, interval=None if interval is None else milliseconds(interval)
    )
    code = Exit.DATA if verdict.errors else Exit.DONE
    if as_json:
        answer = {
            "usable": not verdict.errors,
            "errors": verdict.errors,
            "warnings": verdict.warnings,
            "interval_ms": verdict.grid.interval if verdict.grid else None,
            "machines": verdict.machines,
            "sensors": verdict.sensors,
        }
        click.echo(msgspec.json.encode(answer).decode())
        return code
    for facts in verdict.machines:
        click.echo(
            f"{facts.machine}: {facts.rows} rows"
            + (f" and {facts.anomalous} labelled anomalous" if facts.anomalous else "")
            + (f", one every {facts.interval:g} ms" if facts.interval else "")
            + f", {facts.holes} holes too long to bridge"
        )
    print_table(HEADINGS, map(_row, verdict.sensors))
    for text in verdict.errors:
        click.echo(f"error: {text}")
    for text in verdict.warnings:
        click.echo(f"note: {text}")
    click.echo("not usable: see the errors" if verdict.errors else "usable for training")
    return code


HEADINGS = ("sensor", "missing", "minimum", "maximum", "mean", "std", "longest the same")


def _row(sensor: SensorFacts) -> tuple[str, ...]:
    numbers = (sensor.minimum, sensor.maximum, sensor.mean, sensor.std)
    return (
        sensor.sensor,
        f"{sensor.missing:.1%}",
        *("-" if number is None else f"{number:.5g}" for number in numbers),
        f"{sensor.longest_stuck} rows",
    )
