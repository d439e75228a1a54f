"""What the commands for operators share: they put a command down for the daemon, and wait for its answer."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from cli.exits import CommandError, Exit
from cli.options import load_settings
from config.problems import nearest

if TYPE_CHECKING:
    from daemon.commands.answer import Answer
    from daemon.commands.asking import Asking
    from daemon.commands.command import Command

F = TypeVar("F", bound=Callable[..., Any])

PATIENCE = 10.0  # seconds for an answer: the daemon looks once a second, and a disk may be slow


def _whoever() -> str:
    """The user's name, which a container may not have."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


by_option: Callable[[F], F] = click.option(
    "--by", metavar="NAME", default=_whoever, help="Who says so.  [default: the user]"
)
note_option: Callable[[F], F] = click.option("--note", metavar="TEXT", default="", help="Why.")
machine_argument: Callable[[F], F] = click.argument("machine")


@contextmanager
def asking(config: Path | None) -> Iterator[tuple[Asking, Path]]:
    """The store and the state directory that it lies in.

    Raises:
        CommandError: There is none, or it cannot be used.
    """
    from daemon.commands.asking import Asking
    from daemon.opening import StoreError

    folder = load_settings(config)[1].state_dir
    path = folder / "store.sqlite"
    if not path.exists():
        raise CommandError(Exit.FAILED, f"{path}: there is no store yet, as no daemon has run here")
    try:
        store = Asking(path)
    except StoreError as error:
        raise CommandError(Exit.IO, str(error)) from error
    try:
        yield store, folder
    finally:
        store.close()


def send(
    make: Callable[[], Command], store: Asking, folder: Path, machine: str | None, *, as_json: bool
) -> None:
    """Has the daemon obey a command, and prints its answer.

    Args:
        make: Makes the command; raises ValueError where it cannot be one.
        store: Where it is put down.
        folder: The state directory, which a daemon holds.
        machine: Whom it is about; None: none in particular.
        as_json: Whether the answer is printed as it would be published.

    Raises:
        CommandError: It was refused, or not answered.
    """
    from daemon.locking import holder

    try:
        command = make()
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    check_machine(store, machine)
    number = store.put(command, machine)
    if holder(folder) is None:
        _tell_put_down(number, as_json=as_json)
        return
    answer = store.answer(number, PATIENCE)
    if answer is None:
        waits = f"it has command {number} and obeys it once it can"
        raise CommandError(Exit.FAILED, f"the daemon has not answered within {PATIENCE:g} s; {waits}")
    _tell(answer, as_json=as_json)


def check_machine(store: Asking, machine: str | None) -> None:
    """Refuses a machine that the store has never heard of."""
    if machine is None:
        return
    known = [name for name, _ in store.machines()]
    if machine not in known:
        near = nearest(machine, known)
        hint = f"; did you mean {near}?" if near else ""
        raise CommandError(Exit.FAILED, f"nothing was ever heard of machine {machine}{hint}")


def _tell_put_down(number: int, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode({"done": False, "reason": "no_daemon", "number": number}).decode())
    else:
        click.echo("no daemon runs here; the next one obeys when it starts")


def _tell(answer: Answer, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(answer).decode())
    if not answer.done:
        raise CommandError(Exit.FAILED, answer.text)
    if not as_json:
        click.echo(answer.text)
