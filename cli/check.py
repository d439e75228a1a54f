"""`anomalyd check`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cli.exits import Exit
from cli.options import config_option, json_option
from config import ConfigError, find, load, read_password


@click.command(short_help="Validate the configuration.")
@config_option
@json_option
def check(config: Path | None, *, as_json: bool) -> int:
    """Validate the configuration and say every problem at once."""
    import msgspec

    path = find(config, os.environ)
    try:
        read_password(load(path, os.environ), os.environ)
        problems = []
    except ConfigError as error:
        if not as_json:
            raise
        problems = [str(problem) for problem in error.problems]
    if as_json:
        answer = {"file": str(path), "valid": not problems, "problems": problems}
        click.echo(msgspec.json.encode(answer).decode())
    else:
        click.echo(f"{path}: no problem found")
    return Exit.CONFIG if problems else Exit.DONE
