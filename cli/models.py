"""`anomalyd models`: the registry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import msgspec

from cli.exits import CommandError, Exit
from cli.options import config_option, json_option, load_settings
from cli.progress import note
from cli.tables import print_table
from cli.turns import turns
from config.problems import UnmetError
from config.quantities import format_size, parse_size
from registry.bundle import BundleError
from registry.champions import Registry
from registry.differences import differences
from registry.turns import Turns

line_option = click.option(
    "--machine", metavar="NAME", help="Of this machine's own champions.  [default: the shared ones]"
)


@click.group(short_help="List, compare, promote, pin and delete bundles.")
def models() -> None:
    """List, compare, promote, pin and delete bundles; a running daemon follows within a second."""


models.add_command(turns)


@models.command("list")
@config_option
@json_option
def list_models(config: Path | None, *, as_json: bool) -> None:
    """All bundles, oldest first, and which of them serve."""
    rows = _rows(_registry(config))
    if as_json:
        click.echo(msgspec.json.encode(rows).decode())
        return
    if not rows:
        click.echo("no bundle yet; train one: anomalyd train HISTORY.csv")
        return
    print_table(HEADINGS, map(_cells, rows), numbers_from=4, folded=2)
    for row in rows:
        if row.problem:
            click.echo(f"unusable: {row.problem}", err=True)


@dataclass(frozen=True, slots=True)
class _Row:
    """A bundle in the list; of one that is unusable only its role is known."""

    id: str
    role: str
    machine: str | None = None
    kind: str | None = None
    sensors: int | None = None
    window: int | None = None
    threshold: float | None = None
    problem: str | None = None


def _rows(registry: Registry) -> list[_Row]:
    lines = registry.champions()
    former = {bundle: machine for machine, line in lines.items() for bundle in line.previous}
    serving = {line.champion: machine for machine, line in lines.items()}
    pinned = {line.champion for line in lines.values() if line.pinned}
    waiting = {one.bundle for one in registry.waiting().values()}
    rows = []
    for bundle in registry.ids():
        role = "champion" if bundle in serving else "former" if bundle in former else "challenger"
        if bundle in waiting:
            role = "challenger, waiting"
        if bundle in pinned:
            role = "champion, pinned"
        try:
            found = registry.read(bundle).manifest
        except BundleError as error:
            rows.append(_Row(bundle, role, (former | serving).get(bundle), problem=str(error)))
            continue
        length, value = found.window.length, found.threshold.value
        rows.append(_Row(bundle, role, found.machine, found.model.kind, len(found.sensors), length, value))
    return rows


HEADINGS = ("bundle", "role", "serves", "model", "window", "threshold")


def _cells(row: _Row) -> tuple[str, ...]:
    serves = row.machine or ("-" if row.problem and row.role == "challenger" else "all")
    if row.problem:
        return row.id, row.role, serves, "unusable", "-", "-"
    return row.id, row.role, serves, row.kind or "", f"{row.window} x {row.sensors}", f"{row.threshold:.4g}"


@models.command()
@click.argument("bundle", required=False)
@config_option
@click.option("--json", is_flag=True, expose_value=False, help="Accepted: it is JSON in any case.")
def show(bundle: str | None, config: Path | None) -> None:
    """A bundle's manifest as JSON; by default the champion shared by all machines."""
    registry = _registry(config)
    found = bundle or registry.champion_of(None)
    if found is None:
        raise CommandError(Exit.FAILED, "models show: there is no shared champion; name a bundle")
    click.echo(msgspec.json.format(msgspec.json.encode(registry.read(found).manifest), indent=2).decode())
    turn = Turns(registry.state_dir).of_bundle(found)
    if turn is not None:
        note(f"turn {turn.id}: {turn.outcome}, {turn.reason}: {turn.text}")


