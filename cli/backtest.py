"""Recorded readings through the daemon's own pipeline, machine by machine, on all cores.

Machines share nothing, so each is replayed by itself. How many processes share the work changes
nothing of what comes out, nor its order: machines by name, each in order of time.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from cli.exits import CommandError, Exit
from cli.progress import note, progress
from config.problems import nearest
from detector.alerts import AlertPolicy
from detector.events import Event
from detector.health import HealthPolicy
from detector.history import History
from detector.modes import OperationPolicy
from detector.pipeline import Champions, Pipeline
from detector.replay import replay
from detector.scoring import Detector
from detector.stream import StreamPolicy
from registry.bundle import load
from registry.champions import Registry
from trainer.wording import counted, listed

if TYPE_CHECKING:  # what another process imports, each machine waits for
    from config import Settings
    from trainer.recording import Recording

T = TypeVar("T")
Work = Callable[[Detector, Iterator[tuple[History, list[Event]]]], Iterator[T]]
"""What is made of one machine: from its detector, and its rows with the events that each block brought.

Other processes may do it, so they must be able to import it by name, and to pickle what it yields.
"""

WORTH_A_PROCESS = 200_000  # rows; about a second's work, and a process takes half a second to start
GLANCE = 0.1  # seconds between two looks at what other processes have done


@dataclass(frozen=True, slots=True)
class Policies:
    """How the pipeline treats a stream."""

    stream: StreamPolicy
    alerts: AlertPolicy
    health: HealthPolicy
    operation: OperationPolicy


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A machine's recording, and the detector that would have watched it."""

    recording: Recording
    detector: Detector


def served(settings: Settings, bundle: str | None, recordings: Sequence[Recording]) -> list[Served]:
    """Finds the champions, or takes one bundle for all machines; says which machines are left out.

    Raises:
        CommandError: No bundle would score anything, or no recording has a sensor that its bundle knows.
        BundleError: The bundle must not be used.
    """
    registry = Registry(settings.state_dir)
    if bundle is not None:
        champions = Champions(shared=load(registry.read(bundle)))
    else:
        champions, refused = registry.load({})
        for error in refused:
            note(f"anomalyd: {error}")
    watched, strangers, unserved = [], [], []
    for recording in recordings:
        detector = champions.of(recording.machine)
        if detector is None:
            unserved.append(recording.machine)
        elif {*recording.sensors} & {*detector.manifest.sensors}:
            watched.append(Served(recording, detector))
        else:
            known = ", ".join(detector.manifest.sensors)
            strangers.append(
                f"{recording.machine}: must have a sensor of bundle {detector.manifest.id} ({known}), "
                f"got {', '.join(recording.sensors)}"
            )
    if len(unserved) == len(recordings):
        text = f"{settings.state_dir}: holds no bundle for {listed(unserved)}"
        raise CommandError(Exit.FAILED, f"{text}; train one: anomalyd train HISTORY")
    if unserved:
        note(f"left out, as no bundle serves them: {listed(unserved)}")
    if not watched:
        raise CommandError(Exit.DATA, *strangers)
    for text in strangers:
        note(f"left out: {text}")
    followed = _followed(watched, settings.readings.max_machines)
    _note_lacking(followed)
    return followed


def _followed(watched: list[Served], most: int) -> list[Served]:
    """Those that the daemon would follow: the first it hears of."""
    if len(watched) <= most:
        return watched
    late = {machine.recording.machine for machine in sorted(watched, key=lambda m: m.recording.first)[most:]}
    note(f"left out, as readings.max_machines is {most}: {listed(sorted(late))}")
    return [machine for machine in watched if machine.recording.machine not in late]


def _note_lacking(machines: Iterable[Served]) -> None:
    """Names the model's sensors that a machine's files lack, which will count as missing in every window."""
    whose: dict[str, list[str]] = {}
    for machine in machines:
        manifest, recorded = machine.detector.manifest, machine.recording.sensors
        lacking = [name for name in manifest.sensors if name not in recorded]
        if lacking:
            others = {*recorded} - {*manifest.sensors}
            hints = [f"is {close} {name}?" for name in lacking if (close := nearest(name, others))]
            text = (
                f"has no column for {', '.join(lacking)} of bundle {manifest.id}, so that "
                f"{counted(len(lacking), 'sensor')} of {len(manifest.sensors)} will count as missing"
            )
            whose.setdefault("; ".join([text, *hints[:1]]), []).append(machine.recording.machine)
    for text, names in whose.items():
        note(f"warning: {listed(names)}: {text}")


