"""The daemon is killed between any two of its steps, and the next one takes up where it was."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest

from config.policies import alert_policy, stream_policy
from daemon import payloads
from daemon.failpoints import FAILPOINTS
from detector.events import AlertChanged
from detector.history import History
from detector.pipeline import Champions, Pipeline
from detector.replay import readings as as_readings
from detector.replay import replay
from registry.bundle import load
from registry.champions import Registry
from tests import plant
from tests.conftest import Setup
from tests.daemon.losses import (
    Key,
    assert_no_alert_lost,
    assert_nothing_lost,
    confirmations,
    keys,
    stored,
)
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

Ready = Callable[[], Daemon]
FIRST, SECOND = "2025-01-01T09-00-00Z-0001", "2025-01-02T09-00-00Z-0002"
# All but these are passed once a step, or with every alert.
SELDOM = {"champions_swapped", "readings_pruned", "leaving"}
# Passed where a store is damaged (test_damage).
SWAP = FAILPOINTS[FAILPOINTS.index("damage_found") : FAILPOINTS.index("successor_placed") + 1]
OFTEN = [name for name in FAILPOINTS if name not in SELDOM and name not in SWAP]
HISTORY = plant.history(600, faults=[range(n, n + 10) for n in range(20, 600, 50)])  # none from 200 to 220
MESSAGES = plant.messages(HISTORY)


@pytest.fixture
def begun(setup: Setup, client: Client, ready: Ready) -> None:
    """A daemon has stored the first 200 readings, and has ended."""
    plant.promote(setup.state, FIRST)
    daemon = ready()
    client.stream(MESSAGES[:200])
    wait_until(lambda: len(stored(setup)) == 200, "the first readings")
    assert daemon.end() == 0


def assert_killed(daemon: Daemon, name: str) -> None:
    assert daemon.code() == -signal.SIGKILL
    assert daemon.said("failpoint_reached", name=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", OFTEN)
@pytest.mark.usefixtures("begun")
def test_a_daemon_that_is_killed_between_two_steps_loses_and_doubles_nothing(
    setup: Setup, client: Client, ready: Ready, run_daemon: Callable[..., Daemon], name: str
) -> None:
    passing = 1 if name.startswith("alert") else 2
    daemon = run_daemon(setup.file, ANOMALYD_FAILPOINT=f"{name}:{passing}")
    client.stream(MESSAGES[200:220])
    wait_until(lambda: len(stored(setup)) == 220 or not daemon.running, "the first passing")
    stream = client.stream(MESSAGES[220:400])
    assert_killed(daemon, name)
    stream.join()
    ready()
    client.stream(MESSAGES[400:])
    assert_nothing_lost(setup, client, HISTORY)


@pytest.mark.usefixtures("begun")
def test_a_daemon_that_is_killed_while_it_says_good_bye_loses_and_doubles_nothing(
    setup: Setup, client: Client, ready: Ready, run_daemon: Callable[..., Daemon]
) -> None:
    daemon = run_daemon(setup.file, ANOMALYD_FAILPOINT="leaving")
    daemon.wait("broker_connected")
    stream = client.stream(MESSAGES[200:400])
    confirmations(client, 300)
    daemon.send(signal.SIGTERM)
    assert_killed(daemon, "leaving")
    stream.join()
    ready()
    client.stream(MESSAGES[400:])
    assert_nothing_lost(setup, client, HISTORY)


@pytest.mark.usefixtures("begun")
def test_a_daemon_that_is_killed_while_bundles_change_goes_on_with_the_new_one(
    setup: Setup, client: Client, ready: Ready, run_daemon: Callable[..., Daemon]
) -> None:
    daemon = run_daemon(setup.file, ANOMALYD_FAILPOINT="champions_swapped")
    daemon.wait("broker_connected")
    stream = client.stream(MESSAGES[200:400])
    confirmations(client, 300)
    plant.promote(setup.state, SECOND)
    assert_killed(daemon, "champions_swapped")
    swapped = len(stored(setup))
    assert swapped > 200
    stream.join()
    ready()
    client.stream(MESSAGES[400:])
    wait_until(lambda: stored(setup) == HISTORY.at.tolist(), "all readings to be stored")
    assert_no_alert_lost(setup, client, expected(setup, swapped))


def expected(setup: Setup, swapped: int) -> list[Key]:
    """The alerts where the first bundle serves for so many readings, and the second one after them."""
    settings, registry = setup.settings, Registry(setup.state)
    first, second = (Champions(load(registry.read(name))) for name in (FIRST, SECOND))
    before, after = part(slice(swapped)), part(slice(swapped, None))
    pipeline = Pipeline(first, stream=stream_policy(settings), alerts=alert_policy(settings))
    events = list(replay((before,), pipeline))
    pipeline.swap(second, lambda *_: as_readings(before))
    events += replay((after,), pipeline)
    return keys(json.loads(payloads.alert(event)) for event in events if isinstance(event, AlertChanged))


def part(rows: slice) -> History:
    return History(HISTORY.machine, HISTORY.sensors, HISTORY.at[rows], HISTORY.values[rows])


@pytest.mark.usefixtures("begun")
def test_a_daemon_that_is_killed_while_it_deletes_old_readings_deletes_no_new_one(
    setup: Setup, client: Client, ready: Ready, run_daemon: Callable[..., Daemon]
) -> None:
    setup.write(store={"keep": "100s"})
    daemon = run_daemon(setup.file, ANOMALYD_FAILPOINT="readings_pruned")
    stream = client.stream(MESSAGES[200:400])
    assert_killed(daemon, "readings_pruned")
    assert stored(setup)[:200] == HISTORY.at.tolist()[:200]
    stream.join()
    ready()
    client.stream(MESSAGES[400:])
    assert_no_alert_lost(setup, client, keys(plant.expected(setup.settings, [HISTORY])))
    kept = stored(setup)
    assert 100 < len(kept) < 600
    assert kept == HISTORY.at.tolist()[-len(kept) :]


@pytest.mark.usefixtures("begun")
def test_an_exception_in_the_loop_ends_the_daemon_with_one_traceback_and_costs_nothing(
    setup: Setup, client: Client, ready: Ready, run_daemon: Callable[..., Daemon]
) -> None:
    daemon = run_daemon(setup.file, ANOMALYD_FAILPOINT="committed:2:raise")
    client.stream(MESSAGES[200:220])
    wait_until(lambda: len(stored(setup)) == 220 or not daemon.running, "the first passing")
    stream = client.stream(MESSAGES[220:400])
    assert daemon.code() == 1
    (failed,) = daemon.said("daemon_failed", level="critical")
    assert "daemon.failpoints.FailpointError: committed" in failed["exception"]
    assert daemon.words() == []
    wait_until(lambda: client.last("anomalyd/status")["status"] == "offline", "the good-bye")
    stream.join()
    ready()
    client.stream(MESSAGES[400:])
    assert_nothing_lost(setup, client, HISTORY)


def test_a_reading_without_a_time_is_not_lost_and_counts_twice_if_it_is_delivered_twice(
    setup: Setup, client: Client, ready: Ready, run_daemon: Callable[..., Daemon]
) -> None:
    daemon = run_daemon(setup.file, ANOMALYD_FAILPOINT="committed")
    daemon.wait("broker_connected")
    client.publish("plant/press/readings", b'{"flow": 1}')
    assert_killed(daemon, "committed")
    assert len(stored(setup)) == 1
    daemon = ready()
    wait_until(lambda: len(stored(setup)) == 2, "the second delivery")


def test_an_unknown_failpoint_is_refused(setup: Setup, run_daemon: Callable[..., Daemon]) -> None:
    daemon = run_daemon(setup.file, ANOMALYD_FAILPOINT="commited")
    assert daemon.code() == 78
    assert "ANOMALYD_FAILPOINT: must be NAME, NAME:N or NAME:N:raise, got commited" in daemon.words()[0]
