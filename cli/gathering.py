"""What the store and the registry hold of the machines, for a retraining."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from config.policies import milliseconds
from daemon.clock import now
from registry import drifts
from registry.champions import Registry
from registry.drifts import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from config import Settings
    from detector.history import History
    from detector.pipeline import Champions
    from detector.scoring import Detector
    from registry.drifts import Drift
    from registry.requests import Request
    from trainer.composition import Stored
    from trainer.leaving_out import Suspected

HOLDS_FOR = 3  # times that a measurement of drift may fail to come before the last one counts no more
DAY = timedelta(days=1)  # if they come more often than that, or by hand


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """What a line of champions can learn from.

    Attributes:
        machine: Whose line; None: the shared one.
        stored: What is stored of its machines.
        champion: What serves them; None: nothing does, or nothing that can be used.
        remembered: What the champion remembers.
    """

    machine: str | None
    stored: Sequence[Stored]
    champion: Detector | None
    remembered: Sequence[History]


def suspected(drift: Drift | None) -> tuple[Suspected, ...]:
    """When a fault may be developing, by what was found of a machine's drift."""
    from trainer.leaving_out import Suspected

    if drift is None or drift.kind is not Kind.DEVELOPING or drift.since is None:
        return ()
    return (Suspected(drift.since, None, drift.text, tuple(part.sensor for part in drift.sensors)),)


def _counts(drift: Drift | None, champions: Champions, settings: Settings) -> bool:
    """Whether what was found holds still: by the model that serves, and not long ago."""
    if drift is None:
        return False
    every = settings.drift.every or DAY
    champion = champions.fitted(drift.machine)
    serves = champion is not None and champion.manifest.id == drift.model
    return serves and abs(now() - drift.measured_at) <= milliseconds(HOLDS_FOR * max(every, DAY))


def gather(settings: Settings, request: Request | None = None) -> Iterator[Gathered]:
    """What there is for each line of champions, one after the other; of those that are asked for, if any.

    Raises:
        StoreError: The store cannot be read.
        BundleError: `champions.json` cannot be read.
    """
    from daemon.assembly import STORE
    from daemon.store import Store
    from trainer import memory
    from trainer.composition import Stored

    path = settings.state_dir / STORE
    if not path.exists():
        return
    registry = Registry(settings.state_dir)
    champions, _ = registry.load({})
    found = drifts.read(settings.state_dir)
    look_back = milliseconds(settings.retrain.look_back)
    store = Store(path, read_only=True)
    try:
        asked = (request.machines if request else None) or ()
        own = {*champions.own, *(asked if request and request.own else ())}
        newest = {name: store.newest(name) for name in store.machines()}
        known = {None, *newest, *champions.own}  # a name that is spelt wrong asks for nothing
        wanted = {name if name in own else None for name in asked if name in known}
        lines: dict[str | None, list[str]] = {}
        for name, at in newest.items():
            if at is not None:
                lines.setdefault(name if name in own else None, []).append(name)
        for machine, names in lines.items():
            if asked and machine not in wanted:
                continue
            stored = [
                Stored(
                    store.history(name, (newest[name] or 0) - look_back),
                    store.alerted(name),
                    store.labels(name),
                    suspected(found.get(name)) if _counts(found.get(name), champions, settings) else (),
                )
                for name in names
            ]
            champion = champions.of(names[0])
            bundle = registry.bundles / champion.manifest.id if champion else None
            yield Gathered(machine, stored, champion, memory.read(bundle) if bundle else ())
    finally:
        store.close()
