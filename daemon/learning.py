"""Watches over machines without a bundle: makes them provisional detectors, and has a bundle trained in time.

Nothing here is needed twice: what was fitted is kept beside the store, and what is gone is fitted anew.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from hashlib import blake2b
from importlib.util import find_spec
from typing import TYPE_CHECKING

import msgspec
import structlog

from config.policies import milliseconds
from daemon.progress import Progress, progress
from detector import manifest as manifests
from detector.labels import LabelKind
from detector.provisional import Provisional, fit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any, Protocol

    import numpy as np
    from numpy.typing import NDArray

    from config import Settings
    from daemon.store import Store
    from detector.history import History
    from detector.pipeline import Champions, Pipeline

    class Ask(Protocol):
        """Asks for a bundle for these machines, or (None) for one that all share; says whether it comes."""

        def __call__(self, machines: tuple[str | None, ...], reason: str) -> bool: ...


FOLDER = "learning"  # in the state directory
APART = 0.05  # seconds between two machines that are looked at, at least
REST = 9  # times as long as a look took: a tenth of the time is the most that looking may take
ROUND = 1.0  # seconds, at least, until a machine is looked at again
FEWEST = 3  # readings of which an interval can be learned
GROWTH = 1.5  # times the readings, or their time, after which a fit is done anew
RENEWED = 86_400_000  # milliseconds after which it is in any case
STRETCHES, ROWS = 20, 100  # of the readings, from all of their time, on which one is done
PAUSE, LONGEST_PAUSE = 60.0, 86_400.0  # seconds until a bundle is asked for again, and doubled up to that


class Learner(msgspec.Struct):
    """What is known of a machine that learns.

    Attributes:
        extent: Readings, and the times of the oldest and the newest, when it was last looked at.
        fitted: The same when the provisional detector was last fitted, or could not be.
        told: Whole percents of the progress that the state has told.
        refused: What the last turn of the trainer has found wrong.
    """

    extent: tuple[int, int, int] = (0, 0, 0)
    fitted: tuple[int, int, int] = (0, 0, 0)
    told: int = -1
    refused: str = ""


class Learning:
    """Takes a step between two steps of the service; each is bounded, however many machines there are."""

    def __init__(self, settings: Settings, store: Store, ask: Ask, *, able: bool) -> None:
        """Prepares.

        Args:
            settings: The configuration.
            store: Where the readings are.
            ask: Asks for a bundle.
            able: Whether a bundle can be trained here, or by another service.
        """
        self.settings = settings
        self._store = store
        self._ask = ask
        self._able = able
        self._told_unable = False
        self._folder = settings.state_dir / FOLDER
        self._learners: dict[str, Learner] = {}
        self._round: Iterator[str] = iter(())
        self._next = self._next_round = 0.0
        self._pause, self._again_at = PAUSE, 0.0
        self._fits = 0

    def over(self, champions: Champions, known: Champions | None = None) -> Champions:
        """The same champions with the provisional detectors of the machines that they do not serve.

        Args:
            champions: As the registry has them.
            known: Those in service; None at the start, where they are read from disk.
        """
        if not self.settings.learning.enabled:
            return msgspec.structs.replace(champions, provisional={}, learning=False)
        if known is None:
            self._clear()
        provisional = dict(self._read()) if known is None else known.provisional
        kept = {name: each for name, each in provisional.items() if champions.fitted(name) is None}
        for name in provisional.keys() - kept.keys():
            self._drop(name)
        return msgspec.structs.replace(champions, provisional=kept, learning=True)

    def step(self, pipeline: Pipeline) -> Champions | str | None:
        """Looks at one machine, if it is time.

        Returns:
            Champions to put into service, with one machine's detector made anew; or a machine of which there
            is only progress to tell; or None.

        Raises:
            sqlite3.Error: The disk refuses.
        """
        begun = time.monotonic()
        if not self.settings.learning.enabled or begun < self._next:
            return None
        try:
            return self._look(pipeline)
        finally:
            ended = time.monotonic()
            self._next = ended + max(APART, REST * (ended - begun))

    def _look(self, pipeline: Pipeline) -> Champions | str | None:
        champions = pipeline.champions
        name = next(self._round, None)
        if name is None:
            return self._begin_round(pipeline)
        extent = self._store.extent(name, self._enough())
        if extent is None or champions.fitted(name) is not None:
            self._forget(name, champions)
            return None
        learner = self._learners.setdefault(name, Learner())
        learner.extent = extent
        if self._due(learner):
            learner.fitted = extent
            detector = self._fitted(name, extent)
            if detector is not None:
                provisional = {**champions.provisional, name: detector}
                return msgspec.structs.replace(champions, provisional=provisional)
        told = round(100 * self._progress(learner, champions.provisional.get(name)).share)
        if told != learner.told:
            learner.told = told
            return name
        return None

    def progress(self, machine: str, champions: Champions) -> Progress | None:
        """How far a machine is on the way to its bundle; None for one that has it."""
        if not self.settings.learning.enabled or champions.fitted(machine) is not None:
            return None
        learner = self._learners.get(machine)
        if learner is None:  # as after a restart, where nobody wants to hear of zero
            learner = Learner()
            with suppress(sqlite3.Error):  # the next look finds it
                learner.extent = self._store.extent(machine, self._enough()) or learner.extent
                self._learners[machine] = learner
        return self._progress(learner, champions.provisional.get(machine))

    def hear(self, turn: dict[str, Any]) -> None:
        """Takes what became of a turn of the trainer."""
        if turn.get("promoted"):
            return
        machine = turn.get("machine")
        for name, learner in self._learners.items():
            if machine in {None, name}:
                learner.refused, learner.told = str(turn.get("text", "")), -1

    def reconfigure(self, settings: Settings) -> None:
        """Goes on with other settings; what was fitted by the former ones is fitted anew."""
        self.settings = settings
        for learner in self._learners.values():
            learner.fitted, learner.told = (0, 0, 0), -1

    def _begin_round(self, pipeline: Pipeline) -> Champions | None:
        """Asks for a bundle if there is enough for one, and begins to look at all machines anew.

        Returns:
            Champions without the detectors of machines that are followed no longer, if there are any.
        """
        now = time.monotonic()
        if now < self._next_round:
            return None
        self._next_round = now + ROUND
        followed = [each.name for each in pipeline.machines()]
        champions = self._without(pipeline.champions.provisional.keys() - {*followed}, pipeline.champions)
        learning = [name for name in followed if champions.fitted(name) is None]
        for name in self._learners.keys() - {*learning}:
            self._forget(name, champions)
        self._round = iter(learning)
        ready = [name for name in learning if self._ready(name, champions)]
        if ready and self.settings.learning.auto and now >= self._again_at:
            self._have_trained(ready, champions)
        return champions if champions is not pipeline.champions else None

    def _without(self, gone: set[str], champions: Champions) -> Champions:
        """The champions without the provisional detectors of some machines."""
        if not gone:
            return champions
        for name in gone:
            self._drop(name)
        kept = {name: each for name, each in champions.provisional.items() if name not in gone}
        return msgspec.structs.replace(champions, provisional=kept)

    def _ready(self, name: str, champions: Champions) -> bool:
        learner = self._learners.get(name)
        return learner is not None and self._progress(learner, champions.provisional.get(name)).share >= 1

    def _have_trained(self, ready: list[str], champions: Champions) -> None:
        if not self._able:
            if not self._told_unable:
                self._told_unable = True
                structlog.get_logger().warning("trainer_missing", machines=ready[:10], hint=UNABLE)
            return
        self._again_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        # Machines of one kind share a bundle; a mixed lot cannot, of which some still learn.
        kinds = {each.manifest.sensors for each in champions.provisional.values()}
        machines: tuple[str | None, ...] = (None,) if len(kinds) == 1 else tuple(ready)
        taken = self._ask(machines, "there are readings enough for a first bundle")
        if not taken:
            structlog.get_logger().warning(
                "learning_postponed", seconds=round(self._again_at - time.monotonic())
            )

    def _due(self, learner: Learner) -> bool:
        """Whether the readings have grown by so much that a fit says more than the last one."""
        (count, oldest, newest), (before, start, end) = learner.extent, learner.fitted
        if count < (1 if self.settings.readings.interval else FEWEST):
            return False
        return (
            count >= GROWTH * before
            or newest - oldest >= GROWTH * max(end - start, 1)
            or abs(newest - end) >= RENEWED
        )

    def _fitted(self, name: str, extent: tuple[int, int, int]) -> Provisional | None:
        """What a fit makes, or None: nothing that is learned on the side may end the watching."""
        try:
            return self._fit(name, extent)
        except (ValueError, ArithmeticError) as error:  # it is fitted anew when there is more
            structlog.get_logger().warning("provisional_unfitted", machine=name, reason=str(error))
            return None

    def _fit(self, name: str, extent: tuple[int, int, int]) -> Provisional | None:
        _, oldest, newest = extent
        options, readings = self.settings.learning, self.settings.readings
        history = self._store.sample(name, oldest, newest, stretches=STRETCHES, rows=ROWS)
        now = time.time_ns()
        self._fits += 1
        manifest = fit(
            history,
            machine=name,
            number=f"{now // 1_000_000}-{self._fits}",
            created_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now / 1e9)),
            z=options.z,
            least=options.least,
            interval=None if readings.interval is None else milliseconds(readings.interval),
            without=readings.channels,
            alerted=_within(history, self._unusual(name)),
        )
        if manifest is None:
            return None
        self._write(name, manifest)
        return self._detector(manifest)

    def _unusual(self, name: str) -> list[tuple[int, int | None]]:
        """When a machine was in alert, or somebody has said that it was not as usual."""
        labels = [one for one in self._store.labels(name) if one.kind is not LabelKind.FALSE_ALARM]
        return [*self._store.alerted(name), *((one.start, one.end) for one in labels)]

    def _detector(self, manifest: manifests.Manifest) -> Provisional:
        limits = {name: (one.low, one.high) for name, one in self.settings.learning.limits.items()}
        return Provisional(manifest, limits)

    def _progress(self, learner: Learner, detector: object) -> Progress:
        return progress(
            *learner.extent,
            needed=self._enough(),
            span=milliseconds(self.settings.learning.at_least),
            manifest=detector.manifest if isinstance(detector, Provisional) else None,
            refused=learner.refused,
            waits="" if self.settings.learning.auto else BY_HAND,
            unable="" if self._able else UNABLE,
        )

    def _enough(self) -> int:
        return self.settings.retrain.min_readings

    def _read(self) -> Iterator[tuple[str, Provisional]]:
        """What was fitted before; what cannot be read is fitted anew."""
        for path in sorted(self._folder.glob("*.json")):
            try:
                detector = self._detector(manifests.decode(path.read_bytes()))
            except (OSError, ValueError) as error:
                structlog.get_logger().warning("provisional_unreadable", file=str(path), reason=str(error))
                continue
            machine = detector.manifest.machine
            if machine is not None and detector.manifest.threshold.value == self.settings.learning.z:
                yield machine, detector

    def _write(self, name: str, manifest: manifests.Manifest) -> None:
        """Keeps it for the next start; nobody waits for the disk, as it can be fitted anew."""
        path = self._path(name)
        aside = path.with_suffix(".partial")
        try:
            self._folder.mkdir(exist_ok=True)
            aside.write_bytes(manifests.encode(manifest))
            aside.rename(path)
        except OSError as error:
            structlog.get_logger().warning("provisional_unwritten", file=str(path), reason=str(error))

    def _forget(self, name: str, champions: Champions) -> None:
        if self._learners.pop(name, None) is None:
            return
        self._drop(name)
        if champions.fitted(name) is not None:  # a bundle has come, so that the next may come as well
            self._pause, self._again_at = PAUSE, 0.0

    def _clear(self) -> None:
        """Deletes the files of machines of which nothing is stored any more."""
        known = {self._path(name) for name in self._store.machines()}
        for path in {*self._folder.glob("*")} - known:
            self._unlink(path)

    def _drop(self, name: str) -> None:
        self._unlink(self._path(name))

    def _unlink(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            structlog.get_logger().warning("provisional_unwritten", file=str(path), reason=str(error))

    def _path(self, name: str) -> Path:
        return self._folder / f"{blake2b(name.encode(), digest_size=16).hexdigest()}.json"


BY_HAND = "anomalyd retrain trains the bundle (learning.auto is false)"
UNABLE = (
    "the trainer is not installed here: pip install 'anomalyd[trainer]', or set retrain.by to request and "
    "let another service train"
)


def trainer_missing() -> list[str]:
    """What of the trainer is not installed here."""
    return [name for name in ("pandas", "sklearn", "tensorflow") if find_spec(name) is None]


def _within(history: History, stretches: list[tuple[int, int | None]]) -> NDArray[np.bool_]:
    """The rows within stretches of time, shape (N,)."""
    within: NDArray[np.bool_] = history.at < 0
    for start, end in stretches:
        within |= (history.at >= start) & ((history.at <= end) if end is not None else True)
    return within