def replayed(
    machines: Sequence[Served], settings: Settings, work: Work[T], *, processes: int | None = None
) -> Generator[T]:
    """Replays machines, with progress, and yields what `work` makes of them, machine after machine.

    Args:
        machines: What to replay.
        settings: For the policies of the pipeline.
        work: See `Work`.
        processes: How many share the work; by default as many as there are cores and it is worth it.

    Raises:
        BundleError: A bundle was damaged meanwhile.
        CommandError: The system has ended a process.
    """
    from config.policies import alert_policy, health_policy, operation_policy, stream_policy

    policies = Policies(
        stream_policy(settings),
        alert_policy(settings),
        health_policy(settings),
        operation_policy(settings),
    )
    rows = max(1, sum(len(machine.recording) for machine in machines))
    if processes is None:
        processes = min(len(os.sched_getaffinity(0)), rows // WORTH_A_PROCESS)
    processes = min(processes, len(machines))
    with progress("replaying") as tell:

        def advance(done: int) -> None:
            tell(done / rows)

        if processes <= 1:
            yield from _one_by_one(machines, policies, work, advance)
        else:
            registry = Registry(settings.state_dir)
            jobs = [
                _Job(machine.recording, registry.bundles, machine.detector.manifest.id, policies)
                for machine in machines
            ]
            yield from _side_by_side(jobs, work, advance, processes)


def _one_by_one(
    machines: Iterable[Served],
    policies: Policies,
    work: Work[T],
    advance: Callable[[int], None],
) -> Iterator[T]:
    done = 0

    def count(rows: int) -> None:
        nonlocal done
        done += rows
        advance(done)

    for machine in machines:
        yield from work(machine.detector, _blocks(machine.recording, machine.detector, policies, count))


def _blocks(
    recording: Recording,
    detector: Detector,
    policies: Policies,
    count: Callable[[int], None],
) -> Iterator[tuple[History, list[Event]]]:
    pipeline = Pipeline(
        Champions(shared=detector),
        stream=policies.stream,
        alerts=policies.alerts,
        health=policies.health,
        operation=policies.operation,
    )
    for history in recording.blocks():
        yield history, list(replay([history], pipeline))
        count(len(history))


@dataclass(frozen=True, slots=True)
class _Job:
    """What another process must know to replay a machine."""

    recording: Recording
    bundles: Path
    bundle: str
    policies: Policies


def _side_by_side(
    jobs: Sequence[_Job], work: Work[T], advance: Callable[[int], None], processes: int
) -> Iterator[T]:
    """Lets processes do jobs, the longest first; what a job yields waits in a file for its turn."""
    from trainer.recording import temporary_folder

    context = get_context("spawn")  # a fork would take over threads of Arrow and LiteRT in any state
    lifeline, held = context.Pipe(duplex=False)
    with TemporaryDirectory(dir=temporary_folder()) as name, lifeline, held:
        folder = Path(name)
        done = np.memmap(folder / "done", np.int64, "w+", shape=(len(jobs),))
        pool = ProcessPoolExecutor(
            processes, mp_context=context, initializer=_end_with_parent, initargs=(lifeline,)
        )
        try:
            with _interrupts_blocked():
                futures: dict[int, Future[None]] = {
                    i: pool.submit(_do, jobs[i], work, folder, i)
                    for i in sorted(range(len(jobs)), key=lambda i: -len(jobs[i].recording))
                }
            for i in range(len(jobs)):
                while not wait([futures[i]], GLANCE).done:
                    advance(int(done.sum()))
                futures[i].result()
                yield from _results(folder / f"{i}")
        except BrokenProcessPool as error:
            text = "replay: a process was ended by the system, which may be out of memory"
            raise CommandError(Exit.FAILED, text) from error
        finally:
            held.close()
            pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """For the start of processes, which inherit it: Ctrl-C is told to all of them, and the parent decides."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _results(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        while file.peek(1):
            yield pickle.load(file)  # noqa: S301 - `_do` wrote it
    path.unlink()


def _end_with_parent(lifeline: Connection) -> None:
    """Ends this process as soon as the other end of the pipe is closed, by intent or by death."""

    def watch() -> None:
        lifeline.poll(None)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _do(job: _Job, work: Work[Any], folder: Path, number: int) -> None:
    """Does a job, in another process."""
    done = np.memmap(folder / "done", np.int64, "r+")

    def count(rows: int) -> None:
        done[number] += rows

    detector = load(Registry(job.bundles.parent).read(job.bundle))
    with (folder / f"{number}").open("wb") as file:
        for result in work(detector, _blocks(job.recording, detector, job.policies, count)):
            pickle.dump(result, file)
