from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from demo.seen import Alert, Blame, Health, Score, Seen
from demo.story import HISTORY, Story, Stretch, tell
from demo.verdict import Outcome, false_alerts, judge

BEGAN = datetime(2026, 1, 4, 10, tzinfo=UTC)
STORY = tell(seed=0)
NORMAL, WEAR, CAVITATION, STUCK, SILENT = (stretch for stretch in STORY.stretches if stretch.label)


def at(second: float) -> datetime:
    return BEGAN + timedelta(seconds=second)


def opened(second: float, sensor: str = "vibration") -> Alert:
    return Alert(str(second), "opened", "warning", at(second), at(second), 2.0, 2.0, (Blame(sensor, 0.7),))


def seen(*alerts: Alert, unscored: Stretch | None = None, imputed: tuple[str, ...] = ()) -> Seen:
    """A daemon that scored every second from the first full window on, save in one stretch."""
    result = Seen("pump-1")
    result.alerts.extend(alerts)
    for second in range(30, STORY.seconds):
        if unscored is None or not unscored.holds(second):
            result.scores.append(Score(at(second), 0.1, imputed=imputed if SILENT.holds(second) else ()))
    return result


def outcome(stretch: Stretch, what: Seen) -> Outcome:
    (found,) = (each for each in judge(STORY, BEGAN, what) if each.stretch is stretch)
    return found


def test_a_quiet_normal_stretch_is_good() -> None:
    found = outcome(NORMAL, seen())
    assert (found.good, found.remark) == (True, "quiet")


def test_an_alert_in_the_normal_stretch_is_not_good() -> None:
    found = outcome(NORMAL, seen(opened(NORMAL.end - 1)))
    assert (found.good, found.remark) == (False, "false alarm")


def test_a_normal_stretch_is_not_quiet_because_nobody_listened() -> None:
    found = outcome(NORMAL, seen(unscored=NORMAL))
    assert (found.good, found.remark) == (False, "only 0% was scored")


def test_a_fault_is_good_with_its_delay_and_its_culprit_if_it_was_alerted() -> None:
    found = outcome(WEAR, seen(opened(WEAR.begin + 40), opened(WEAR.begin + 90, "flow")))
    assert (found.good, found.remark, found.delay) == (True, "alerted", 40.0)
    assert found.blamed == Blame("vibration", 0.7)


@pytest.mark.parametrize("second", [WEAR.begin - 1, WEAR.end + 30])
def test_an_alert_before_or_long_after_a_fault_is_not_the_faults(second: int) -> None:
    found = outcome(WEAR, seen(opened(second)))
    assert (found.good, found.remark, found.delay) == (False, "missed", None)


def test_the_time_in_which_a_stuck_sensor_cannot_be_seen_is_told_apart() -> None:
    found = outcome(STUCK, seen(opened(STUCK.begin + 80)))
    assert (found.good, found.remark) == (True, "alerted, 30 s after it could be seen")


def test_a_stuck_sensor_is_good_without_an_alert_if_it_was_told_and_no_other_was() -> None:
    what = seen()
    what.health.append(Health("flow", "stuck", at(STUCK.begin + 20)))
    what.health.append(Health("discharge_pressure", "stuck", at(STUCK.end + 30)))
    assert outcome(STUCK, what).good is False
    what.health.append(Health("discharge_pressure", "stuck", at(STUCK.begin + 20)))
    found = outcome(STUCK, what)
    assert (found.good, found.remark) == (True, "told that it is stuck after 20 s")


def test_a_silent_sensor_is_good_without_an_alert_if_scores_went_on() -> None:
    found = outcome(SILENT, seen(imputed=("fluid_temperature",)))
    assert (found.good, found.remark) == (True, "100% scored without it, named as imputed")


def test_a_silent_sensor_that_stops_detection_is_not_good_even_with_an_alert() -> None:
    found = outcome(SILENT, seen(opened(SILENT.begin + 5), unscored=SILENT))
    assert (found.good, found.remark) == (False, "detection stopped: 0% scored")


def test_alerts_that_no_fault_explains_are_told() -> None:
    explained, unexplained = opened(CAVITATION.begin + 3), opened(CAVITATION.end + 100)
    assert false_alerts(STORY, BEGAN, seen(explained, unexplained)) == (unexplained,)


def test_the_story_has_no_gaps_and_its_faults_lie_in_their_stretches() -> None:
    assert [stretch.begin for stretch in STORY.stretches] == [0, *(each.end for each in STORY.stretches[:-1])]
    for stretch in STORY.stretches:
        if stretch.fault is not None:
            assert (stretch.fault.onset, stretch.fault.until) == (
                HISTORY + stretch.begin,
                HISTORY + stretch.end,
            )


@pytest.mark.parametrize("seed", range(5))
def test_the_pump_is_never_asked_to_stop_in_a_fault_but_when_the_gauge_is_stuck(seed: int) -> None:
    story: Story = tell(seed=seed)
    faulty = [stretch for stretch in story.stretches if stretch.fault is not None]
    stops = [point.second - HISTORY for point in story.duty if point.speed == 0]
    assert [stretch.label for stretch in faulty if any(stretch.holds(second) for second in stops)] == [
        "stuck"
    ]
