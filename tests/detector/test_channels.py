from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.alerts import AlertPolicy
from detector.categories import number_of
from detector.channels import EMBEDDED, MOST_ONE_HOT, Channel, Columns, embedding
from detector.events import AlertChanged, Event, ReadingDropped, Scored, ValueIgnored
from detector.kinds import ChannelKind
from detector.manifest import WindowSpec
from detector.reading import Dropped, Ignored, Reading
from tests.detector.examples import SECOND, START, detector, manifest, pipeline, reading, whole

RECIPES = tuple(f"recipe {i}" for i in range(40))
CHANNELS = {
    "mode": Channel("category", categories=("run", "stop", "wait")),
    "recipe": Channel("category", categories=RECIPES),
    "open": Channel("binary"),
    "heading": Channel("angle"),
    "hour": Channel("angle", 24.0),
    "energy": Channel("counter"),
}
SENSORS = ("flow", *CHANNELS)
COLUMNS = Columns(SENSORS, CHANNELS)
EAGER = AlertPolicy(open_after=1, open_within=1, close_after=1)


def test_a_number_is_one_column_an_angle_two_a_category_one_for_each_or_a_few() -> None:
    assert COLUMNS.width == 1 + 3 + EMBEDDED + 1 + 2 + 2 + 1
    assert COLUMNS.starts.tolist() == [0, 1, 4, 20, 21, 23, 25]
    assert COLUMNS.binary == (1, 2, 3, 20)
    assert COLUMNS.counters == ("energy",)
    most = Channel("category", categories=RECIPES[:MOST_ONE_HOT])
    assert (most.width, CHANNELS["recipe"].width) == (MOST_ONE_HOT, EMBEDDED)


@given(
    flow=st.floats(-1e6, 1e6),
    mode=st.sampled_from(CHANNELS["mode"].categories),
    recipe=st.sampled_from(RECIPES),
    is_open=st.sampled_from((0, 1)),
    turns=st.integers(-(10**9), 10**9),
    angle=st.integers(0, 359),
    energy=st.floats(0, 1e6),
)
def test_decoding_undoes_encoding(
    flow: float,
    mode: str,
    recipe: str,
    is_open: int,
    turns: int,
    angle: int,
    energy: float,
) -> None:
    heading, hour = 360.0 * turns + angle, 24.0 * turns + angle / 15
    sample = np.array([flow, number_of(mode), number_of(recipe), is_open, heading, hour, energy])
    *said, near_heading, near_hour, grown = COLUMNS.decode(COLUMNS.encode(sample))
    assert [*said, grown] == [flow, mode, recipe, is_open, energy]
    assert isinstance(near_heading, float)
    assert isinstance(near_hour, float)
    assert math.dist((math.cos(math.radians(near_heading)), math.sin(math.radians(near_heading))), (
        math.cos(math.radians(angle)), math.sin(math.radians(angle)))) < 1e-6  # fmt: skip
    assert abs((near_hour * 15 - angle + 180) % 360 - 180) < 1e-4
    assert 0 <= near_heading < 360
    assert COLUMNS.say(sample)[:3] == [flow, mode, recipe]


def test_what_is_missing_or_new_is_missing_in_all_of_its_columns() -> None:
    nothing = np.full(len(SENSORS), np.nan)
    assert np.isnan(COLUMNS.encode(nothing)).all()
    sample = np.array([1, number_of("explode"), number_of("recipe 40"), 1, 0, 0, 0])
    encoded = COLUMNS.encode(sample)
    assert np.isnan(encoded[1:20]).all()
    assert np.isfinite(encoded[[0, *range(20, 26)]]).all()
    assert COLUMNS.strange(sample) == ["mode", "recipe"]
    assert COLUMNS.say(sample)[:4] == [1, None, None, 1]
    assert COLUMNS.strange(nothing) == []


def test_an_infinite_angle_is_missing() -> None:
    assert np.isnan(
        Columns(("a",), {"a": Channel("angle")}).encode(np.array([[math.inf], [-math.inf]]))
    ).all()


def test_samples_of_plain_numbers_are_their_own_columns() -> None:
    samples = np.arange(6.0).reshape(2, 3)
    plain = Columns(
        ("a", "b", "c"), {"b": Channel("counter"), "c": Channel("binary"), "other": Channel("angle")}
    )
    assert plain.encode(samples) is samples
    assert plain.summed(samples) is samples


def test_categories_of_many_are_far_from_each_other() -> None:
    vectors = np.array([embedding(f"batch {i}") for i in range(1000)])
    likeness = vectors @ vectors.T - 2 * np.eye(1000)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert likeness.max() < 0.95
    assert abs(likeness[~np.eye(1000, dtype=bool)].mean()) < 0.01


