"""`anomalyd dead-letters`: the messages that were refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from cli.exits import CommandError, Exit
from cli.options import config_option, json_option, load_settings
from cli.tables import print_table

if TYPE_CHECKING:
    from daemon.dead_letters import DeadLetters, Letter

SHOWN = 50  # letters in the list, unless more are asked for
NONE = "no dead letter"


@click.group("dead-letters", short_help="List, show, replay and drop refused messages.")
def dead_letters() -> None:
    """List, show, replay and drop the messages that were refused; a running daemon goes on meanwhile."""


_numbers = click.argument("numbers", nargs=-1, type=int, metavar="[NUMBER]...")
_reason = click.option("--reason", metavar="REASON", help="Those of this reason, such as not_json.")
_all = click.option("--all", "all_of_them", is_flag=True, help="All of them.")


@dead_letters.command("list")
@_reason
@click.option(
    "--limit", type=click.IntRange(min=1), default=SHOWN, show_default=True, help="The newest so many."
)
@config_option
@json_option
def list_letters(reason: str | None, limit: int, config: Path | None, *, as_json: bool) -> None:
    """The refused messages, the newest first."""
    with _opened(config) as store:
        letters = list(islice(store.letters(reason=reason), limit)) if store else []
    if not letters:
        _check_reason(reason)
    if as_json:
        click.echo(msgspec.json.encode([_fields(letter) for letter in letters]).decode())
    elif not letters:
        click.echo(NONE if reason is None else f"{NONE} of reason {reason}")
    else:
        print_table(HEADINGS, map(_cells, letters), numbers_from=9, folded=4)


HEADINGS = ("number", "received", "topic", "reason", "detail", "replay")


def _fields(letter: Letter) -> dict[str, object]:
    from daemon.payloads import iso

    return {
        "number": letter.number,
        "received_at": iso(letter.received_at),
        "topic": letter.topic,
        "reason": letter.reason,
        "detail": letter.detail,
        "bytes": len(letter.payload),
        "payload": letter.payload.decode(errors="replace"),
        "replayable": letter.problem is None,
        "marked": letter.marked,
    }


def _cells(letter: Letter) -> tuple[str, ...]:
    from daemon.payloads import iso

    replay = "waits" if letter.marked else "cannot" if letter.problem else "can"
    received = iso(letter.received_at)
    return str(letter.number), received, _printable(letter.topic), letter.reason, letter.detail, replay


def _printable(text: str) -> str:
    """A topic may hold anything, and a terminal obeys some of it."""
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= 60 else f"{text[:57]}..."


def _harmless(payload: bytes) -> str:
    """A payload may hold anything, and a terminal obeys some of it."""
    text = payload.decode(errors="backslashreplace")
    return "".join(each if each.isprintable() or each in "\n\t" else ascii(each)[1:-1] for each in text)


@dead_letters.command()
@click.argument("number", type=int)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print it with its topic and reason.")
def show(number: int, config: Path | None, *, as_json: bool) -> None:
    """A message's payload as it came, its first 16 KiB; on a terminal with its control codes escaped."""
    with _opened(config) as store:
        letter = next(store.letters([number]), None) if store else None
    if letter is None:
        raise CommandError(Exit.FAILED, f"dead-letters show: there is no dead letter {number}")
    if as_json:
        click.echo(msgspec.json.encode(_fields(letter)).decode())
    else:
        click.echo(_harmless(letter.payload) if sys.stdout.isatty() else letter.payload, nl=False)


@dead_letters.command()
@_numbers
@_reason
@_all
@config_option
@json_option
def replay(
    numbers: tuple[int, ...], reason: str | None, config: Path | None, *, all_of_them: bool, as_json: bool
) -> None:
    """Read messages once more, by the present configuration.

    The daemon that runs takes them within seconds, else the next one. A reading whose time has passed
    is stored for the next training, but not scored. What is refused again stays, with its new reason.
    """
    with _opened(config) as store:
        chosen = _choose("replay", store, numbers, reason, all_of_them=all_of_them)
        good = [letter.number for letter in chosen if letter.problem is None]
        if store:
            store.mark(good)
    for letter in chosen:
        if letter.problem:
            click.echo(f"{letter.number} cannot be replayed: {letter.problem}", err=True)
    if as_json:
        left = [letter.number for letter in chosen if letter.problem]
        click.echo(msgspec.json.encode({"marked": good, "left": left}).decode())
    else:
        click.echo(f"{len(good)} marked; the daemon takes them within seconds, or when it starts")


@dead_letters.command()
@_numbers
@_reason
@_all
@config_option
@json_option
def drop(
    numbers: tuple[int, ...], reason: str | None, config: Path | None, *, all_of_them: bool, as_json: bool
) -> None:
    """Delete messages."""
    with _opened(config) as store:
        chosen = [
            letter.number for letter in _choose("drop", store, numbers, reason, all_of_them=all_of_them)
        ]
        if store:
            store.drop(chosen)
    click.echo(msgspec.json.encode({"dropped": chosen}).decode() if as_json else f"{len(chosen)} dropped")


def _choose(
    command: str,
    store: DeadLetters | None,
    numbers: tuple[int, ...],
    reason: str | None,
    *,
    all_of_them: bool,
) -> list[Letter]:
    """The letters that were asked for, the oldest first."""
    if (bool(numbers), reason is not None, all_of_them).count(True) != 1:
        raise click.UsageError(f"dead-letters {command}: give numbers, --reason REASON or --all")
    found = list(store.letters(numbers, reason=reason)) if store else []
    if not found:
        _check_reason(reason)
    missing = sorted({*numbers} - {letter.number for letter in found})
    if missing:
        which = ", ".join(map(str, missing))
        raise CommandError(Exit.FAILED, f"dead-letters {command}: there is no dead letter {which}")
    return found[::-1]


def _check_reason(reason: str | None) -> None:
    """Refuses a word that is no reason, of which there can be no letter."""
    from daemon.dead_letters import REASONS

    if reason is not None and reason not in REASONS:
        raise click.UsageError(f"--reason: must be one of {', '.join(REASONS)}, got {reason}")


@contextmanager
def _opened(config: Path | None) -> Iterator[DeadLetters | None]:
    """The store; None where there is none yet."""
    from daemon.dead_letters import DeadLetters
    from daemon.opening import StoreError

    path = load_settings(config)[1].state_dir / "store.sqlite"
    if not path.exists():
        yield None
        return
    try:
        letters = DeadLetters(path)
    except StoreError as error:
        raise CommandError(Exit.IO, str(error)) from error
    try:
        yield letters
    finally:
        letters.close()
