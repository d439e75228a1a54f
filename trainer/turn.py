"""One turn: train, write the bundle, let the gate decide, promote."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from config.policies import milliseconds
from detector.manifest import Asked
from registry.bundle import BundleError, load, new_id
from registry.turns import Record
from trainer import warm
from trainer.export import ExportDiffers
from trainer.gate import Decision, Reason
from trainer.grounds import grounds, newest_of
from trainer.jobs import Job
from trainer.judging import judge
from trainer.probes import EACH
from trainer.problems import Unusable
from trainer.stages import Stage
from trainer.training import MOST_FULL, train, train_each
from trainer.turn_record import iso, outcome, turn_id, write_down, write_down_none
from trainer.wording import moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from config.settings import Settings
    from detector.history import History
    from detector.scoring import Detector
    from registry.champions import Registry
    from registry.requests import Request
    from trainer.composition import Learned
    from trainer.finishing import Trained


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """What a turn came to.

    Attributes:
        trained: The bundle's manifest and figures; it is on disk either way.
        decision: Whether it serves now, and why.
        champion: The bundle it was compared with.
        record: What was written down of it.
        pruned: Old bundles that were deleted to make room.
        prune_failed: Why they could not be; None: nothing was in the way.
    """

    trained: Trained
    decision: Decision
    champion: str | None
    record: Record
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

    What ended it before there was a challenger is written down as well.

    Args:
        histories: See `Job`.
        settings: The configuration.
        registry: Takes the bundle.
        machine: Whom it serves; None: every machine without a bundle of its own.
        source: Where the histories came from, for people.
        now: When the bundle is made.
        request: Who asked for a retraining, and why; None: it is a training from files.
        learned: How the histories were composed, and what else is stored; None: they are recordings.
        progress: Is told at every stage and after every epoch.

    Raises:
        Unusable: The history cannot carry a model.
        ExportDiffers: The export cannot be trusted.
        OSError: The disk refuses; where it can be known before, it is.
    """
    registry.prepare()
    asked = Asked(request.by, request.reason) if request else None
    champion = _model_of(registry, machine) if learned is not None else None
    job = Job(histories, machine, source, new_id(now), learned, asked, champion)
    try:
        trained = train(job, settings=settings, created_at=now, progress=progress)
    except (Unusable, ExportDiffers) as error:
        _write_down_failure(error, job, settings, registry, now)
        raise
    return _judge(trained, settings, registry, now, learned, progress)


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
        if isinstance(made, Exception):
            _write_down_failure(made, job, settings, registry, now)
            yield job.machine, made
        else:
            yield (
                job.machine,
                _judge(made, settings, registry, now, each=1 if len(jobs) > MOST_FULL else EACH),
            )


def _judge(
    trained: Trained,
    settings: Settings,
    registry: Registry,
    now: datetime,
    learned: Learned | None = None,
    progress: Callable[[Stage], None] = lambda _: None,
    each: int = EACH,
) -> Turn:
    """Writes the bundle, puts it into service or lets it wait if it passes the gate, and writes that down."""
    manifest, machine = trained.manifest, trained.manifest.machine
    progress(Stage("comparing with the champion"))
    champion = champion_of(registry, machine)
    stored = newest_of(learned) if learned else ()
    parts = trained.parts
    rows = grounds(parts.normal, parts.gate, stored, machine, registry, settings, apart=parts.gate_apart)
    # A person who trains from files wants the bundle, if it is no worse.
    judged = judge(trained.detector, champion, rows, settings, equal_will_do=learned is None, each=each)
    decision = judged.decision
    if decision.promote and registry.pinned(machine):
        text = f"the champion is pinned (anomalyd models unpin); else it would serve: {decision.text}"
        decision = replace(decision, promote=False, reason=Reason.PINNED, text=text)
    progress(Stage("writing the bundle"))
    bundle = registry.add(manifest, trained.files).manifest.id
    notes = []
    if decision.promote:
        progress(Stage("putting it into service"))
        decision, replaced = _put_into_service(
            decision, bundle, registry, settings, now, first=champion is None, by_hand=learned is None
        )
        if replaced:
            notes.append(f"it takes the place of {replaced}, which waited")
    progress(Stage("writing it down"))
    before = champion.manifest.id if champion else None
    record = Record(
        id=turn_id(bundle, registry, now),
        at=iso(now),
        machine=machine,
        outcome=outcome(decision),
        reason=decision.reason,
        text=decision.text,
        bundle=bundle,
        champion=before,
        source=manifest.history.source,
        asked=manifest.asked,
        composition=learned.composition if learned else None,
        notes=tuple(notes),
        seconds={"fit": round(manifest.metrics["seconds"], 3)},
    )
    record = write_down(record, judged, settings, registry)
    try:
        pruned = registry.prune(settings.bundles.max_size)
    except OSError as error:  # the bundle serves all the same
        return Turn(trained, decision, before, record, (), str(error))
    return Turn(trained, decision, before, record, tuple(pruned))


def _put_into_service(
    decision: Decision,
    bundle: str,
    registry: Registry,
    settings: Settings,
    now: datetime,
    *,
    first: bool,
    by_hand: bool,
) -> tuple[Decision, str | None]:
    """Promotes a bundle, or lets it wait where that is wished for.

    Returns:
        What was done, and the challenger whose place it took where it waits.
    """
    wishes, since = settings.retrain, round(now.timestamp() * 1000)
    if wishes.promote == "manual" and not by_hand:
        text = f"it waits for anomalyd models promote {bundle} (retrain.promote: manual): {decision.text}"
        waiting = replace(decision, promote=False, reason=Reason.MANUAL, text=text)
        return waiting, registry.wait(bundle, since=since, until=None)
    if wishes.shadow is not None and not by_hand and not first:
        until = since + milliseconds(wishes.shadow)
        text = f"it waits beside the champion until {moment(until)} (retrain.shadow): {decision.text}"
        waiting = replace(decision, promote=False, reason=Reason.SHADOW, text=text)
        return waiting, registry.wait(bundle, since=since, until=until)
    registry.promote(bundle)
    return decision, None


def _write_down_failure(
    error: Unusable | ExportDiffers, job: Job, settings: Settings, registry: Registry, now: datetime
) -> None:
    write_down_none(
        "unusable_history" if isinstance(error, Unusable) else "export_differs",
        str(error),
        job.machine,
        job.learned,
        settings=settings,
        registry=registry,
        now=now,
        source=job.source,
        asked=job.asked,
    )


def _model_of(registry: Registry, machine: str | None) -> warm.Champion | None:
    """The weights of what serves the machine now, where they are kept."""
    serving = registry.champion_of(machine)
    if serving is None:
        return None
    try:
        return warm.read(registry.read(serving))
    except BundleError:
        return None


def champion_of(registry: Registry, machine: str | None) -> Detector | None:
    """What serves the machine now, be it a bundle of its own; one that cannot be used is none."""
    serving = registry.champion_of(machine)
    if serving is None:
        return None
    try:
        return load(registry.read(serving))
    except BundleError:
        return None
