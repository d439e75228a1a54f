"""`anomalyd check-data`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from cli.exits import CommandError, Exit
from cli.histories import recorded
from cli.options import PATH, config_option, files_argument, json_option, load_settings, machine_option
from cli.outputs import check_writable, write
from cli.progress import note, progress
from cli.tables import print_table
from config.policies import milliseconds
from trainer.wording import counted, duration, listed, moment

if TYPE_CHECKING:
    from config import Settings
    from trainer.facts import SensorFacts
    from trainer.profile import Profile
    from trainer.recording import Recording
    from trainer.survey import Survey


@click.command("check-data", short_help="Say whether a history can carry a model.")
@files_argument("history")
@click.option("--html", "page", metavar="FILE", type=PATH, help="Draw it, too, as a page in this file.")
@machine_option()
@config_option
@json_option
def check_data(
    history: tuple[Path, ...], page: Path | None, machine: str | None, config: Path | None, *, as_json: bool
) -> int:
    """Say whether the HISTORY can carry a model, before any training, and what is in it.

    Exits with 65 if it cannot. Findings come with what to do about them. Of each sensor it says what
    is missing, stuck or far out; of all of them which move together, and when their level changes. A
    history may be larger than memory.
    """
    _, settings = load_settings(config)
    if page is not None:
        check_writable(page)
    try:
        with recorded(history, settings, machine) as recordings:
            found = surveyed(recordings, settings)
    except CommandError as error:
        if not as_json or error.code not in {Exit.IO, Exit.DATA}:
            raise
        click.echo(msgspec.json.encode(unreadable(error.problems)).decode())
        return error.code
    if page is not None:
        from trainer.survey_page import survey_page

        write(page, survey_page(found, tuple(path.name for path in history)))
        note(f"drawn in {page}")
    if as_json:
        click.echo(msgspec.json.encode(answer(found)).decode())
    else:
        show(found)
    return Exit.DATA if found.verdict.errors else Exit.DONE


def surveyed(recordings: list[Recording], settings: Settings) -> Survey:
    """Looks at the rows, with progress."""
    from trainer.survey import TIMES_READ, survey

    interval = settings.readings.interval
    done, rows = 0, max(1, TIMES_READ * sum(map(len, recordings)))
    with progress("looking") as tell:

        def advance(more: int) -> None:
            nonlocal done
            done += more
            tell(done / rows)

        return survey(
            recordings,
            settings.trainer,
            interval=None if interval is None else milliseconds(interval),
            channels=settings.readings.channels,
            advance=advance,
        )


def show(found: Survey) -> None:
    """Prints it for people."""
    verdict = found.verdict
    for facts in verdict.machines:
        click.echo(
            f"{facts.machine}: {counted(facts.rows, 'row')}"
            + (f" and {facts.anomalous} labelled anomalous" if facts.anomalous else "")
            + (f", one every {duration(facts.interval)}" if facts.interval else "")
            + (f" (95 % within {duration(facts.jitter)} of it)" if facts.jitter else "")
            + f", {counted(facts.holes, 'hole')} too long to bridge"
        )
    click.echo()
    profiles = {one.sensor: one for one in found.profiles.sensors} if found.profiles else {}
    print_table(HEADINGS, (_row(facts, profiles.get(facts.sensor)) for facts in verdict.sensors))
    click.echo()
    for group in found.correlations.groups if found.correlations else ():
        click.echo(f"move together: {listed(group)}")
    for change in found.changes:
        moved = [f"{one.sensor} {one.before:.4g} -> {one.after:.4g}" for one in change.shifts]
        more = change.sensors - len(moved)
        click.echo(
            f"likely change of regime: {change.machine}, {moment(change.at)}: {', '.join(moved)}"
            + (f" and {more} more" if more else "")
        )
    for text in verdict.errors:
        click.echo(f"error: {text}")
    for text in verdict.warnings:
        click.echo(f"note: {text}")
    enough = {True: ": enough,", False: ": too few,", None: ";"}[found.enough]
    click.echo(f"{counted(found.rows, 'row')}{enough} {found.rows_needed:,} without holes are needed")
    click.echo("not usable: see the errors" if verdict.errors else "usable for training")


def answer(found: Survey) -> dict[str, Any]:
    """The same as JSON."""
    verdict = found.verdict
    profiles = {one.sensor: one for one in found.profiles.sensors} if found.profiles else {}
    sensors = []
    for facts in verdict.sensors:
        one = msgspec.to_builtins(facts)
        if facts.sensor in profiles:
            one |= msgspec.to_builtins(profiles[facts.sensor])
        sensors.append(one)
    return {
        "usable": not verdict.errors,
        "errors": verdict.errors,
        "warnings": verdict.warnings,
        "rows": found.rows,
        "rows_needed": found.rows_needed,
        "interval_ms": verdict.grid.interval if verdict.grid else None,
        "machines": verdict.machines,
        "sensors": sensors,
        "groups": found.correlations.groups if found.correlations else (),
        "changes": found.changes,
    }


def unreadable(problems: tuple[str, ...]) -> dict[str, Any]:
    """What is said as JSON of files that are no history."""
    from trainer.survey import Survey
    from trainer.verdict import Verdict

    return answer(Survey(Verdict((), (), problems, (), None, ()), 0, 0, None, None, ()))


HEADINGS = (
    "sensor", "missing", "minimum", "median", "maximum", "std", "far\nout", "longest\nstuck",
    "stuck for\na window",
)  # fmt: skip


def _row(sensor: SensorFacts, profile: Profile | None) -> tuple[str, ...]:
    median = profile.median if profile else None
    far_out = profile.outlier_share if profile else None
    numbers = (sensor.minimum, median, sensor.maximum, sensor.std) if profile else (None,) * 4
    return (
        sensor.sensor,
        f"{sensor.missing:.1%}",
        *("-" if number is None else f"{number:.4g}" for number in numbers),
        "-" if far_out is None else f"{far_out:.2%}",
        f"{sensor.longest_stuck:,}",
        f"{sensor.stuck:.1%}",
    )
