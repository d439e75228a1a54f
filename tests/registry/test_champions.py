from __future__ import annotations

import json
import os
import shutil
from itertools import pairwise
from pathlib import Path
from shutil import rmtree

import msgspec
import numpy as np
import pytest

from detector.manifest import WindowSpec
from registry import champions
from registry.bundle import MODEL, Bundle, BundleError, load, size_of
from registry.champions import MAX_PACKED, Challenger, Line, Registry
from tests.detector.examples import manifest, tflite

FILES = {MODEL: tflite()}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "state")


def add(registry: Registry, name: str, machine: str | None = None) -> str:
    return registry.add(manifest(name, machine=machine), FILES).manifest.id


def spoil(registry: Registry, name: str) -> str:
    (registry.bundles / name / MODEL).write_bytes(b"changed")
    return f"bundle {name}: model.tflite was changed after it was written"


def test_a_new_registry_is_empty(registry: Registry) -> None:
    assert registry.ids() == []
    assert registry.champions() == {}
    assert registry.champion_of("press-1") is None
    assert registry.version() is None
    champions, refused = registry.load({})
    assert (champions.shared, champions.own, refused) == (None, {}, [])


def test_an_added_bundle_is_listed_and_serves_nothing(registry: Registry) -> None:
    add(registry, "2026-02")
    add(registry, "2026-01")
    assert registry.ids() == ["2026-01", "2026-02"]
    assert registry.champions() == {}
    assert registry.read("2026-01").manifest.id == "2026-01"


def test_what_is_half_written_is_not_listed(registry: Registry) -> None:
    add(registry, "one")
    (registry.bundles / ".two.partial").mkdir()
    (registry.bundles / "notes.txt").write_text("not a bundle")
    assert registry.ids() == ["one"]


def test_many_own_models_serve_as_one_does(registry: Registry) -> None:
    windows = np.random.default_rng(1).normal(size=(5, 3, 2)).astype(np.float32)
    for number in range(MAX_PACKED + 1):
        registry.promote(add(registry, f"of-{number:03}", f"press-{number}"))
        if number == 0:
            few = registry.load({})[0].own["press-0"].model.reconstruct(windows)
    champions, refused = registry.load({})
    assert refused == []
    assert len(champions.own) == MAX_PACKED + 1
    for detector in champions.own.values():
        np.testing.assert_allclose(detector.model.reconstruct(windows), few, atol=1e-5)


@pytest.mark.parametrize("name", ["two", "../state/bundles/one", "./one", "one/", ".", "..", "", "one\0"])
def test_a_bundle_that_is_not_listed_is_not_read(registry: Registry, name: str) -> None:
    add(registry, "one")
    with pytest.raises(BundleError) as refused:
        registry.read(name)
    assert str(refused.value) == f"bundle {name}: there is none in {registry.bundles}"


def test_promoting_keeps_the_former_champions_and_rolling_back_returns_to_them(registry: Registry) -> None:
    for name in ("one", "two", "three"):
        add(registry, name)
        assert registry.promote(name).id == name
    assert registry.champions() == {None: Line("three", ("one", "two"))}
    assert registry.rollback(None).id == "two"
    assert registry.rollback(None).id == "one"
    with pytest.raises(BundleError) as refused:
        registry.rollback(None)
    assert str(refused.value) == "champions of all machines: there is no former one to go back to"
    assert registry.champions() == {None: Line("one")}


def test_promoting_the_champion_again_is_seen_and_keeps_the_former_ones(registry: Registry) -> None:
    for name in ("one", "two"):
        registry.promote(add(registry, name))
    version = registry.version()
    registry.promote("two")
    assert registry.version() != version
    assert registry.champions() == {None: Line("two", ("one",))}


def test_a_refused_promotion_changes_nothing(registry: Registry) -> None:
    registry.promote(add(registry, "one"))
    version = registry.version()
    spoil(registry, "one")
    with pytest.raises(BundleError):
        registry.promote("one")
    with pytest.raises(BundleError):
        registry.rollback(None)
    assert registry.version() == version


def test_a_prepared_registry_is_still_empty(registry: Registry) -> None:
    registry.prepare()
    assert (registry.ids(), registry.version()) == ([], None)
    assert list(registry.bundles.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "reason"),
    [("bundles", "File exists"), ("champions.lock/x", "Is a directory")],
)
def test_a_state_directory_that_cannot_take_a_bundle_is_told_before(
    registry: Registry, tmp_path: Path, file: str, reason: str
) -> None:
    path = tmp_path / "state" / file
    path.parent.mkdir(parents=True)
    path.write_text("in the way")
    with pytest.raises(OSError, match="must be writable") as refused:
        registry.prepare()
    assert str(refused.value) == (
        f"{tmp_path}/state: must be writable, as bundles are kept in it, got {reason} for "
        f"{tmp_path}/state/{file.removesuffix('/x')}; run the command as the daemon's user, or name another "
        "folder by state_dir"
    )


def test_the_version_changes_with_every_promotion_and_rollback(registry: Registry) -> None:
    versions = [registry.version()]
    for name in ("one", "two"):
        registry.promote(add(registry, name))
        versions.append(registry.version())
    registry.rollback(None)
    versions.append(registry.version())
    assert all(before != after for before, after in pairwise(versions))


