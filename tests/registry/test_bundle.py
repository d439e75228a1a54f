from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from detector.manifest import WindowSpec, checksum
from registry import bundle as bundles
from registry.bundle import MANIFEST, MODEL, BundleError, load, new_id, read, sweep, write
from tests.detector.examples import assert_same, detector, manifest, pipeline, tflite, whole

FILES = {MODEL: tflite(), "report.html": b"<p>fine</p>"}


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the manifest and its checksum, as only who means it would."""
    content = msgspec.json.decode((path / MANIFEST).read_bytes())
    del content["sha256"]
    change(content)
    content["sha256"] = checksum(content)
    (path / MANIFEST).write_bytes(msgspec.json.encode(content))


def replace(path: Path, old: bytes, new: bytes) -> None:
    content = (path / MANIFEST).read_bytes()
    assert old in content
    (path / MANIFEST).write_bytes(content.replace(old, new))


def replace_by_a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_bytes(b"")


def test_a_bundle_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = write(tmp_path / "bundles", manifest("one"), FILES)
    assert read(written.path) == written
    assert set(written.manifest.files) == set(FILES)
    assert sorted(path.name for path in written.path.iterdir()) == sorted([*FILES, MANIFEST])


def test_a_loaded_bundle_scores_as_the_model_it_was_made_from(tmp_path: Path) -> None:
    loaded = load(read(write(tmp_path, manifest("one"), FILES).path))
    stream = whole(("flow", "load"), [[i % 5, -(i % 3)] for i in range(40)])
    expected = pipeline(detector(manifest("one"))).on_readings(stream)
    assert_same(pipeline(loaded).on_readings(stream), expected)


def test_an_id_sorts_by_time_and_two_of_one_second_differ() -> None:
    at = datetime(2026, 1, 3, 22, 0, 0, tzinfo=UTC)
    ids = {new_id(at) for _ in range(50)}
    assert all(one.startswith("2026-01-03T22-00-00Z-") for one in ids)
    assert len(ids) > 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda path: (path / MANIFEST).unlink(),
            "bundle one: has no manifest.json in {path}",
        ),
        (
            lambda path: (path / MANIFEST).write_bytes(b'{"schema"'),
            "bundle one: manifest.json: Input data was truncated",
        ),
        (
            lambda path: edit(path, lambda m: m.update(schema=3)),
            (
                "bundle one: manifest.json: schema: must be at most 2 for this version, got 3: "
                "made by a newer one"
            ),
        ),
        (
            lambda path: replace(path, b'"value": 0.731', b'"value": 7.31'),
            "bundle one: manifest.json: was changed after it was written",
        ),
        (
            lambda path: replace(path, b'"sha256": "', b'"sha256": "0'),
            "bundle one: manifest.json: was changed after it was written",
        ),
        (
            lambda path: edit(path, lambda m: m.update(id="two")),
            "bundle one: manifest.json belongs to two",
        ),
        (
            lambda path: edit(path, lambda m: m["files"].pop(MODEL)),
            "bundle one: manifest.json names no model.tflite",
        ),
        (
            lambda path: (path / MODEL).write_bytes(tflite()[:-1]),
            "bundle one: model.tflite was changed after it was written",
        ),
        (
            lambda path: (path / "report.html").write_bytes(b""),
            "bundle one: report.html was changed after it was written",
        ),
        (
            lambda path: (path / MODEL).unlink(),
            "bundle one: model.tflite: No such file or directory",
        ),
        (
            replace_by_a_file,
            "bundle one: manifest.json: Not a directory",
        ),
        *(
            (
                lambda path, name=name: edit(path, lambda m: m["files"].update({name: "00"})),
                f"bundle one: manifest.json names {name!r}, which is no file of a bundle",
            )
            for name in ("../two/model.tflite", "/etc/passwd", "..", ".", "", "a\0b")
        ),
    ],
)
def test_a_spoilt_bundle_is_refused_by_name(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    path = write(tmp_path, manifest("one"), FILES).path
    spoil(path)
    with pytest.raises(BundleError) as refused:
        read(path)
    assert str(refused.value) == message.format(path=path)


def test_a_model_of_another_shape_is_refused_by_name(tmp_path: Path) -> None:
    bundle = write(tmp_path, manifest("one", window=WindowSpec(length=4)), FILES)
    with pytest.raises(BundleError) as refused:
        load(bundle)
    assert (
        str(refused.value) == "bundle one: model.tflite: model: must take windows of shape (4, 2), got (3, 2)"
    )


def test_what_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    bundle = write(tmp_path, manifest("one"), {MODEL: b"weights"})
    with pytest.raises(BundleError, match=r"^bundle one: model\.tflite: model: LiteRT cannot load it: "):
        load(bundle)


def test_a_bundle_is_never_overwritten(tmp_path: Path) -> None:
    write(tmp_path, manifest("one"), FILES)
    with pytest.raises(OSError, match="not empty"):
        write(tmp_path, manifest("one"), {MODEL: b"other"})
    assert (tmp_path / "one" / MODEL).read_bytes() == FILES[MODEL]
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_manifest_may_be_laid_out_anew(tmp_path: Path) -> None:
    written = write(tmp_path, manifest("one"), FILES)
    file = written.path / MANIFEST
    content = dict(reversed(msgspec.json.decode(file.read_bytes()).items()))
    file.write_bytes(msgspec.json.encode(content))
    assert read(written.path) == written


def test_what_a_killed_training_has_left_goes_and_what_another_writes_stays(tmp_path: Path) -> None:
    for name in (".left.partial", ".held.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / MODEL).write_bytes(b"half")
    held = os.open(tmp_path / ".held.partial", os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)  # as `write` does
        write(tmp_path, manifest("one"), FILES)
        assert sorted(path.name for path in tmp_path.iterdir()) == [".held.partial", "one"]
    finally:
        os.close(held)
    write(tmp_path, manifest("two"), FILES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_nobody_sweeps_a_bundle_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[list[str]] = []

    def written(path: Path, content: bytes) -> None:
        path.write_bytes(content)
        swept.append(sweep(tmp_path))

    monkeypatch.setattr(bundles, "write_synced", written)
    found = write(tmp_path, manifest("one"), FILES)
    assert read(found.path) == found
    assert swept == [[], [], []]


def test_a_bundle_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write(tmp_path, manifest("one"), {MODEL: tflite(), "no/such/folder": b""})
    assert list(tmp_path.iterdir()) == []
