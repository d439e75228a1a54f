"""`anomalyd retrain`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec.structs import replace

from cli.compositions import composed
from cli.exits import CommandError, Exit
from cli.gathering import Gathered, gather
from cli.options import config_option, json_option, load_settings, need_trainer
from cli.progress import note
from cli.tables import print_lines
from cli.train import summary, turn_of
from config import Settings
from trainer.wording import counted


@click.command(short_help="One retraining turn from stored readings.")
@config_option
@json_option
def retrain(config: Path | None, *, as_json: bool) -> None:
    """One retraining turn from the stored readings, less those in alert.

    Each champion gets a challenger fitted on what its machines sent lately; it takes over only if it
    passes the gate. The daemon calls this on its schedule (retrain.every). Too few stored readings
    are no failure: the next turn may find more.
    """
    need_trainer("retrain")
    from daemon.opening import StoreError
    from daemon.retraining import REQUEST

    _, settings = load_settings(config)
    with suppress(OSError):  # a reader of the state directory may take a turn that nobody asked for
        (settings.state_dir / REQUEST).unlink(missing_ok=True)
    turns: list[dict[str, Any]] = []
    try:
        turns.extend(_turn(gathered, settings) for gathered in gather(settings))
        if not turns and not as_json:
            click.echo("no reading is stored yet; the daemon stores them: anomalyd run")
    except StoreError as error:
        raise CommandError(Exit.IO, str(error)) from error
    finally:  # what was promoted before an error serves already
        _print(turns, as_json=as_json)


def _print(turns: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(turns).decode())
        return
    for turn in turns:
        word = "promoted" if turn["promoted"] else "not promoted"
        click.echo(f"{turn['machine'] or 'shared'}: {word}: {turn['text']}")
        print_lines(composed(turn["composition"]))
        if turn.get("begun"):
            print_lines([("fitted", turn["begun"])])


def _turn(gathered: Gathered, settings: Settings) -> dict[str, Any]:
    from trainer.composition import compose

    learned = compose(gathered.stored, gathered.champion, settings, gathered.remembered)
    machine, histories, few = gathered.machine, learned.histories, learned.few

    def without_bundle(reason: str, text: str) -> dict[str, Any]:
        return {
            "machine": machine,
            "promoted": False,
            "reason": reason,
            "text": text,
            "composition": learned.composition,
        }

    if not histories:
        least, most = settings.retrain.min_readings, max(few.values())
        return without_bundle(
            "too_few_readings",
            f"no machine has {least} readings to learn from (retrain.min_readings), but {most} at most",
        )
    left_out = f", {len(few)} with too few readings left out" if few else ""
    rows, whose = counted(learned.composition.rows, "reading"), counted(len(histories), "machine")
    note(f"{machine or 'shared'}: {rows} of {whose}{left_out}")
    try:
        turn = turn_of(histories, _with_brief_report(settings), machine, ("store",), learned)
    except CommandError as error:
        if error.code is not Exit.DATA:
            raise
        return without_bundle("unusable_history", str(error))
    begun = turn.trained.manifest.model.begun
    return summary(turn) | {"composition": learned.composition, "begun": begun}


def _with_brief_report(settings: Settings) -> Settings:
    """A full one takes seconds, which a daemon beside machines should not spend unless it is asked to."""
    if settings.trainer.report != "auto":
        return settings
    return replace(settings, trainer=replace(settings.trainer, report="brief"))