def test_a_machines_own_champion_serves_it_and_the_shared_one_all_others(registry: Registry) -> None:
    registry.promote(add(registry, "all"))
    registry.promote(add(registry, "press", machine="press-1"))
    assert registry.champion_of("press-1") == "press"
    assert registry.champion_of("lathe") == "all"
    champions, refused = registry.load({})
    assert refused == []
    served = [champions.of(name) for name in ("press-1", "lathe")]
    assert [one.manifest.id if one else None for one in served] == ["press", "all"]
    with pytest.raises(BundleError) as no_former:
        registry.rollback("press-1")
    assert str(no_former.value) == "champions of press-1: there is no former one to go back to"


def test_a_champion_that_must_not_be_used_gives_way_to_the_newest_good_one_before_it(
    registry: Registry,
) -> None:
    for name in ("one", "two", "three", "four"):
        registry.promote(add(registry, name))
    messages = [spoil(registry, name) for name in ("four", "three")]
    champions, refused = registry.load({})
    assert champions.shared is not None
    assert champions.shared.manifest.id == "two"
    assert [str(error) for error in refused] == messages
    assert registry.champion_of(None) == "four"  # the file says what was asked for


def test_a_machine_without_any_good_bundle_is_not_served(registry: Registry) -> None:
    registry.promote(add(registry, "one"))
    message = spoil(registry, "one")
    champions, refused = registry.load({})
    assert champions.shared is None
    assert [str(error) for error in refused] == [message]


def test_a_detector_that_is_loaded_already_is_taken_over(registry: Registry) -> None:
    registry.promote(add(registry, "one"))
    first, _ = registry.load({})
    assert first.shared is not None
    again, _ = registry.load({"one": first.shared})
    assert again.shared is first.shared


def test_a_bundle_that_must_not_be_used_is_not_promoted(registry: Registry) -> None:
    registry.promote(add(registry, "one"))
    wrong = registry.add(manifest("two", window=WindowSpec(length=4)), FILES).manifest.id
    with pytest.raises(BundleError) as refused:
        registry.promote(wrong)
    message = "bundle two: model.tflite: model: must take windows of shape (4, 2), got (3, 2)"
    assert str(refused.value) == message
    assert registry.champions() == {None: Line("one")}


def test_a_former_champion_that_must_not_be_used_is_not_gone_back_to(registry: Registry) -> None:
    for name in ("one", "two"):
        registry.promote(add(registry, name))
    message = spoil(registry, "one")
    with pytest.raises(BundleError) as refused:
        registry.rollback(None)
    assert str(refused.value) == message
    assert registry.champions() == {None: Line("two", ("one",))}


def test_a_former_champion_whose_model_does_not_load_is_not_gone_back_to(
    registry: Registry, tmp_path: Path
) -> None:
    registry.promote(add(registry, "one"))
    registry.add(manifest("wrong", window=WindowSpec(length=4)), FILES)
    path = tmp_path / "state" / "champions.json"
    path.write_bytes(b'{"shared": {"champion": "one", "previous": ["wrong"]}}')
    with pytest.raises(BundleError, match=r"^bundle wrong: model\.tflite: model: must take windows of shape"):
        registry.rollback(None)
    assert registry.champion_of(None) == "one"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "Input data was truncated"),
        (b'{"shared": {"champion": 1}}', "Expected `str`, got `int` - at `$.shared.champion`"),
        (b'{"shred": null}', "Object contains unknown field `shred`"),
        (b'{"\xff": 1}', "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_a_file_of_champions_that_cannot_be_read_is_named(
    registry: Registry, tmp_path: Path, content: bytes, message: str
) -> None:
    registry.promote(add(registry, "one"))
    path = tmp_path / "state" / "champions.json"
    path.write_bytes(content)
    for call in (registry.champions, lambda: registry.load({}), lambda: registry.promote("one")):
        with pytest.raises(BundleError) as refused:
            call()
        assert str(refused.value) == f"{path}: {message}"
    assert path.read_bytes() == content


def test_the_file_of_champions_is_json_that_a_person_can_read(registry: Registry, tmp_path: Path) -> None:
    registry.promote(add(registry, "one"))
    text = (tmp_path / "state" / "champions.json").read_text()
    assert text.count("\n") > 3
    assert msgspec.json.decode(text)["shared"] == {"champion": "one", "previous": [], "pinned": False}


def test_pruning_deletes_the_oldest_and_never_what_serves_its_predecessor_or_a_machine_s_newest(
    registry: Registry,
) -> None:
    for name in ("1", "2", "3", "4"):
        registry.promote(add(registry, name))
    for name in ("5", "6"):
        add(registry, name)  # challengers
    registry.promote(add(registry, "7", machine="press"))
    add(registry, "8", machine="lathe")
    sizes = {name: size_of(registry.bundles / name) for name in registry.ids()}
    total = sum(sizes.values())
    assert registry.superfluous(total) == {}
    assert [*registry.superfluous(total - 1)] == ["1"]
    assert registry.prune(total - sizes["1"] - 1) == {"1": sizes["1"], "2": sizes["2"]}
    assert registry.champions()[None] == Line("4", ("3",))
    assert [*registry.prune(1)] == ["5"]
    assert registry.ids() == ["3", "4", "6", "7", "8"]
    assert registry.rollback(None).id == "3"


