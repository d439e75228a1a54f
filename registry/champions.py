"""Which bundle serves which machine: `champions.json` beside the bundles."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec.structs import replace

from detector.pipeline import Champions
from registry.bundle import Bundle, BundleError, load, read, read_manifest, remove, size_of, write
from registry.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping
    from pathlib import Path

    from detector.manifest import Manifest
    from detector.scoring import Detector


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bundles that serve one machine, or all without one of their own.

    Attributes:
        champion: The bundle in service.
        previous: Former champions, newest last.
        pinned: Whether no training may replace the champion in this line; a person still can.
    """

    champion: str
    previous: tuple[str, ...] = ()
    pinned: bool = False


class Challenger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bundle that has passed the gate and does not serve yet.

    Attributes:
        bundle: Its id.
        since: When it began to wait, in milliseconds since the epoch.
        until: When it has been beside the champion for long enough; None: it waits for a person.
    """

    bundle: str
    since: int
    until: int | None = None


class _Waiting(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    shared: Challenger | None = None
    machines: dict[str, Challenger] = {}


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    shared: Line | None = None
    machines: dict[str, Line] = {}
    challengers: _Waiting | msgspec.UnsetType = msgspec.UNSET  # absent, an older version can read the file


class _Changing(NamedTuple):
    lines: dict[str | None, Line]
    waiting: dict[str | None, Challenger]


MAX_PACKED = 64  # models; with more, windows come one at a time to each, and memory counts


class Registry:
    """The bundles of one state directory; safe for several processes."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.bundles = state_dir / "bundles"
        self._file = state_dir / "champions.json"
        self._lock = state_dir / "champions.lock"

    def ids(self) -> list[str]:
        """All bundles, oldest first, whether they can be read or not."""
        if not self.bundles.is_dir():
            return []
        with os.scandir(self.bundles) as entries:
            return sorted(entry.name for entry in entries if entry.name[0] != "." and entry.is_dir())

    def read(self, bundle: str) -> Bundle:
        """A bundle by its id.

        Raises:
            BundleError: There is none of that id, or it must not be used.
        """
        return self._read(bundle, self.ids())

    def prepare(self) -> None:
        """Makes the folders and tries to write, so that nobody waits for a fit that cannot be kept.

        Raises:
            OSError: A bundle could not be written or promoted; the text says what to do.
        """
        path = self.bundles
        try:
            self.bundles.mkdir(parents=True, exist_ok=True)
            for path in (self.bundles, self._file.parent):
                with TemporaryFile(dir=path, buffering=0) as file:
                    file.write(b"\0")
            path = self._lock
            self._lock.open("a").close()
        except OSError as error:
            raise OSError(
                f"{self._file.parent}: must be writable, as bundles are kept in it, got {error.strerror} "
                f"for {path}; run the command as the daemon's user, or name another folder by state_dir"
            ) from error

    def add(self, manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
        """Writes a new bundle, which serves nothing yet."""
        return write(self.bundles, manifest, files)

    def champions(self) -> dict[str | None, Line]:
        """The lines of champions by machine; None is the shared one.

        Raises:
            BundleError: `champions.json` cannot be read.
        """
        return self._content().lines

    def waiting(self) -> dict[str | None, Challenger]:
        """The challengers that wait, by machine; None is that of the shared line.

        Raises:
            BundleError: `champions.json` cannot be read.
        """
        return self._content().waiting

    def _content(self) -> _Changing:
        try:
            file = msgspec.json.decode(self._file.read_bytes(), type=_File)
        except FileNotFoundError:
            return _Changing({}, {})
        except OSError as error:
            raise BundleError(f"{self._file}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:  # msgspec raises more than its own errors on bad text
            raise BundleError(f"{self._file}: {error}") from error
        wait = file.challengers or _Waiting()
        lines: dict[str | None, Line] = {None: file.shared} if file.shared else {}
        waiting: dict[str | None, Challenger] = {None: wait.shared} if wait.shared else {}
        lines.update(file.machines)
        waiting.update(wait.machines)
        return _Changing(lines, waiting)

    def champion_of(self, machine: str | None) -> str | None:
        """The bundle that serves a machine: its own, else the shared one, else none."""
        lines = self.champions()
        line = lines.get(machine) or lines.get(None)
        return line.champion if line else None

    def version(self) -> object:
        """Changes with every promotion and rollback."""
        try:
            status = self._file.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def promote(self, bundle: str) -> Manifest:
        """Makes a bundle champion of the machine it was made for, or of all without one of their own.

        One that is champion already is put into service anew: a daemon that could not read it
        serves with a former one.

        Raises:
            BundleError: It must not be used, or its model does not load; what serves stays.
        """
        found = self.read(bundle)
        load(found)
        machine = found.manifest.machine
        with self._changing() as (lines, waiting):
            self._exists(bundle, self.ids())  # another process may have pruned it meanwhile
            waiting.pop(machine, None)  # it was compared with another champion
            line = lines.get(machine)
            if line is None:
                lines[machine] = Line(bundle)
            elif line.champion != bundle:
                lines[machine] = replace(line, champion=bundle, previous=(*line.previous, line.champion))
        return found.manifest

    def rollback(self, machine: str | None) -> Manifest:
        """Puts the former champion back into service.

        Raises:
            BundleError: There is no former champion, or it must not be used.
        """
        with self._changing() as (lines, waiting):
            line = lines.get(machine)
            if line is None or not line.previous:
                raise BundleError(
                    f"champions of {machine or 'all machines'}: there is no former one to go back to"
                )
            found = self.read(line.previous[-1])
            load(found)
            lines[machine] = replace(line, champion=line.previous[-1], previous=line.previous[:-1])
            waiting.pop(machine, None)
        return found.manifest

    def wait(self, bundle: str, *, since: int, until: int | None) -> str | None:
        """Lets a bundle wait to become champion of the machine that it was made for.

        A newer challenger takes the place of one that waits.

        Args:
            bundle: Its id.
            since: See `Challenger`.
            until: See `Challenger`.

        Returns:
            The one whose place it takes; None: no other was waiting.

        Raises:
            BundleError: It must not be used.
        """
        machine = self.read(bundle).manifest.machine
        with self._changing() as (_, waiting):
            self._exists(bundle, self.ids())
            before = waiting.get(machine)
            waiting[machine] = Challenger(bundle, since, until)
        return before.bundle if before and before.bundle != bundle else None

    def dismiss(self, machine: str | None) -> str | None:
        """Ends the waiting of a machine's challenger, whose bundle stays; returns it, or None."""
        with self._changing() as (_, waiting):
            before = waiting.pop(machine, None)
        return before.bundle if before else None

    def pin(self, machine: str | None, *, pinned: bool) -> str:
        """Keeps trainings from replacing the champion, or lets them again; returns the champion.

        Raises:
            BundleError: The machine has no champion of its own; for None: there is no shared one.
        """
        with self._changing() as (lines, _):
            line = lines.get(machine)
            if line is None:
                raise BundleError(f"champions of {machine or 'all machines'}: there is none to pin")
            lines[machine] = replace(line, pinned=pinned)
        return line.champion

    def pinned(self, machine: str | None) -> bool:
        """Whether no training may replace a machine's own champion, or for None the shared one.

        A pin holds for its own line: a machine that the shared champion serves may still get one of its own.
        """
        line = self.champions().get(machine)
        return line is not None and line.pinned

    def superfluous(self, max_size: int) -> dict[str, int]:
        """The bundles that `prune` would delete, oldest first, with their bytes.

        Never what serves, what a rollback would put back, what waits, or the newest bundle of a machine:
        it may be promoted yet.
        """
        sizes = {bundle: size_of(self.bundles / bundle) for bundle in self.ids()}
        excess = sum(sizes.values()) - max_size
        if excess <= 0:
            return {}
        lines = self.champions().values()
        needed = {*(line.champion for line in lines), *(line.previous[-1] for line in lines if line.previous)}
        needed |= {one.bundle for one in self.waiting().values()}
        needed |= self._newest(sizes)
        gone: dict[str, int] = {}
        for bundle, size in sizes.items():
            if excess > 0 and bundle not in needed:
                gone[bundle] = size
                excess -= size
        return gone

    def prune(self, max_size: int) -> dict[str, int]:
        """Deletes the oldest bundles until all take at most so many bytes together; see `superfluous`.

        Returns:
            The bytes of what was deleted, by bundle.

        Raises:
            BundleError: `champions.json` cannot be read.
            OSError: The disk refuses.
        """
        if not self.superfluous(max_size):
            return {}
        with self._changing() as (lines, _):
            gone = self.superfluous(max_size)
            for bundle in gone:
                remove(self.bundles / bundle)
            left = {*self.ids()}
            for machine, line in lines.items():
                lines[machine] = replace(line, previous=tuple(each for each in line.previous if each in left))
        return gone

    def _newest(self, bundles: Iterable[str]) -> set[str]:
        """The newest bundle of each machine, of those that can be read; `bundles` are oldest first."""
        newest: dict[str | None, str] = {}
        for bundle in bundles:
            with suppress(BundleError):
                newest[read_manifest(self.bundles / bundle).machine] = bundle
        return {*newest.values()}

    def load(self, known: Mapping[str, Detector]) -> tuple[Champions, list[BundleError]]:
        """Loads the champions; a bad one is replaced by the newest good one before it.

        Args:
            known: Detectors that are loaded already, by bundle id.

        Returns:
            What can serve, and what was refused.
        """
        refused: list[BundleError] = []
        detectors: dict[str | None, Detector] = {}
        lines, ids = self.champions(), frozenset(self.ids())
        packed = len(lines) <= MAX_PACKED
        for machine, line in lines.items():
            for bundle in (line.champion, *reversed(line.previous)):
                try:
                    detectors[machine] = known.get(bundle) or load(self._read(bundle, ids), packed=packed)
                    break
                except BundleError as error:
                    refused.append(error)
        shared = detectors.pop(None, None)
        return Champions(
            shared, {name: found for name, found in detectors.items() if name is not None}
        ), refused

    def _read(self, bundle: str, ids: Container[str]) -> Bundle:
        self._exists(bundle, ids)
        return read(self.bundles / bundle)

    def _exists(self, bundle: str, ids: Container[str]) -> None:
        if bundle not in ids:
            raise BundleError(f"bundle {bundle}: there is none in {self.bundles}")

    @contextmanager
    def _changing(self) -> Iterator[_Changing]:
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lines, waiting = self._content()
            yield _Changing(lines, waiting)
            shared, first = lines.pop(None, None), waiting.pop(None, None)
            machines = {name: line for name, line in lines.items() if name is not None}
            others = {name: one for name, one in waiting.items() if name is not None}
            wait = _Waiting(first, others) if first or others else msgspec.UNSET
            content = msgspec.json.encode(_File(shared, machines, wait))
            write_whole(self._file, msgspec.json.format(content, indent=2) + b"\n")
