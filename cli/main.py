"""Parses the command line and turns every expected error into one message and an exit code."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import NoReturn

import click

from cli.exits import CommandError, Exit

COMMANDS = {  # in the order of a newcomer's path
    "train": "cli.train",
    "run": "cli.run",
    "check": "cli.check",
    "doctor": "cli.doctor",
    "check-data": "cli.check_data",
    "tune": "cli.tune",
    "replay": "cli.replay",
    "evaluate": "cli.evaluate",
    "retrain": "cli.retrain",
    "drift": "cli.drift",
    "models": "cli.models",
    "alerts": "cli.alerts",
    "machines": "cli.machines",
    "labels": "cli.labels",
    "dead-letters": "cli.dead_letters",
    "demo": "cli.demo",
    "completion": "cli.completion",
    "version": "cli.version",
}


class _Commands(click.Group):
    """Imports a command when it is called, so that the daemon waits for nothing that it does not use."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[name]), name.replace("-", "_"))
        return command


@click.command(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
def anomalyd() -> None:
    """Watches machines over MQTT with an autoencoder and raises alerts when they behave as never before.

    First steps: `anomalyd demo` shows everything at once. Then `anomalyd train HISTORY.csv` fits a
    detector on normal data, and `anomalyd run` watches. `anomalyd replay` shows what it would have
    said about recorded data.
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs a command and exits with its code."""
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        result = anomalyd.main(arguments, prog_name="anomalyd", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return Exit.USAGE
    except click.ClickException as error:
        error.show()
        return Exit.FAILED
    except click.Abort:
        return _fail("stopped", Exit.FAILED)
    except CommandError as error:
        return _fail(str(error), error.code)
    except OSError as error:
        named = error.filename and f"{error.filename}: cannot be read or written: {error.strerror}"
        return _fail(named or str(error), Exit.IO)
    except Exception as error:
        code = _expected(error)
        if code is None:
            raise
        return _fail(str(error), code)
    return result if isinstance(result, int) else Exit.DONE


def _expected(error: Exception) -> Exit | None:
    """The code of an error of our own packages; None for one that nobody foresaw."""
    import sqlite3

    from config import ConfigError
    from registry.bundle import BundleError

    if isinstance(error, ConfigError):
        return Exit.CONFIG
    if isinstance(error, sqlite3.Error):
        return Exit.IO
    return Exit.FAILED if isinstance(error, BundleError) else None


def _fail(message: str, code: Exit) -> int:
    click.echo(f"anomalyd: {message}", err=True)
    return code
