"""`anomalyd models`: the registry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import msgspec

from cli.exits import CommandError, Exit
from cli.options import config_option, json_option, load_settings
from cli.tables import print_table
from registry.bundle import BundleError
from registry.champions import Registry


@click.group(short_help="List, show, promote and roll back bundles.")
def models() -> None:
    """List, show, promote and roll back bundles; a running daemon follows within a second."""


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
    rows = []
    for bundle in registry.ids():
        role = "champion" if bundle in serving else "former" if bundle in former else "challenger"
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


@models.command()
@click.argument("bundle")
@config_option
@json_option
def promote(bundle: str, config: Path | None, *, as_json: bool) -> None:
    """Put a bundle into service, whatever the gate said."""
    manifest = _registry(config).promote(bundle)
    _answer(manifest.machine, manifest.id, as_json=as_json)


@models.command()
@click.option(
    "--machine", metavar="NAME", help="Of this machine's own champions.  [default: the shared ones]"
)
@config_option
@json_option
def rollback(machine: str | None, config: Path | None, *, as_json: bool) -> None:
    """Put the former champion back into service."""
    manifest = _registry(config).rollback(machine)
    _answer(machine, manifest.id, as_json=as_json)


def _registry(config: Path | None) -> Registry:
    return Registry(load_settings(config)[1].state_dir)


def _answer(machine: str | None, champion: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode({"machine": machine, "champion": champion}).decode())
    else:
        click.echo(f"{champion} now serves {machine or 'all machines without a bundle of their own'}")
