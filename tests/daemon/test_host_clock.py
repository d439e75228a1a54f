"""Two clocks of one host: what counts as a step of the one that may be set."""

from __future__ import annotations

import pytest

from daemon.clock import STEP, TOGETHER, HostClock

EPOCH = 1_767_225_600_000


class Host:
    """Its clocks, in milliseconds; each time that the steady one is read, it stands still before."""

    def __init__(self) -> None:
        self.ran = 0
        self.set_ahead = 0
        self.stands_still = 0

    def wall(self) -> int:
        return EPOCH + self.ran + self.set_ahead

    def steady(self) -> int:
        self.ran += self.stands_still
        return self.ran


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def clock(host: Host) -> HostClock:
    return HostClock(host.wall, host.steady)


@pytest.mark.parametrize("step", [STEP, -STEP, 3_600_000, -EPOCH])
def test_a_clock_that_was_set_is_noticed_once(host: Host, clock: HostClock, step: int) -> None:
    host.ran += 700
    assert clock.look() == (EPOCH + 700, 0)
    host.ran += 5_000
    host.set_ahead += step
    assert clock.look() == (EPOCH + 5_700 + step, step)
    assert clock.look() == (EPOCH + 5_700 + step, 0)


def test_a_clock_that_is_slewed_is_not_set(host: Host, clock: HostClock) -> None:
    for i in range(100):
        host.ran += 10_000
        host.set_ahead += 50
        assert clock.look() == (EPOCH + 10_050 * (i + 1), 0)


def test_a_process_that_stands_still_amid_the_look_sees_no_step_and_misses_none(
    host: Host, clock: HostClock
) -> None:
    host.stands_still = 2_000
    assert clock.look() == (EPOCH + 4_000, 0)
    host.set_ahead += 3_600_000
    assert clock.look() == (EPOCH + 8_000, 0)
    host.stands_still = 0
    assert clock.look() == (EPOCH + 3_608_000, 3_600_000)
    host.stands_still = TOGETHER
    assert clock.look()[1] == 0


def test_what_arrived_before_the_clock_was_set_has_a_time_of_the_clock_as_it_is_now(
    host: Host, clock: HostClock
) -> None:
    before, arrived = host.wall(), host.steady()
    host.ran += 100
    assert clock.moment(before, arrived) == before
    host.set_ahead += 3_600_000
    assert clock.moment(before, arrived) == before
    clock.look()
    assert clock.moment(before, arrived) == before + 3_600_000
    assert clock.moment(host.wall(), host.steady()) == host.wall()
