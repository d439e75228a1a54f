"""`anomalyd run`."""

from __future__ import annotations

from pathlib import Path

import click

from cli.exits import CommandError, Exit
from cli.lean import import_lean
from cli.options import config_option, load_settings


@click.command(short_help="Watch: the daemon.")
@config_option
def run(config: Path | None) -> None:
    """Watch: the daemon, until SIGTERM or SIGINT; SIGHUP reloads.

    Without a connection to the broker it waits and tries again; without a bundle it stores readings
    and waits for `anomalyd train`.
    """
    import_lean()
    path, settings = load_settings(config)
    from daemon import assembly
    from daemon.locking import LockedError
    from daemon.opening import StoreError

    try:
        assembly.run(path, settings)
    except LockedError as error:
        raise CommandError(Exit.FAILED, str(error)) from error
    except StoreError as error:
        raise CommandError(Exit.IO, str(error)) from error
