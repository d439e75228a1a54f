"""`anomalyd version`."""

from __future__ import annotations

from importlib.metadata import version as installed

import click

from cli.options import json_option, unused_config_option


@click.command()
@unused_config_option
@json_option
def version(*, as_json: bool) -> None:
    """Print the version."""
    number = installed("anomalyd")
    click.echo(f'{{"version": "{number}"}}' if as_json else f"anomalyd {number}")
