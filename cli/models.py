"""`anomalyd models`: the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    registry = _registry(config)
    lines = registry.champions()
    serving = {line.champion: machine for machine, line in lines.items()}
    former = {bundle for line in lines.values() for bundle in line.previous}
    rows: list[dict[str, Any]] = []
    for bundle in registry.ids():
        role = "champion" if bundle in serving else "former" if bundle in former else "challenger"
        row: dict[str, Any] = {"id": bundle, "role": role}
        try:
            manifest = registry.read(bundle).manifest
            row |= {
                "machine": manifest.machine,
                "kind": manifest.model.kind,
                "sensors": len(manifest.sensors),
                "window": manifest.window.length,
                "threshold": manifest.threshold.value,
                "problem": None,
            }
        except BundleError as error:
            row["problem"] = str(error)
        rows.append(row)
    if as_json:
        click.echo(msgspec.json.encode(rows).decode())
        return
    if not rows:
        click.echo("no bundle yet; train one: anomalyd train HISTORY.csv")
        return
    for row in rows:
        if row["problem"]:
            click.echo(f"unusable: {row['problem']}", err=True)
    print_table(HEADINGS, [_cells(row) for row in rows if not row["problem"]], numbers_from=4)


HEADINGS = ("bundle", "role", "serves", "model", "sensors", "window", "threshold")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["id"],
        row["role"],
        row["machine"] or "all",
        row["kind"],
        str(row["sensors"]),
        str(row["window"]),
        f"{row['threshold']:.4g}",
    )


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
