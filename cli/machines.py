"""`anomalyd machines`: how machines are, and whether they are to be watched."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from cli.commanding import asking, by_option, machine_argument, note_option, send
from cli.options import Duration, config_option, json_option
from cli.tables import print_table
from config.quantities import format_duration

if TYPE_CHECKING:
    from daemon.commands.command import Command
    from detector.machine import Snapshot

SHORT = 8  # characters of an alert's id


@click.group(short_help="List machines, and say whether they run.")
def machines() -> None:
    """List machines, and say whether they run; a daemon obeys within a second, or when it starts."""


@machines.command("list")
@config_option
@json_option
def list_machines(config: Path | None, *, as_json: bool) -> None:
    """All machines as they were last stored, by name."""
    with asking(config) as (store, _):
        found = list(store.machines())
    if as_json:
        click.echo(msgspec.json.encode([_fields(*each) for each in found]).decode())
    elif not found:
        click.echo("no machine was heard yet")
    else:
        rows = [_cells(_fields(*each)) for each in found]
        print_table(HEADINGS, rows, numbers_from=len(HEADINGS), folded=0)


HEADINGS = ("machine", "state", "since", "alert", "mode", "shelved until")


def _fields(name: str, snapshot: Snapshot | None) -> dict[str, str | None]:
    from daemon.payloads import iso

    known: dict[str, str | None] = dict.fromkeys(
        ("state", "since", "alert", "acknowledged_by", "mode", "mode_until", "shelved_until")
    )
    if snapshot is not None and snapshot.state is not None:
        known["state"], known["since"] = snapshot.state.value, iso(snapshot.since)
    if snapshot is not None:
        alert = snapshot.alerts.alert or snapshot.silence
        if alert is not None:
            known["alert"] = alert.id
            known["acknowledged_by"] = None if alert.acknowledged is None else alert.acknowledged.by
        ordered = None if snapshot.operation is None else snapshot.operation.ordered
        if ordered is not None:
            known["mode"] = ordered.mode.value
            known["mode_until"] = None if ordered.until is None else iso(ordered.until)
        known["shelved_until"] = None if snapshot.shelf is None else iso(snapshot.shelf.until)
    return {"machine": name, **known}


def _cells(known: dict[str, str | None]) -> tuple[str, ...]:
    alert = (known["alert"] or "-")[:SHORT]
    if known["acknowledged_by"] is not None:
        alert += (
            f", acknowledged by {known['acknowledged_by']}" if known["acknowledged_by"] else ", acknowledged"
        )
    mode = known["mode"] or "-"
    if known["mode_until"]:
        mode += f" until {known['mode_until']}"
    name, state, since, shelved = (
        known[key] or "-" for key in ("machine", "state", "since", "shelved_until")
    )
    return name, state, since, alert, mode, shelved


@machines.command()
@machine_argument
@by_option
@note_option
@config_option
@json_option
def off(machine: str, by: str, note: str, config: Path | None, *, as_json: bool) -> None:
    """Say that a machine is off: it is neither scored nor learned from, and an open alert closes."""
    from daemon.commands.command import Off

    with asking(config) as (store, folder):
        send(lambda: Off(by=by, note=note), store, folder, machine, as_json=as_json)


@machines.command()
@machine_argument
@by_option
@note_option
@config_option
@json_option
def running(machine: str, by: str, note: str, config: Path | None, *, as_json: bool) -> None:
    """Say that a machine is in operation again; it is scored once it has settled (operation.settle)."""
    from daemon.commands.command import Running

    with asking(config) as (store, folder):
        send(lambda: Running(by=by, note=note), store, folder, machine, as_json=as_json)


@machines.command()
@machine_argument
@click.option(
    "--for", "lasting", type=Duration(above_zero=True), metavar="TIME", help="Such as 2h; then it runs again."
)
@by_option
@note_option
@config_option
@json_option
def maintenance(
    machine: str, lasting: timedelta | None, by: str, note: str, config: Path | None, *, as_json: bool
) -> None:
    """Say that a machine is worked on: it is neither scored nor learned from, and an open alert closes."""
    from daemon.commands.command import Maintenance

    def make() -> Command:
        time = None if lasting is None else format_duration(lasting)
        return Maintenance(lasting=time, by=by, note=note)

    with asking(config) as (store, folder):
        send(make, store, folder, machine, as_json=as_json)