@models.command()
@click.argument("bundle", required=False)
@line_option
@config_option
@json_option
def promote(bundle: str | None, machine: str | None, config: Path | None, *, as_json: bool) -> None:
    """Put a bundle into service, whatever the gate said; by default the challenger that waits."""
    registry = _registry(config)
    if bundle is None:
        waiting = registry.waiting().get(machine)
        if waiting is None:
            whose = (
                f"for machine {machine}" if machine else "for the shared line; name a bundle or a --machine"
            )
            raise CommandError(Exit.FAILED, f"models promote: no challenger waits {whose}")
        bundle = waiting.bundle
    elif machine is not None:
        raise click.UsageError("give a bundle, which knows whom it serves, or --machine")
    manifest = registry.promote(bundle)
    _answer(manifest.machine, manifest.id, as_json=as_json)


@models.command()
@line_option
@config_option
@json_option
def rollback(machine: str | None, config: Path | None, *, as_json: bool) -> None:
    """Put the former champion back into service."""
    manifest = _registry(config).rollback(machine)
    _answer(machine, manifest.id, as_json=as_json)


@models.command()
@line_option
@config_option
@json_option
def pin(machine: str | None, config: Path | None, *, as_json: bool) -> None:
    """Keep trainings from replacing the champion; promote and rollback still do.

    Without --machine it is the shared champion that stays; a training for one machine may still give that
    machine a champion of its own.
    """
    _set_pin(machine, config, pinned=True, as_json=as_json)


@models.command()
@line_option
@config_option
@json_option
def unpin(machine: str | None, config: Path | None, *, as_json: bool) -> None:
    """Let trainings replace the champion again."""
    _set_pin(machine, config, pinned=False, as_json=as_json)


def _set_pin(machine: str | None, config: Path | None, *, pinned: bool, as_json: bool) -> None:
    champion = _registry(config).pin(machine, pinned=pinned)
    if as_json:
        answer = {"machine": machine, "champion": champion, "pinned": pinned}
        click.echo(msgspec.json.encode(answer).decode())
    else:
        click.echo(
            f"{champion} is {'pinned: no training' if pinned else 'not pinned: a training may'} replace"
            f"{'s' if pinned else ''} it"
        )


@models.command()
@click.option("--max-size", metavar="SIZE", help="Such as 500MB.  [default: bundles.max_size]")
@click.option("--dry-run", is_flag=True, help="Say what would go, and delete nothing.")
@config_option
@json_option
def prune(max_size: str | None, config: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Delete the oldest bundles until the rest takes no more than a size; every training does so too.

    What serves, what a rollback would put back, and the newest bundle of a machine stay.
    """
    _, settings = load_settings(config)
    most = settings.bundles.max_size if max_size is None else _size(max_size)
    registry = Registry(settings.state_dir)
    gone = registry.superfluous(most) if dry_run else registry.prune(most)
    if as_json:
        answer = {"bundles": [*gone], "bytes": sum(gone.values()), "deleted": not dry_run}
        click.echo(msgspec.json.encode(answer).decode())
        return
    for bundle, size in gone.items():
        click.echo(f"{'would delete' if dry_run else 'deleted'} {bundle}, {format_size(size)}")
    if not gone:
        click.echo(f"nothing to delete: all else is needed, or takes no more than {format_size(most)}")


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except UnmetError as error:
        raise click.BadParameter(f"{error}, got {text!r}", param_hint="--max-size") from error


@models.command()
@click.argument("first")
@click.argument("second", required=False)
@config_option
@json_option
def diff(first: str, second: str | None, config: Path | None, *, as_json: bool) -> None:
    """What differs between two bundles; by default between one and the champion in its place."""
    registry = _registry(config)
    one = registry.read(first).manifest
    serving = second or registry.champion_of(one.machine)
    if serving is None:
        raise CommandError(Exit.FAILED, "models diff: there is no champion to compare it with; name a second")
    found = differences(one, registry.read(serving).manifest)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    elif not found:
        click.echo(f"{first} and {serving} differ in nothing that matters to a score")
    else:
        print_table(("", first, serving), ((each.what, each.first, each.second) for each in found))


def _registry(config: Path | None) -> Registry:
    return Registry(load_settings(config)[1].state_dir)


def _answer(machine: str | None, champion: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode({"machine": machine, "champion": champion}).decode())
    else:
        click.echo(f"{champion} now serves {machine or 'all machines without a bundle of their own'}")
