"""The bundles in service: loaded from the registry, and again when another one is promoted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from detector.pipeline import Champions
from registry.bundle import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daemon.store import Store
    from detector.pipeline import Pipeline
    from detector.reading import Reading
    from detector.scoring import Detector
    from registry.champions import Registry


class Serving:
    """Keeps a pipeline's detectors at what the registry says."""

    def __init__(self, registry: Registry, store: Store, *, lateness: int) -> None:
        self._registry = registry
        self._store = store
        self._lateness = lateness
        self._version: object = None
        self._champions = Champions()
        self.problem: str | None = None  # why a champion does not serve, or a former one does

    def load(self) -> Champions:
        """Loads the champions; says which bundles were refused and why."""
        log = structlog.get_logger()
        self._version = self._registry.version()
        known = {detector.manifest.id: detector for detector in self._champions.all()}
        try:
            champions, refused = self._registry.load(known)
        except BundleError as error:  # which bundles serve cannot be read: those loaded go on
            champions, refused = self._champions, [error]
        self._champions = champions
        self.problem = "; ".join(map(str, refused)) or None
        for reason in refused:
            log.error("bundle_refused", reason=str(reason), hint="anomalyd models list")
        for detector in champions.all():
            manifest = detector.manifest
            if manifest.id not in known:
                log.info(
                    "bundle_loaded",
                    bundle=manifest.id,
                    machine=manifest.machine or "shared",
                    sensors=len(manifest.sensors),
                    window=manifest.window.length,
                    threshold=manifest.threshold.value,
                )
        return champions

    def changed(self) -> Champions | None:
        """The new champions, if the registry names others than those loaded."""
        return self.load() if self._registry.version() != self._version else None

    def restore(self, pipeline: Pipeline) -> int:
        """Takes up every stored machine where it was left; returns how many."""
        count = 0
        for name, snapshot in self._store.snapshots():
            detector = pipeline.champions.of(name)
            pipeline.restore(name, snapshot, self.recent(name, detector) if detector else ())
            count += 1
        return count

    def carry_over(self, before: Pipeline, after: Pipeline, *, lateness: int) -> None:
        """Takes every machine of one pipeline up in another one, which is `lateness` milliseconds patient.

        Raises:
            sqlite3.Error: The disk refuses; the former lateness holds.
        """
        for machine in before.machines():
            detector = after.champions.of(machine.name)
            recent = self._recent(machine.name, detector, lateness) if detector else ()
            after.restore(machine.name, machine.snapshot(), recent)
        self._lateness = lateness

    def recent(self, machine: str, detector: Detector) -> Iterator[Reading]:
        """The stored readings that fill a window of the detector, oldest first."""
        return self._recent(machine, detector, self._lateness)

    def _recent(self, machine: str, detector: Detector, lateness: int) -> Iterator[Reading]:
        newest = self._store.newest(machine)
        if newest is None:
            return iter(())
        window, grid = detector.manifest.window, detector.manifest.grid
        # A hole may straddle the window's start, and slots are rounded.
        slots = window.length + window.max_gap + 2
        return self._store.readings(machine, newest - lateness - slots * grid.interval)
