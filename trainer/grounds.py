"""The rows by which a challenger is judged: from the parts of its history, the store, and kept incidents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detector.labels import LabelKind
from registry.incidents import Incident, Incidents
from trainer.judging import Grounds, Newest, newest
from trainer.wording import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from config.settings import Settings
    from detector.history import History
    from registry.champions import Registry
    from trainer.composition import Learned

BEFORE = 300  # readings kept before an incident: any usual window is full by then, and has forgotten
AFTER = 60  # after it
MOST_ROWS = 5_000  # of one incident; of a longer one the first ones tell whether it is found


def grounds(
    normal: Sequence[History],
    held_back: Sequence[History],
    stored: Sequence[Newest],
    machine: str | None,
    registry: Registry,
    settings: Settings,
    *,
    apart: bool = True,
    since: int | None = None,
) -> Grounds:
    """All rows to judge by; incidents that are new are kept on the way.

    Args:
        normal: All normal rows of each machine.
        held_back: Those of them that the challenger was not fitted on.
        stored: All that is stored of the machines; nothing where somebody trains from files.
        machine: Whose bundle is made; None: the shared one.
        registry: Tells which machines have bundles of their own, and where incidents are kept.
        settings: The configuration.
        apart: See `Grounds`.
        since: See `newest`.
    """
    folder = Incidents(registry.state_dir)
    notes = _keep(stored, folder, settings)
    incidents, problems = folder.all()
    own = registry.champions().keys() - {None}
    stream, text = newest(stored, settings, since=since)
    return Grounds(
        normal=tuple(normal),
        held_back=tuple(held_back),
        apart=apart,
        stream=stream,
        incidents=tuple(
            one
            for one in incidents
            if (one.history.machine == machine if machine else one.history.machine not in own)
        ),
        notes=(*([text] if text else []), *notes, *problems),
    )


def newest_of(learned: Learned) -> tuple[Newest, ...]:
    """All that is stored of the machines, whether it may be learned from or not."""
    return tuple(Newest(one.history, tuple(one.labels)) for one in learned.stored)


def _keep(stored: Sequence[Newest], folder: Incidents, settings: Settings) -> list[str]:
    """Keeps what was confirmed while the store has its readings, and forgets what is confirmed no more."""
    notes = []
    for one in stored:
        if not len(one.history):
            continue
        confirmed = {label.start for label in one.labels if label.kind is LabelKind.CONFIRMED}
        for kept in folder.all()[0]:
            within = kept.history.machine == one.history.machine and kept.start >= one.history.at[0]
            if within and kept.start not in confirmed and folder.forget(kept.history.machine, kept.start):
                notes.append(f"{kept.name} is confirmed no more")
        for incident in _incidents(one):
            folder.keep(incident)
    gone = folder.bound(settings.retrain.incidents_size)
    if gone:
        notes.append(f"no room for the oldest incidents (retrain.incidents_size): {listed(gone)}")
    return notes


def _incidents(one: Newest) -> Iterator[Incident]:
    """The confirmed incidents of a machine whose readings are stored, those before them too."""
    at = one.history.at
    for label in one.labels:
        end = int(at[-1]) if label.end is None else label.end
        if label.kind is not LabelKind.CONFIRMED or label.start < at[0] or label.start > at[-1]:
            continue
        first = max(0, int(np.searchsorted(at, label.start)) - BEFORE)
        stop = min(int(np.searchsorted(at, end, side="right")) + AFTER, first + MOST_ROWS)
        yield Incident(label.start, end, label.code, label.note, one.history.rows(slice(first, stop)))
