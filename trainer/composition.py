"""What a retraining learns from: stored readings less what was not normal, every regime, the newest."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from config.policies import health_policy, milliseconds, operation_policy
from detector.composition import Composition, LeftOut, Regime
from detector.grid import Grid
from detector.history import merged
from detector.modes import running
from trainer.blocks import choose, cut, length, newest_first, regimes, shares
from trainer.leaving_out import inside, left_out, vouched
from trainer.look import window_spec
from trainer.parts import joined
from trainer.stretches import unstuck
from trainer.wording import DAY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from config.settings import Settings
    from detector.history import History
    from detector.labels import Label
    from detector.manifest import Manifest, WindowSpec
    from detector.scoring import Detector
    from trainer.blocks import Blocks
    from trainer.leaving_out import Span, Suspected

NEWEST = 0.25  # share of the room that the newest rows have
MOST_TOLD = 100  # regimes in a manifest
LATELY = 7 * DAY  # by each machine's own newest reading,
MOST_LATELY = 10_000  # rows of it: a few seconds of replaying
NOT_NORMAL = (
    LeftOut.CONFIRMED,
    LeftOut.EXCLUDED,
    LeftOut.OFF,
    LeftOut.MAINTENANCE,
    LeftOut.NOT_RUNNING,
)


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """What is known of one machine's past.

    Attributes:
        history: Every reading, those in alert as well, in order of time.
        alerted: When the machine was in alert.
        labels: What was said about its time.
        suspected: When a fault may have been developing.
    """

    history: History
    alerted: Sequence[Span] = ()
    labels: Sequence[Label] = ()
    suspected: Sequence[Suspected] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What a challenger is fitted on, and what else is known about its machines' past.

    Attributes:
        histories: What may be learned, of each machine that has enough.
        vouched: Those of their rows that somebody called normal by calling an alert false, with the
            window before: the threshold has to rise over them.
        stored: What was given, but with the champion's sensors on its grid and without values of stuck
            sensors; all rows, of all machines.
        lately: The newest stored rows of all machines, those in alert as well; not what people said was no
            normal operation.
        alarmed: The share of them that was in alert.
        alerts: Alerts that opened in their time.
        composition: The same in numbers.
        few: By machine how many rows there are of those that have fewer than `retrain.min_readings` and
            were left out.
    """

    histories: tuple[History, ...]
    vouched: tuple[History, ...]
    stored: tuple[Stored, ...]
    lately: tuple[History, ...]
    alarmed: float
    alerts: int
    composition: Composition
    few: Mapping[str, int] = field(default_factory=dict)