def test_a_text_is_the_same_number_on_every_computer() -> None:
    assert number_of("run") == 4420796224404584.0
    assert embedding("run")[:2].tolist() == pytest.approx([0.143344, -0.131161], abs=1e-6)
    assert number_of("läuft") != number_of("lauft")


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("category", {}, "channel.categories: must be the texts of a category, got 0 of"),
        ("angle", {"categories": ("a",)}, "channel.categories: must be the texts of a category, got 1 of"),
        ("category", {"categories": ("a", "a")}, "channel.categories: must be different texts"),
        ("angle", {"period": 0.0}, "channel.period: must be a finite number above 0, got 0.0"),
    ],
)  # fmt: skip
def test_a_channel_that_cannot_be_is_refused(
    kind: ChannelKind, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Channel(kind, **options)  # type: ignore[arg-type]


def counting(*shown: float, slots: list[int] | None = None) -> list[float]:
    """What the model sees of a counter."""
    made = manifest(
        sensors=("energy", "flow"), channels={"energy": Channel("counter")}, window=WindowSpec(1, max_gap=2)
    )
    target = detector(made)
    seen = []
    scale = target.scale

    def watch(samples: np.ndarray) -> np.ndarray:
        seen.extend(samples[:, 0].tolist())
        return scale(samples)

    target.scale = watch  # type: ignore[method-assign]
    pipeline(target).on_readings(
        Reading("press-1", START + slot * SECOND, ("energy", "flow"), np.array([value, 0.0]))
        for slot, value in zip(slots or range(len(shown)), shown, strict=True)
    )
    return seen


def test_of_a_counter_the_increase_counts_and_a_reset_is_missing() -> None:
    assert counting(5, 7, 7, 3, 4) == pytest.approx([math.nan, 2, 0, math.nan, 1], nan_ok=True)


def test_the_increase_of_a_large_counter_is_exact() -> None:
    assert counting(1e12, 1e12 + 1, 1e12 + 1.5)[1:] == [1, 0.5]
    assert counting(2.0**52, 2.0**52 + 1)[1:] == [1]


def test_across_a_hole_the_increase_is_missing() -> None:
    seen = counting(1, 2, 4, 5, 100, 101, slots=[0, 1, 3, 4, 50, 51])
    assert seen == pytest.approx([math.nan, 1, math.nan, math.nan, 1, math.nan, 1], nan_ok=True)


def moded(modes: list[str], *, flows: list[float] | None = None) -> list[Event]:
    """The events of readings with a mode."""
    channels = {"mode": Channel("category", categories=("run", "stop"))}
    made = manifest(sensors=("mode", "flow"), channels=channels, window=WindowSpec(1, min_coverage=0.3))
    rows = [[number_of(mode), flow] for mode, flow in zip(modes, flows or [0.0] * len(modes), strict=True)]
    return pipeline(detector(made), alerts=EAGER).on_readings(whole(("mode", "flow"), rows))


def test_a_category_never_seen_in_training_is_missing_and_said() -> None:
    events = moded(["run", "explode", "stop"])
    assert [event for event in events if isinstance(event, ValueIgnored)] == [
        ValueIgnored("press-1", START + SECOND, "mode", Ignored.NEW_CATEGORY)
    ]
    assert [(e.coverage, e.imputed) for e in events if isinstance(e, Scored)] == [
        (1.0, ()),
        (0.5, ("mode",)),
        (1.0, ()),
    ]


def test_an_alert_names_categories_by_their_texts() -> None:
    alerts = [e for e in moded(["run", "explode"], flows=[90.0, 90.0]) if isinstance(e, AlertChanged)]
    sensors = {one.sensor: one for one in alerts[0].sensors}
    assert sensors["mode"].value == "run"
    assert sensors["mode"].expected in {"run", "stop"}
    assert (sensors["flow"].value, type(sensors["flow"].expected)) == (90.0, float)
    assert sum(one.contribution for one in alerts[0].sensors) == pytest.approx(1)


def test_a_late_value_is_told_from_a_second_copy_whatever_columns_there_are() -> None:
    channels = {"mode": Channel("category", categories=("run", "stop"))}
    made = manifest(sensors=("mode", "flow"), channels=channels, window=WindowSpec(3))
    mode = number_of("run")
    first = reading(0, mode=mode)
    sent = [first, reading(1, mode=mode, flow=1), first, reading(0, flow=1)]
    events = pipeline(detector(made)).on_readings(sent)
    assert [event.reason for event in events if isinstance(event, ReadingDropped)] == [
        Dropped.DUPLICATE,
        Dropped.LATE,
    ]
