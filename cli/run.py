"""`anomalyd run`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cli.exits import CommandError, Exit
from cli.options import config_option, load_settings


@click.command(short_help="Watch: the daemon.")
@config_option
def run(config: Path | None) -> None:
    """Watch: the daemon, until SIGTERM or SIGINT; SIGHUP reloads.

    Without a connection to the broker it waits and tries again; without a bundle it stores readings
    and waits for `anomalyd train`.
    """
    _import_structlog()
    path, settings = load_settings(config)
    from daemon import assembly
    from daemon.locking import LockedError
    from daemon.store import StoreError

    try:
        assembly.run(path, settings)
    except LockedError as error:
        raise CommandError(Exit.FAILED, str(error)) from error
    except StoreError as error:
        raise CommandError(Exit.IO, str(error)) from error


def _import_structlog() -> None:
    """Imports structlog without rich, which it would draw tracebacks with: a tenth of a second less."""
    if "rich" not in sys.modules:
        sys.modules["rich"] = None  # type: ignore[assignment]
        try:
            import structlog  # noqa: F401 - the others find it imported
        finally:
            del sys.modules["rich"]
