"""`anomalyd alerts`: what operators say of alerts."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from cli.commanding import asking, by_option, machine_argument, note_option, send
from cli.exits import CommandError, Exit
from cli.options import Duration, config_option, json_option
from cli.tables import print_table
from config.quantities import format_duration

if TYPE_CHECKING:
    from daemon.commands.asking import AlertRow, Asking
    from daemon.commands.command import Command, Confirmed, FalseAlarm

SHOWN = 50  # alerts in the list, unless more are asked for
SHORT = 8  # characters of an id that are shown: enough to tell a plant's alerts apart


@click.group(short_help="List, acknowledge, shelve and label alerts.")
def alerts() -> None:
    """List, acknowledge, shelve and label alerts; a daemon obeys within a second, or when it starts."""


@alerts.command("list")
@click.option("--machine", metavar="NAME", help="Those of this machine.")
@click.option("--open", "only_open", is_flag=True, help="Those that have not closed.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=SHOWN, show_default=True, help="The newest so many."
)
@config_option
@json_option
def list_alerts(
    machine: str | None, limit: int, config: Path | None, *, only_open: bool, as_json: bool
) -> None:
    """The alerts about what machines did, the newest first, and what was said of them."""
    with asking(config) as (store, _):
        wanted = (
            row
            for row in store.alerts()
            if machine in {None, row.machine} and not (only_open and row.closed_at is not None)
        )
        rows = list(islice(wanted, limit))
    if as_json:
        click.echo(msgspec.json.encode([_fields(row) for row in rows]).decode())
    elif not rows:
        click.echo("no alert")
    else:
        print_table(HEADINGS, map(_cells, rows), numbers_from=len(HEADINGS), folded=1)


HEADINGS = ("alert", "machine", "opened", "closed", "label")


def _fields(row: AlertRow) -> dict[str, object]:
    from daemon.payloads import iso

    closed = None if row.closed_at is None else iso(row.closed_at)
    return {
        "id": row.id,
        "machine": row.machine,
        "opened_at": iso(row.opened_at),
        "closed_at": closed,
        "label": row.label,
    }


def _cells(row: AlertRow) -> tuple[str, ...]:
    from daemon.payloads import iso

    closed = "open" if row.closed_at is None else iso(row.closed_at)
    return row.id[:SHORT], row.machine, iso(row.opened_at), closed, row.label or "-"


@alerts.command()
@click.argument("alert")
@by_option
@note_option
@config_option
@json_option
def ack(alert: str, by: str, note: str, config: Path | None, *, as_json: bool) -> None:
    """Say that an open alert is known of: it is not repeated until it gets more severe.

    ALERT is the first characters of its id, or the name of a machine, for the alert that it has.
    """
    from daemon.commands.command import Ack

    with asking(config) as (store, folder):
        machine, named = _whose(store, alert)
        send(lambda: Ack(alert=named, by=by, note=note), store, folder, machine, as_json=as_json)


@alerts.command()
@machine_argument
@click.argument("lasting", type=Duration(above_zero=True), metavar="TIME")
@by_option
@note_option
@config_option
@json_option
def shelve(
    machine: str, lasting: timedelta, by: str, note: str, config: Path | None, *, as_json: bool
) -> None:
    """Publish no alerts of a machine for a TIME such as 2h; what is open then is published."""
    from daemon.commands.command import Shelve

    with asking(config) as (store, folder):
        send(
            lambda: Shelve(lasting=format_duration(lasting), by=by, note=note),
            store,
            folder,
            machine,
            as_json=as_json,
        )


@alerts.command()
@machine_argument
@by_option
@config_option
@json_option
def unshelve(machine: str, by: str, config: Path | None, *, as_json: bool) -> None:
    """Publish a machine's alerts again."""
    from daemon.commands.command import Unshelve

    with asking(config) as (store, folder):
        send(lambda: Unshelve(by=by), store, folder, machine, as_json=as_json)


_alert = click.argument("alert", required=False)
_machine = click.option("--machine", metavar="NAME", help="Whose stretch of time.")
_from = click.option("--from", "start", metavar="TIME", help="Its begin, ISO 8601 or seconds since 1970.")
_to = click.option("--to", "end", metavar="TIME", help="Its end.")


@alerts.command("false-alarm")
@_alert
@_machine
@_from
@_to
@by_option
@note_option
@config_option
@json_option
def false_alarm(config: Path | None, *, as_json: bool, **told: str | None) -> None:
    """Say that an alert, or a stretch of a machine's time, was normal: later trainings learn from it.

    ALERT is the first characters of an alert's id; or give --machine, --from and --to.
    """
    from daemon.commands.command import FalseAlarm

    _label(FalseAlarm, told, config, as_json=as_json)


@alerts.command()
@_alert
@_machine
@_from
@_to
@click.option("--code", metavar="CODE", default="", help="What kind of incident, in the plant's own words.")
@by_option
@note_option
@config_option
@json_option
def confirmed(config: Path | None, *, as_json: bool, **told: str | None) -> None:
    """Say that an alert, or a stretch of a machine's time, was an incident.

    It is never learned as normal, and every later model must find it. ALERT is the first characters of an
    alert's id; or give --machine, --from and --to.
    """
    from daemon.commands.command import Confirmed

    _label(Confirmed, told, config, as_json=as_json)


def _label(
    kind: type[FalseAlarm | Confirmed], told: dict[str, str | None], config: Path | None, *, as_json: bool
) -> None:
    from daemon.commands.command import read_time

    machine, alert = told.pop("machine"), told["alert"]
    times = {"from": told.pop("start"), "to": told.pop("end")}

    def make() -> Command:
        read = {name: read_time(time) for name, time in times.items() if time}
        return msgspec.convert({"command": kind.__struct_config__.tag, **told, **read}, kind)

    with asking(config) as (store, folder):
        if alert is None and machine is None:
            raise click.UsageError("give an alert, or --machine with --from and --to")
        if alert is not None:
            found = find(store, alert, machine)
            machine, told["alert"] = found.machine, found.id
        send(make, store, folder, machine, as_json=as_json)


def _whose(store: Asking, alert: str) -> tuple[str, str | None]:
    """A machine, and its alert; None: the one that is open."""
    for name, snapshot in store.machines():
        silence = None if snapshot is None else snapshot.silence
        if name == alert:
            return name, None
        if silence is not None and silence.id.startswith(alert):  # no row tells of it
            return name, silence.id
    found = find(store, alert)
    return found.machine, found.id


def find(store: Asking, begin: str, machine: str | None = None) -> AlertRow:
    """The one alert whose id begins so.

    Raises:
        CommandError: There is none, or more than one.
    """
    found = [row for row in islice(store.alerts(begin), 1000) if machine in {None, row.machine}]
    if len(found) != 1:
        what = f"{len(found)} alerts begin with {begin}" if found else f"there is no alert {begin}"
        raise CommandError(Exit.FAILED, f"{what}; see: anomalyd alerts list")
    return found[0]