def test_what_a_kill_leaves_of_a_deleted_bundle_is_no_bundle(registry: Registry) -> None:
    for name in ("1", "2", "3", "4"):
        registry.promote(add(registry, name))
    (registry.bundles / "1").rename(registry.bundles / ".1.partial")  # as far as a kill could let it come
    champions, refused = registry.load({})
    assert champions.shared is not None
    assert refused == []
    assert [*registry.prune(1)] == ["2"]
    assert registry.champions() == {None: Line("4", ("3",))}


def test_an_unreadable_bundle_is_pruned_like_an_old_one(registry: Registry) -> None:
    registry.promote(add(registry, "1"))
    add(registry, "2")
    (registry.bundles / "2" / "manifest.json").write_text("{")
    assert [*registry.prune(1)] == ["2"]


def test_a_pin_stays_over_promotion_and_rollback_and_is_taken_back(registry: Registry) -> None:
    for name in ("one", "two"):
        add(registry, name)
    with pytest.raises(BundleError, match="champions of all machines: there is none to pin"):
        registry.pin(None, pinned=True)
    registry.promote("one")
    assert registry.pin(None, pinned=True) == "one"
    registry.promote("two")
    assert registry.champions() == {None: Line("two", ("one",), pinned=True)}
    registry.rollback(None)
    assert registry.pinned(None)
    assert not registry.pinned("press")
    registry.pin(None, pinned=False)
    assert not registry.pinned(None)


def test_a_bundle_that_is_pruned_while_it_is_tried_is_not_promoted(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.promote(add(registry, "1"))
    for name in ("2", "3"):
        add(registry, name)

    def load_slowly(bundle: Bundle) -> None:
        load(bundle)
        assert [*Registry(registry.bundles.parent).prune(1)] == ["2"]  # as another process may

    monkeypatch.setattr(champions, "load", load_slowly)
    with pytest.raises(BundleError, match="bundle 2: there is none in"):
        registry.promote("2")
    assert registry.champions() == {None: Line("1")}


def test_an_old_bundle_that_is_being_deleted_is_not_swept_as_well(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("1", "2", "3"):
        registry.promote(add(registry, name))
    for name in registry.ids():
        os.utime(registry.bundles / name, (0, 0))

    def delete_slowly(path: Path) -> None:
        monkeypatch.undo()
        add(registry, "4")  # as another process may, which sweeps
        rmtree(path)

    monkeypatch.setattr(shutil, "rmtree", delete_slowly)
    assert [*registry.prune(1)] == ["1"]
    assert [path.name for path in registry.bundles.glob(".*")] == []


def test_a_challenger_waits_and_a_newer_one_takes_its_place(registry: Registry) -> None:
    registry.promote(add(registry, "1"))
    assert registry.wait(add(registry, "2"), since=5, until=9) is None
    assert registry.wait(add(registry, "3"), since=6, until=None) == "2"
    assert registry.wait(add(registry, "4", "press-1"), since=7, until=None) is None
    assert registry.waiting() == {None: Challenger("3", 6), "press-1": Challenger("4", 7)}
    assert registry.champions() == {None: Line("1")}, "it serves nothing"


def test_a_challenger_waits_no_more_once_its_line_has_another_champion(registry: Registry) -> None:
    for name in ("1", "2", "3"):
        registry.promote(add(registry, name))
    registry.wait(add(registry, "4"), since=5, until=None)
    registry.promote("4")
    assert registry.waiting() == {}
    registry.wait(add(registry, "5"), since=5, until=None)
    registry.rollback(None)
    assert registry.waiting() == {}
    registry.wait("5", since=5, until=None)
    registry.pin(None, pinned=True)
    assert registry.waiting() == {None: Challenger("5", 5)}
    assert registry.dismiss(None) == "5"
    assert registry.dismiss(None) is None


def test_what_waits_is_not_pruned(registry: Registry) -> None:
    for name in ("1", "2", "3", "4"):
        add(registry, name)
    registry.promote("1")
    registry.wait("2", since=5, until=None)
    assert [*registry.superfluous(1)] == ["3"]


def test_a_file_without_challengers_is_as_it_was_before_there_were_any(registry: Registry) -> None:
    registry.promote(add(registry, "1"))
    file = registry.state_dir / "champions.json"
    assert set(json.loads(file.read_text())) == {"shared", "machines"}
    file.write_text('{"shared": {"champion": "1", "previous": [], "pinned": false}, "machines": {}}')
    assert (registry.champions(), registry.waiting()) == ({None: Line("1")}, {})


def test_a_bundle_that_must_not_be_used_does_not_wait(registry: Registry) -> None:
    spoil(registry, add(registry, "1"))
    with pytest.raises(BundleError):
        registry.wait("1", since=5, until=None)
    assert registry.waiting() == {}
