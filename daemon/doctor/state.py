"""What is in the state directory: the store, the bundles, and the daemon that uses them."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from config.policies import health_policy
from config.quantities import format_size
from daemon.assembly import STORE
from daemon.doctor import retraining
from daemon.doctor.disk import store_size
from daemon.doctor.findings import Doing, Finding, failure, ok, warning
from daemon.locking import holder
from daemon.service import ALIVE
from detector.pipeline import Champions
from registry.bundle import BundleError
from registry.champions import Registry

if TYPE_CHECKING:
    from config import Settings
    from daemon.doctor.findings import Examination, Findings
    from detector.scoring import Detector

QUICK = 2**30  # bytes of a store that is checked within seconds
STALE = 30.0  # seconds without a sign of life; systemd's watchdog waits as long


def examine(settings: Settings, *, thorough: bool) -> Examination[tuple[int | None, Champions]]:
    """Returns the process that uses the state directory, 0 if it is unknown which, and the champions."""
    folder = settings.state_dir
    yield from _store(folder / STORE, thorough=thorough)
    champions = yield from _bundles(folder)
    yield from _names(settings, champions)
    yield retraining.examine(settings)
    daemon = holder(folder)
    yield _daemon(folder, daemon)
    return daemon, champions


def _store(path: Path, *, thorough: bool) -> Findings:
    if not path.exists():
        yield ok("store", "none yet; the daemon makes it")
        return
    if not os.access(path, os.R_OK, effective_ids=True):
        change = "chown it to the user of the daemon, and run all commands as that user"
        yield failure("store", f"{path} cannot be read", change)
        return
    size = store_size(path.parent)
    change = f"anomalyd run sets it aside and begins anew; or move {path} away, or restore a backup"
    yield Doing(f"checking the store ({format_size(size)})")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            wrong = "ok"
            if thorough or size <= QUICK:
                (wrong,) = database.execute("PRAGMA quick_check(1)").fetchone()
            counts = {
                table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - ours
                for table in ("machines", "outbox", "dead_letters")
            }
    except sqlite3.Error as error:
        yield failure("store", f"{path}: {error}", change)
        return
    if wrong != "ok":
        yield failure("store", f"{path} is damaged: {wrong.splitlines()[-1]}", change)
        return
    looked = "whole" if thorough or size <= QUICK else "not looked through, for its size (--thorough)"
    found = f"{looked}, {format_size(size)}: {_counted(counts['machines'], 'machine')}, "
    found += (
        f"{_counted(counts['outbox'], 'alert')} to be sent, {_counted(counts['dead_letters'], 'dead letter')}"
    )
    aside = sorted(path.parent.glob(f"{STORE}.corrupt-*"))
    if aside:
        found += f"; a damaged one was set aside as {aside[-1].name}"
        yield warning("store", found, "see the disk's health, then delete it")
    else:
        yield ok("store", found)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _bundles(folder: Path) -> Examination[Champions]:
    yield Doing("trying the bundles")
    try:
        champions, refused = Registry(folder).load({})
    except (BundleError, OSError) as error:
        yield failure("bundles", str(error), "mend it, or anomalyd models promote BUNDLE")
        return Champions()
    detectors = champions.all()
    mute = [detector.manifest.id for detector in detectors if not _scores(detector)]
    for reason in refused:
        change = "restore its files, or anomalyd models promote another one"
        verdict = warning if detectors else failure
        yield verdict("bundles", f"{reason}; {'a former one serves' if detectors else 'none serves'}", change)
    if mute:
        change = "train again, or anomalyd models rollback"
        yield failure("bundles", f"{', '.join(mute)}: gives no finite score", change)
    elif detectors:
        machines = f" for all machines, {len(champions.own)} for one" if champions.own else ""
        yield ok("bundles", f"{_counted(len(detectors), 'champion')}{machines}, loaded and tried")
    elif not refused:
        change = "train one: anomalyd train HISTORY"
        yield warning("bundles", "none: readings are stored, and nothing is scored", change)
    return champions


def _names(settings: Settings, champions: Champions) -> Findings:
    unknown = health_policy(settings).unknown(detector.manifest for detector in champions.all())
    if unknown:
        change = "see how they are spelt: sensors.limits and sensors.ignore do nothing for them"
        yield warning("sensor names", f"no bundle has {', '.join(unknown)}", change)


def _scores(detector: Detector) -> bool:
    """Whether a window of the values that the scaler has in its middle can be scored."""
    manifest = detector.manifest
    windows = np.zeros((1, manifest.window.length, manifest.width), dtype=np.float32)
    return detector.usable(detector.errors(windows)) == [True]


def _daemon(folder: Path, daemon: int | None) -> Finding:
    if daemon is None:
        return ok("daemon", "none runs here")
    age = 0.0
    with suppress(OSError):
        age = time.time() - (folder / ALIVE).stat().st_mtime
    if age > STALE:
        return failure("daemon", f"process {daemon} gave no sign of life for {age:.0f} s", "restart it")
    return ok("daemon", f"process {daemon} runs")
