"""One turn: train, write the bundle, let the gate decide, promote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector.manifest import Asked
from registry.bundle import BundleError, load, new_id
from trainer.gate import Decision, Reason, decide, figures
from trainer.jobs import Job
from trainer.training import train, train_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from config.settings import Settings
    from detector.history import History
    from detector.scoring import Detector
    from registry.champions import Registry
    from registry.requests import Request
    from trainer.composition import Learned
    from trainer.export import ExportDiffers
    from trainer.finishing import Trained
    from trainer.problems import Unusable
    from trainer.stages import Stage


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """What a turn came to.

    Attributes:
        trained: The bundle's manifest and figures; it is on disk either way.
        decision: Whether it serves now, and why.
        champion: The bundle it was compared with.
        pruned: Old bundles that were deleted to make room.
        prune_failed: Why they could not be; None: nothing was in the way.
    """

    trained: Trained
    decision: Decision
    champion: str | None
    pruned: tuple[str, ...]
    prune_failed: str | None = None


def take_turn(
    histories: Sequence[History],
    *,
    settings: Settings,
    registry: Registry,
    machine: str | None,
    source: tuple[str, ...],
    now: datetime,
    request: Request | None = None,
    learned: Learned | None = None,
    progress: Callable[[Stage], None] = lambda _: None,
) -> Turn:
    """Trains a challenger and makes it champion if it passes the gate.

    Args:
        histories: See `Job`.
        settings: The configuration.
        registry: Takes the bundle.
        machine: Whom it serves; None: every machine without a bundle of its own.
        source: Where the histories came from, for people.
        now: When the bundle is made.
        request: Who asked for a retraining, and why; None: it is a training from files.
        learned: How the histories were composed; None: they are recordings.
        progress: Is told at every stage and after every epoch.

    Raises:
        Unusable: The history cannot carry a model.
        ExportDiffers: The export cannot be trusted.
        OSError: The disk refuses; where it can be known before, it is.
    """
    registry.prepare()
    asked = Asked(request.by, request.reason) if request else None
    job = Job(histories, machine, source, new_id(now), learned, asked)
    trained = train(job, settings=settings, created_at=now, progress=progress)
    return _judge(trained, settings, registry)


def take_turns(
    histories: Sequence[tuple[History, tuple[str, ...]]],
    *,
    settings: Settings,
    registry: Registry,
    now: datetime,
    progress: Callable[[Stage], None] = lambda _: None,
) -> Iterator[tuple[str, Turn | Unusable | ExportDiffers]]:
    """Takes a turn for each machine alone, all of them together; each bundle is written once it is ready.

    Args:
        histories: One per machine, with where it came from.
        settings, registry, now, progress: See `take_turn`.

    Yields:
        Each machine with its turn, or with what kept it from one.

    Raises:
        OSError: See `take_turn`.
    """
    registry.prepare()
    ids: dict[str, None] = {}
    while len(ids) < len(histories):
        ids[new_id(now)] = None  # of one second's ids, some hundred are likely to hold a pair
    jobs = [
        Job((history,), history.machine, source, one)
        for (history, source), one in zip(histories, sorted(ids), strict=True)
    ]
    for job, made in train_each(jobs, settings=settings, created_at=now, progress=progress):
        assert job.machine is not None
        yield job.machine, made if isinstance(made, Exception) else _judge(made, settings, registry)


def _judge(trained: Trained, settings: Settings, registry: Registry) -> Turn:
    """Writes the bundle, and puts it into service if it passes the gate."""
    champion = _champion(registry, trained.manifest.machine)
    rows = trained.parts.gate
    decision = decide(
        figures(trained.detector, rows),
        figures(champion, rows) if champion else None,
        settings.retrain.gate,
        apart=trained.parts.gate_apart,
    )
    machine = trained.manifest.machine
    if decision.promote and registry.pinned(machine):
        text = f"the champion is pinned (anomalyd models unpin); else it would serve: {decision.text}"
        decision = Decision(promote=False, reason=Reason.PINNED, text=text)
    bundle = registry.add(trained.manifest, trained.files)
    if decision.promote:
        registry.promote(bundle.manifest.id)
    before = champion.manifest.id if champion else None
    try:
        pruned = registry.prune(settings.bundles.max_size)
    except OSError as error:  # the bundle serves all the same
        return Turn(trained, decision, before, (), str(error))
    return Turn(trained, decision, before, tuple(pruned))


def _champion(registry: Registry, machine: str | None) -> Detector | None:
    """What serves the machine now, be it a bundle of its own; one that cannot be used is none."""
    serving = registry.champion_of(machine)
    if serving is None:
        return None
    try:
        return load(registry.read(serving))
    except BundleError:
        return None
