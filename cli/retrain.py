"""`anomalyd retrain`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec.structs import replace

from cli.exits import CommandError, Exit
from cli.options import config_option, json_option, load_settings, need_trainer
from cli.progress import note
from cli.train import summary, turn_of
from config import Settings
from config.policies import health_policy, milliseconds
from detector.health import HealthPolicy
from detector.history import History, merged
from detector.scoring import Detector
from registry.champions import Registry
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
        for machine, histories in _lines(settings):
            turns.append(_turn(machine, histories, settings))
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


def _turn(machine: str | None, histories: list[History], settings: Settings) -> dict[str, Any]:
    least = settings.retrain.min_readings
    enough = [history for history in histories if len(history) >= least]
    if not enough:
        most = max(map(len, histories))
        text = f"no machine has {least} readings outside of alerts (retrain.min_readings), but {most} at most"
        return {"machine": machine, "promoted": False, "reason": "too_few_readings", "text": text}
    few = len(histories) - len(enough)
    left_out = f", {few} with fewer than {least} left out" if few else ""
    rows = sum(map(len, enough))
    whose = counted(len(enough), "machine")
    note(f"{machine or 'shared'}: {counted(rows, 'stored reading')} of {whose}{left_out}")
    try:
        return summary(turn_of(enough, _with_brief_report(settings), machine, ("store",)))
    except CommandError as error:
        if error.code is not Exit.DATA:
            raise
        return {"machine": machine, "promoted": False, "reason": "unusable_history", "text": str(error)}


def _with_brief_report(settings: Settings) -> Settings:
    """A full one takes seconds, which a daemon beside machines should not spend unless it is asked to."""
    if settings.trainer.report != "auto":
        return settings
    return replace(settings, trainer=replace(settings.trainer, report="brief"))


def _lines(settings: Settings) -> Iterator[tuple[str | None, list[History]]]:
    """For each line of champions the stored histories of its machines, without alerted stretches."""
    from daemon.assembly import STORE
    from daemon.store import Store

    path = settings.state_dir / STORE
    if not path.exists():
        return
    registry = Registry(settings.state_dir)
    champions, _ = registry.load({})
    look_back = milliseconds(settings.retrain.look_back)
    histories: dict[str | None, list[History]] = {}
    store = Store(path, read_only=True)
    try:
        for name in store.machines():
            newest = store.newest(name)
            if newest is not None:
                stored = store.history(name, newest - look_back)
                line = name if name in champions.own else None
                learned = _learnable(stored, store.alerted(name), champions.of(name), health_policy(settings))
                histories.setdefault(line, []).append(learned)
    finally:
        store.close()
    yield from histories.items()


def _learnable(
    stored: History,
    alerted: Sequence[tuple[int, int | None]],
    champion: Detector | None,
    health: HealthPolicy,
) -> History:
    """What a challenger may learn from: the champion's sensors on its grid, without what led to alerts.

    Nor from sensors that were stuck.

    A machine that sends one sensor a message has rows of one sensor each; on the grid they are whole.
    """
    from trainer.stretches import unstuck
    from trainer.turn import leave_out

    if champion is None:
        return leave_out(stored, alerted, margin=0)
    manifest = champion.manifest
    on_grid = unstuck(merged(stored.select(manifest.sensors), manifest.grid), manifest, health)
    return leave_out(on_grid, alerted, margin=manifest.window.length * manifest.grid.interval)
