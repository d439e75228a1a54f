"""The state directory and the disk below it: who may write, how much room there is, how fast it is."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from pwd import getpwuid
from stat import S_IWGRP, S_IWOTH
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from config.quantities import format_size
from daemon.assembly import STORE
from daemon.doctor.findings import failure, ok, warning
from daemon.integrity import LOGS, beside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from config import Settings
    from daemon.doctor.findings import Examination, Finding, Findings

OF_A_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs"}
FLEETING = {"tmpfs": "it is in memory, and gone at the next reboot", "ramfs": "it is in memory"}
LITTLE = 100 * 2**20  # bytes free: SQLite's log of writes and a new bundle need as much
SLOW = 0.1  # seconds for a write to reach the disk, of which the daemon does some a second
TRIES = 3


def examine(settings: Settings) -> Examination[bool]:
    """Looks at `state_dir`, or at where it would be made; returns whether we may look into it."""
    folder = settings.state_dir
    there = _nearest(folder)
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        owner = _name(there.stat().st_uid)
        change = f"run it as {owner}, chown the folder, or name another one by state_dir"
        yield failure("directory", f"{there} cannot be written by {_name(os.geteuid())}", change)
        return False
    yield _directory(folder) if there == folder else ok("directory", f"{folder} is made at the first start")
    yield from _disk(settings)
    return True


def _directory(folder: Path) -> Finding:
    status = folder.stat()
    owner = _name(status.st_uid)
    if status.st_mode & S_IWOTH:
        change = f"chmod 700 {folder}"
        return failure("directory", f"{folder} may be written by everybody: they can change bundles", change)
    others = sorted({_name(uid) for uid in _owners(folder)} - {owner})
    if others:
        change = f"chown -R {owner}: {folder}, and run all commands as {owner}"
        return warning("directory", f"{folder} is {owner}'s and holds files of {', '.join(others)}", change)
    if os.geteuid() == 0 and status.st_uid != 0:
        change = f"runuser -u {owner} -- anomalyd doctor"
        return warning("directory", f"{folder} is {owner}'s; root was asked, who may do everything", change)
    if status.st_mode & S_IWGRP:
        return warning("directory", f"{folder} may be written by its whole group", f"chmod 700 {folder}")
    return ok("directory", f"{folder}, {owner}'s")


def _nearest(folder: Path) -> Path:
    """The folder, or what it would be made below."""
    return next(each for each in (folder, *folder.absolute().parents) if each.is_dir())


def _owners(folder: Path) -> Iterator[int]:
    for path in (*folder.glob("*"), *folder.glob("bundles/*"), *folder.glob("bundles/*/*")):
        with suppress(FileNotFoundError):
            yield path.lstat().st_uid


def _name(uid: int) -> str:
    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _disk(settings: Settings) -> Findings:
    folder = _nearest(settings.state_dir)
    kind = _file_system(folder)
    free = shutil.disk_usage(folder).free
    growth = max(0, settings.store.max_size - store_size(settings.state_dir))
    found = f"{kind}, {format_size(free)} free"
    if kind in OF_A_NETWORK:
        yield failure(
            "disk", f"{found}: a network share may damage the store", "set state_dir to a local disk"
        )
        return
    if free < LITTLE:
        yield failure("disk", f"{found}: nothing can be stored soon", f"make room in {folder}")
        return
    if kind in FLEETING:
        yield warning("disk", f"{found}: {FLEETING[kind]}", "set state_dir to a disk")
    elif kind == "overlay":
        change = "mount a volume there"
        yield warning("disk", f"{found}: it is a container's own, and gone with it", change)
    elif free < growth + LITTLE:
        change = f"lower store.max_size ({format_size(settings.store.max_size)}), or make room"
        yield warning("disk", f"{found}; stored readings may take {format_size(growth)} more", change)
    try:
        took = _writing(folder)
    except OSError as error:
        yield failure(
            "disk", f"{found}; a write fails: {error.strerror}", f"see {folder} and the system's log"
        )
        return
    found = f"{found}; a write takes {took * 1000:.2g} ms"
    if took > SLOW and settings.store.durability == "full":
        yield warning("disk", found, "use a faster disk, or set store.durability: normal")
    else:
        yield ok("disk", found)


def store_size(state_dir: Path) -> int:
    """Bytes of the store, without damaged ones that were set aside: they are beyond `store.max_size`."""
    files = [beside(state_dir / STORE, part) for part in ("", *LOGS)]
    return sum(file.stat().st_size for file in files if file.exists())


def _file_system(folder: Path) -> str:
    """The kind of file system that holds a folder; the mount that was made last counts."""
    device, kind = folder.stat().st_dev, "unknown"
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
            before, _, after = line.partition(" - ")
            if before.split()[2] == wanted:
                kind = after.split()[0]
    return kind


def _writing(folder: Path) -> float:
    """Seconds until a small write has reached the disk, at best."""
    took = []
    with TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(TRIES):
            begun = time.monotonic()
            file.write(b"\0" * 4096)
            os.fsync(file.fileno())
            took.append(time.monotonic() - begun)
    return min(took)
