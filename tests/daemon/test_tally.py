from __future__ import annotations

from structlog.testing import capture_logs

from daemon.tally import LOG_EVERY, Tally


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_names_what_all_that_it_counts_have_in_common_and_of_the_rest_an_example() -> None:
    clock = Clock()
    tally = Tally(clock)
    with capture_logs() as lines:
        for machine in ("press", "pump", "lathe"):
            tally.count("reading_dropped", "late", machine=machine, topic="plant")
        clock.now = LOG_EVERY
        tally.flush()
        tally.count("reading_dropped", "late", machine="saw")
        clock.now = 2 * LOG_EVERY
        tally.flush()
    told = [
        {name: value for name, value in line.items() if name not in {"log_level", "event"}} for line in lines
    ]
    assert told == [
        {"reason": "late", "count": 1, "total": 1, "machine": "press", "topic": "plant"},
        {"reason": "late", "count": 2, "total": 3, "machine_such_as": "lathe", "topic": "plant"},
        {"reason": "late", "count": 1, "total": 4, "machine": "saw"},
    ]
