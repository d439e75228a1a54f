"""One bundle on disk: a folder with everything that was fitted."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from detector import manifest as manifests
from detector.litert import LiteRTModel, UnusableModel
from detector.scoring import Detector
from registry.files import sync_path, write_synced

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from detector.manifest import Manifest

MANIFEST = "manifest.json"
MODEL = "model.tflite"


class BundleError(Exception):
    """A bundle that must not be used; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose manifest was read and whose files were compared with their checksums."""

    path: Path
    manifest: Manifest


def new_id(created_at: datetime) -> str:
    """A name for a bundle, sortable by time: `2026-01-03T22-00-00Z-3f9c5a01`.

    Of a thousand made in one second, two are alike once in ten thousand times.
    """
    return f"{created_at:%Y-%m-%dT%H-%M-%SZ}-{secrets.token_hex(4)}"


def write(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Writes a bundle whole or not at all: under another name, synced, then renamed.

    A process that is killed meanwhile leaves its folder under the other name, which is no bundle;
    the next call removes it.

    Args:
        folder: Where bundles lie; made if need be.
        manifest: Its `files` are replaced by the checksums of what is written.
        files: Contents by file name.

    Raises:
        OSError: The disk refuses.
    """
    checksums = {name: sha256(content).hexdigest() for name, content in files.items()}
    manifest = msgspec.structs.replace(manifest, files=checksums)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / manifest.id
    sweep(folder)
    aside = folder / f".{manifest.id}.partial"
    try:
        held = _hold(aside)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    try:
        for name, content in {**files, MANIFEST: manifests.encode(manifest)}.items():
            write_synced(aside / name, content)
        sync_path(aside)
        aside.rename(path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    finally:
        os.close(held)
    sync_path(folder)
    return Bundle(path, manifest)


def _hold(aside: Path) -> int:
    """Makes a folder that nobody sweeps while the descriptor that is returned is open."""
    while True:  # until it was not swept before it is held
        aside.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):
            held = os.open(aside, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(held, fcntl.LOCK_EX)
            if aside.exists() and os.path.samestat(os.fstat(held), aside.stat()):
                return held
            os.close(held)


def sweep(folder: Path) -> list[str]:
    """Removes what killed processes have left, and returns their names; what is being written is held."""
    swept = []
    for aside in folder.glob(".*.partial"):
        with suppress(OSError):  # another process sweeps as well
            held = os.open(aside, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(aside)
                swept.append(aside.name)
            finally:
                os.close(held)
    return swept


def remove(path: Path) -> None:
    """Deletes a bundle: at once it is none any more, and what a kill leaves of it is swept later.

    Raises:
        OSError: The disk refuses.
    """
    aside = path.with_name(f".{path.name}.partial")
    held = os.open(path, os.O_RDONLY | os.O_DIRECTORY)  # else another process may sweep it meanwhile
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        path.rename(aside)
        shutil.rmtree(aside)
    finally:
        os.close(held)


def size_of(path: Path) -> int:
    """Bytes of a bundle's files; 0 if it is just being deleted."""
    with suppress(FileNotFoundError), os.scandir(path) as entries:
        return sum(entry.stat().st_size for entry in entries)
    return 0


def read_manifest(path: Path) -> Manifest:
    """Reads a bundle's manifest alone.

    Raises:
        BundleError: It is missing, was changed, or has another schema.
    """
    try:
        manifest = manifests.decode((path / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise BundleError(f"bundle {path.name}: has no {MANIFEST} in {path}") from error
    except OSError as error:
        raise BundleError(f"bundle {path.name}: {MANIFEST}: {error.strerror}") from error
    except manifests.UnreadableManifest as error:
        raise BundleError(f"bundle {path.name}: {MANIFEST}: {error}") from error
    if manifest.id != path.name:
        raise BundleError(f"bundle {path.name}: {MANIFEST} belongs to {manifest.id}")
    return manifest


def read(path: Path) -> Bundle:
    """Reads a bundle's manifest and compares every file with its checksum.

    Raises:
        BundleError: Something is missing, was changed, or has another schema.
    """
    manifest = read_manifest(path)
    if MODEL not in manifest.files:
        raise BundleError(f"bundle {path.name}: {MANIFEST} names no {MODEL}")
    for name, checksum in manifest.files.items():
        if name in {"", ".", ".."} or "/" in name or "\0" in name:
            raise BundleError(f"bundle {path.name}: {MANIFEST} names {name!r}, which is no file of a bundle")
        if _checksum(path / name, path.name) != checksum:
            raise BundleError(f"bundle {path.name}: {name} was changed after it was written")
    return Bundle(path, manifest)


def load(bundle: Bundle, *, packed: bool = True) -> Detector:
    """The bundle's detector, tried on one window; see `LiteRTModel` for `packed`.

    Raises:
        BundleError: The model file is not what the manifest says.
    """
    manifest = bundle.manifest
    try:
        content = (bundle.path / MODEL).read_bytes()
        model = LiteRTModel(content, length=manifest.window.length, width=manifest.width, packed=packed)
    except (OSError, UnusableModel) as error:
        raise BundleError(f"bundle {manifest.id}: {MODEL}: {error}") from error
    return Detector(manifest, model)


def _checksum(path: Path, bundle: str) -> str:
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BundleError(f"bundle {bundle}: {path.name}: {error.strerror}") from error