def compose(
    stored: Sequence[Stored],
    champion: Detector | None,
    settings: Settings,
    remembered: Sequence[History] = (),
) -> Learned:
    """Chooses what a challenger learns from.

    Args:
        stored: The machines that it will serve.
        champion: What serves them now; its sensors and its grid are used. None: there is nothing yet.
        settings: Of which `retrain`, `trainer`, `alerts`, `operation` and `sensors` are used.
        remembered: What the champion was fitted on, by machine; see `trainer.memory`. Its rows before
            the stored ones join these.
    """
    manifest = champion.manifest if champion else None
    memory = {history.machine: history for history in remembered}
    parts = [_part(one, manifest, settings, memory.get(one.history.machine)) for one in stored]
    least = settings.retrain.min_readings
    enough = [part for part in parts if len(part.history) >= least]
    room = shares([len(part.history) for part in enough], settings.retrain.max_readings)
    chosen = [part.choose(most) for part, most in zip(enough, room, strict=True)]
    rows = [part.blocks.rows(blocks) for part, blocks in zip(enough, chosen, strict=True)]
    pairs = list(zip(enough, rows, strict=True))
    histories = tuple(part.history.rows(some) for part, some in pairs)
    named = tuple(part.history.rows(some & part.vouched) for part, some in pairs)
    left_out = sum((Counter(part.left_out) for part in parts), Counter[LeftOut]())
    left_out[LeftOut.NO_ROOM] += sum(int((~some).sum()) for some in rows)
    told = [regime for part, some in zip(enough, chosen, strict=True) for regime in part.regimes(some)]
    return Learned(
        histories=histories,
        vouched=tuple(history for history in named if len(history)),
        stored=tuple(part.stored for part in parts),
        lately=tuple(part.lately for part in parts if len(part.lately)),
        alarmed=sum(part.alarms for part in parts) / max(1, sum(len(part.lately) for part in parts)),
        alerts=sum(part.alerts for part in parts),
        composition=Composition(
            start=min((int(history.at[0]) for history in histories), default=None),
            end=max((int(history.at[-1]) for history in histories), default=None),
            stored=sum(len(part.stored.history) for part in parts),
            remembered=sum(part.remembered for part in parts),
            machines={history.machine: len(history) for history in histories},
            left_out={reason: left_out[reason] for reason in LeftOut if left_out[reason]},
            stuck=sum(part.stuck for part in parts),
            labels=_labels(parts),
            vouched=sum(map(len, named)),
            alerted_lately=max((part.alerted_lately for part in parts), default=0.0),
            regimes=tuple(told[:MOST_TOLD]),
        ),
        few={part.history.machine: len(part.history) for part in parts if len(part.history) < least},
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One machine.

    Attributes:
        stored: See `Learned.stored`.
        remembered: Rows that were remembered from before.
        stuck: Values of stuck sensors.
        history: Rows that may be learned from, on the grid.
        vouched: Which of them are of false alarms, shape (N,).
        left_out: How many others there were.
        alerted_lately: Share of the newest day's rows that were in alert.
        lately: See `Learned.lately`.
        alarms: How many of those rows were in alert.
        alerts: How many alerts opened in their time.
        blocks: In which those of `history` lie.
        regime: Of each block.
    """

    stored: Stored
    remembered: int
    stuck: int
    history: History
    vouched: NDArray[np.bool_]
    left_out: Mapping[LeftOut, int]
    alerted_lately: float
    lately: History
    alarms: int
    alerts: int
    blocks: Blocks
    regime: NDArray[np.intp]

    def choose(self, most: int) -> NDArray[np.bool_]:
        """Which blocks are learned from where there is room for so many rows, shape (B,)."""
        order = newest_first(self.blocks)
        newest = order[np.cumsum(self.blocks.sizes[order]) <= NEWEST * most]
        vouched = order[self.blocks.any(self.vouched)[order]]
        return choose(self.blocks, self.regime, most, order, first=(*newest, *vouched))

    def regimes(self, chosen: NDArray[np.bool_]) -> Iterator[Regime]:
        """What there is of each regime, and what is chosen of it."""
        at, blocks = self.history.at, self.blocks
        for number in np.unique(self.regime).tolist():
            of = np.flatnonzero(self.regime == number)
            yield Regime(
                machine=self.history.machine,
                rows=int(blocks.sizes[of[chosen[of]]].sum()),
                of=int(blocks.sizes[of].sum()),
                start=int(at[blocks.starts[of[0]]]),
                end=int(at[blocks.stops[of[-1]] - 1]),
            )


def _part(one: Stored, manifest: Manifest | None, settings: Settings, memory: History | None) -> _Part:
    history, stuck, window = one.history, 0, window_spec(settings.trainer)
    if manifest is not None:
        history, window = merged(history, manifest.grid), manifest.window
    operation = operation_policy(settings)
    ran = running(history, operation)  # which may be told by a sensor that is not the champion's
    if manifest is not None:
        on_grid = history.select(manifest.sensors)
        history = unstuck(on_grid, manifest, health_policy(settings))
        stuck = int(np.isnan(history.values).sum() - np.isnan(on_grid.values).sum())
    whole = _with_memory(history, memory)
    ran = np.concatenate([np.ones(len(whole) - len(history), np.bool_), ran])  # as it was when it was learned
    grid = manifest.grid if manifest else _grid(whole)
    margin = margin_of(settings, window, grid)
    reasons = left_out(
        whole.at,
        labels=one.labels,
        alerted=one.alerted,
        suspected=one.suspected,
        running=ran,
        settle=operation.settle,
        margin=margin,
    )
    newest = int(whole.at[-1]) if len(whole) else 0
    day, week = whole.at > newest - DAY, whole.at > newest - LATELY
    in_operation = ~np.logical_or.reduce([reasons[reason] for reason in NOT_NORMAL])
    lately = np.flatnonzero(week & in_operation)[-MOST_LATELY:]
    keep = ~np.logical_or.reduce(list(reasons.values()))
    usable = whole.rows(keep)
    blocks = cut(usable, grid, window.max_gap, length(window.length, settings.retrain.max_readings))
    return _Part(
        stored=replace(one, history=history),
        remembered=len(whole) - len(history),
        stuck=stuck,
        history=usable,
        vouched=vouched(usable.at, one.labels, one.alerted, margin),
        left_out={reason: int(rows.sum()) for reason, rows in reasons.items()},
        alerted_lately=float(reasons[LeftOut.ALERT][day].mean()) if day.any() else 0.0,
        lately=whole.rows(lately),
        alarms=int(inside(whole.at[lately], one.alerted).sum()),
        alerts=sum(bool(len(lately)) and start >= whole.at[lately[0]] for start, _ in one.alerted),
        blocks=blocks,
        regime=regimes(usable, blocks),
    )


def margin_of(settings: Settings, window: WindowSpec, grid: Grid) -> int:
    """Milliseconds around an alert that are left out with it.

    By itself a window and the windows that may open an alert: what led to it, and what came after.
    """
    wished = settings.retrain.margin
    if wished is None:
        return 0
    if wished != "auto":
        return milliseconds(wished)
    return (window.length + window.stride * settings.alerts.open_within) * grid.interval


def _grid(history: History) -> Grid:
    """What readings that no bundle knows seem to come in."""
    try:
        return Grid.learn(history.at)
    except ValueError:
        return Grid(1)


def _with_memory(history: History, memory: History | None) -> History:
    """With the remembered rows before the first one."""
    if memory is None:
        return history
    earlier = memory.select(history.sensors)
    if len(history):
        earlier = earlier.rows(earlier.at < history.at[0])
    return replace(joined(earlier, history), texts={**memory.texts, **history.texts})


def _labels(parts: Sequence[_Part]) -> dict[str, int]:
    """By kind the labels that lie within the time of the rows."""
    found: Counter[str] = Counter()
    for part in parts:
        at = part.stored.history.at
        if len(at):
            found.update(
                label.kind for label in part.stored.labels if label.end is None or label.end >= at[0]
            )
    return dict(sorted(found.items()))
