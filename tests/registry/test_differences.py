from __future__ import annotations

from msgspec.structs import replace

from detector.manifest import WindowSpec
from registry.differences import Difference, differences
from tests.detector.examples import manifest


def test_a_bundle_does_not_differ_from_itself() -> None:
    assert differences(manifest("one"), manifest("two")) == []


def test_what_matters_to_a_score_is_named_with_both_values() -> None:
    first = manifest("one")
    scaler = replace(
        first.scaler, offset=(first.scaler.offset[0] + 3 * first.scaler.scale[0], *first.scaler.offset[1:])
    )
    second = replace(first, machine="press", window=WindowSpec(length=7), scaler=scaler)
    found = {each.what: each for each in differences(first, second)}
    assert found.keys() == {"serves", "window", f"scaling of {first.sensors[0]}"}
    assert found["window"] == Difference("window", "3, stride 1, gaps up to 2", "7, stride 1, gaps up to 5")
    assert (found["serves"].first, found["serves"].second) == ("all", "press")


def test_sensors_that_only_one_knows_are_named() -> None:
    first = manifest("one")
    second = replace(first, sensors=(first.sensors[0], "new"))
    (found,) = (each for each in differences(first, second) if each.what == "sensors of its own")
    assert (found.first, found.second) == (first.sensors[1], "new")


def test_a_scaling_that_hardly_moved_is_no_difference() -> None:
    first = manifest("one")
    offset = tuple(
        value + 0.05 * scale for value, scale in zip(first.scaler.offset, first.scaler.scale, strict=True)
    )
    assert differences(first, replace(first, scaler=replace(first.scaler, offset=offset))) == []
