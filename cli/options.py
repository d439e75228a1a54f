"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.exits import CommandError, Exit

if TYPE_CHECKING:
    from config import Settings

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(readable=False, path_type=Path)  # what cannot be read is no mistake in the command line


class Duration(click.ParamType[timedelta]):
    """A time span as the configuration has it."""

    name = "duration"

    def __init__(self, *, above_zero: bool = False) -> None:
        self._above_zero = above_zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:  # noqa: ANN401 - as click has it
        from config.problems import UnmetError
        from config.quantities import parse_duration

        try:
            duration = parse_duration(value)
        except UnmetError as unmet:
            self.fail(f"{unmet.must}, got {value}" + (f"; {unmet.hint}" if unmet.hint else ""), param, ctx)
        if self._above_zero and not duration:
            self.fail(f"must be more than 0s, got {value}", param, ctx)
        return duration


def config_option(command: F) -> F:
    """`--config FILE`, handed over as `config: Path | None`."""
    return click.option(
        "--config",
        type=PATH,
        help="Configuration file.  [default: $ANOMALYD_CONFIG, else /etc/anomalyd/anomalyd.yaml]",
    )(command)


def unused_config_option(command: F) -> F:
    """`--config FILE`, for commands that need none, so that a script may give it to every one."""
    return click.option(
        "--config",
        type=PATH,
        expose_value=False,
        help="Accepted, as by every command; nothing is read from it here.",
    )(command)


def json_option(command: F) -> F:
    """`--json`, handed over as `as_json: bool`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")(command)


def files_argument(name: str) -> Callable[[F], F]:
    """Files of history, one or more, handed over as a tuple of paths."""
    return click.argument(name, nargs=-1, required=True, type=PATH)


WHOSE = "Whose readings the files hold, where no column says so.  [default: the file's name]"


def machine_option(text: str = WHOSE) -> Callable[[F], F]:
    """`--machine NAME`, handed over as `machine: str | None`; refused if no machine can have the name."""
    return click.option("--machine", metavar="NAME", callback=_machine, help=text)


def _machine(_: click.Context, __: click.Parameter, name: str | None) -> str | None:
    problem = None if name is None else name_problem(name)
    if problem:
        raise click.BadParameter(problem)
    return name


def name_problem(name: str) -> str | None:
    """What is wrong with a machine's name; None: it is a good one."""
    from config.problems import shown
    from daemon.decoding import GOOD_NAME, MAX_NAME

    if 0 < len(name) <= MAX_NAME and name.isprintable() and not {*"/+#"} & {*name}:
        return None
    return f"must be one level of a topic, {GOOD_NAME} without / + #, got {shown(name)}"


def load_settings(config: Path | None) -> tuple[Path, Settings]:
    """Finds and loads the configuration.

    Raises:
        ConfigError: It has problems.
    """
    from config import find, load

    path = find(config, os.environ)
    return path, load(path, os.environ)


def need_trainer(command: str) -> None:
    """Says how to install the trainer where it is missing."""
    missing = [
        name for name in ("optuna", "pandas", "pyarrow", "sklearn", "tensorflow") if find_spec(name) is None
    ]
    if missing:
        raise CommandError(
            Exit.FAILED,
            f"{command}: needs the trainer, and {', '.join(missing)} is not installed here. "
            "Install it with: pip install 'anomalyd[trainer]'",
        )
