"""`anomalyd drift`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
import numpy as np

from cli.exits import CommandError, Exit
from cli.options import PATH, config_option, json_option, load_settings, need_trainer
from cli.outputs import check_writable, write
from cli.progress import note
from cli.tables import print_lines, print_table
from trainer.wording import moment, rounded

if TYPE_CHECKING:
    from config import Settings
    from detector.scoring import Detector
    from registry.champions import Registry
    from registry.drifts import Drift, Moved
    from trainer.drift_follow import Watched
    from trainer.drift_memory import Followed

BARS = "▁▂▃▄▅▆▇█"
BAR = 24  # characters of a course
FLAT = 0.1  # of a decade: what varies by less is a flat line
Found = list[tuple["Drift", "Followed", "Watched"]]


@click.command(short_help="Say which machines have changed slowly, and how.")
@click.argument("history", nargs=-1, type=PATH)
@click.option("--machine", metavar="NAME", help="This machine alone.")
@click.option("--bundle", metavar="ID", help="By this bundle.  [default: the one that serves]")
@click.option("--html", "page", metavar="FILE", type=PATH, help="Draw it, too, as a page in this file.")
@config_option
@json_option
def drift(
    history: tuple[Path, ...],
    machine: str | None,
    bundle: str | None,
    page: Path | None,
    config: Path | None,
    *,
    as_json: bool,
) -> None:
    """Say which machines have changed slowly, and how.

    Compares what was stored since a machine's model was made with what the model knows. The daemon does so
    by itself (drift.every). With files of HISTORY it looks into those instead.

    \b
    none        as the model knows it
    drift       sensors have moved, and the model explains them: another normal
    developing  the model's error has grown and is not level yet: perhaps a fault
    settled     the error has grown and has been level since: another normal
    unknown     too little is known
    """  # noqa: D301 - click keeps lines below a backspace as they are
    need_trainer("drift")
    from daemon.opening import StoreError

    _, settings = load_settings(config)
    if page is not None:
        check_writable(page)
    try:
        found = list(
            _recorded(history, settings, machine, bundle) if history else _stored(settings, machine, bundle)
        )
    except StoreError as error:
        raise CommandError(Exit.IO, str(error)) from error
    if page is not None:
        from trainer.drift_page import drift_page

        write(page, drift_page([(one, followed, watched.detector) for one, followed, watched in found]))
        note(f"drawn in {page}")
    if as_json:
        click.echo(msgspec.json.encode([one for one, _, _ in found]).decode())
    else:
        show(found)


def show(found: Found) -> None:
    """Prints it for people."""
    if not found:
        click.echo("no machine that a bundle serves has stored readings")
        return
    print_table(HEADINGS, (_row(one, followed) for one, followed, _ in found), numbers_from=len(HEADINGS))
    told = [(one.machine, one.text) for one, _, _ in found if one.kind != "none"]
    if told:
        click.echo()
        for name, text in told:
            print_lines([("", f"{name}: {text}")])


HEADINGS = ("machine", "drift", "since", "score", "usual", "course", "sensors")


def _row(one: Drift, followed: Followed) -> tuple[str, ...]:
    return (
        one.machine,
        one.kind,
        "" if one.since is None else moment(one.since)[:-3],
        "" if one.score is None else rounded(one.score),
        "" if one.usual is None else rounded(one.usual),
        bars(followed.newest.score.tolist()),
        ", ".join(map(_told, one.sensors[:3])),
    )


def _told(part: Moved) -> str:
    """A sensor, and its share in the growth of the error, or how far it has moved."""
    if part.share:
        return f"{part.sensor} {part.share:.0%}"
    return part.sensor if part.size is None else f"{part.sensor} {part.size:+.1f}σ"


def bars(numbers: Sequence[float]) -> str:
    """Numbers over time as a word of bars, from their lowest to their highest; each bar is a median."""
    if not numbers:
        return ""
    pieces = np.array_split(np.array(numbers), min(BAR, len(numbers)))
    middles = np.array([np.median(piece) for piece in pieces])
    step = max(float(np.ptp(middles)), FLAT) / len(BARS)
    places = ((middles - middles.min()) / step).astype(int).clip(max=len(BARS) - 1)
    return "".join(BARS[place] for place in places)


def _stored(
    settings: Settings, only: str | None, bundle: str | None
) -> Iterator[tuple[Drift, Followed, Watched]]:
    """Measures the machines of the store, and keeps what was found for the daemon and the next retraining."""
    from daemon.assembly import STORE
    from daemon.store import Store
    from registry import drifts
    from registry.champions import Registry
    from trainer import drift_memory, memory
    from trainer.drift_follow import Watched, drift_of, follow

    path, state = settings.state_dir / STORE, settings.state_dir
    if not path.exists():
        return
    registry = Registry(state)
    champions, _ = registry.load({})
    now = round(time.time() * 1000)
    known, kept = drifts.read(state), {}
    store = Store(path, read_only=True)
    try:
        names = store.machines()
        for name in sorted(names):
            newest = store.newest(name)
            detector = champions.of(name) if bundle is None else _bundle(registry, bundle)
            if newest is None or detector is None or only not in {None, name}:
                continue
            watched = Watched(
                name,
                detector,
                memory.read(registry.bundles / detector.manifest.id),
                lambda since, name=name: store.history(name, since),  # type: ignore[misc]
                newest,
                store.alerted(name),
                store.labels(name),
            )
            followed = follow(watched, drift_memory.read(state, name) if bundle is None else None, settings)
            one = drift_of(watched, followed, settings, now)
            if bundle is None:
                kept[name] = one
                _keep(lambda followed=followed: drift_memory.write(state, followed))  # type: ignore[misc]
            yield one, followed, watched
    finally:
        store.close()
    if bundle is None:
        whole = {name: one for name, one in known.items() if name in names} | kept
        _keep(lambda: drifts.write(state, [*whole.values()]))
        drift_memory.forget(state, names)


def _recorded(
    files: tuple[Path, ...], settings: Settings, machine: str | None, bundle: str | None
) -> Iterator[tuple[Drift, Followed, Watched]]:
    """Measures recordings; nothing is kept."""
    from cli.histories import read
    from registry.champions import Registry
    from trainer import memory
    from trainer.drift_follow import Watched, drift_of, follow

    registry = Registry(settings.state_dir)
    champions, _ = registry.load({})
    for history in read(files, settings, machine):
        detector = champions.of(history.machine) if bundle is None else _bundle(registry, bundle)
        if detector is None:
            raise CommandError(Exit.FAILED, f"{history.machine}: no bundle serves it; name one: --bundle ID")
        if not len(history):
            continue
        watched = Watched(
            history.machine,
            detector,
            memory.read(registry.bundles / detector.manifest.id),
            lambda since, history=history: history.rows(history.at >= since),  # type: ignore[misc]
            int(history.at[-1]),
        )
        followed = follow(watched, None, settings)
        yield drift_of(watched, followed, settings, round(time.time() * 1000)), followed, watched


def _bundle(registry: Registry, bundle: str) -> Detector:
    from registry.bundle import load

    return load(registry.read(bundle))


def _keep(write_it: Callable[[], None]) -> None:
    """What cannot be kept is measured anew the next time."""
    try:
        write_it()
    except OSError as error:
        note(f"not kept: {error.filename}: {error.strerror}")
