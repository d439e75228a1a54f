"""Each reason for a retraining leads to a turn that says who asked and why; and a turn may be killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from daemon.assembly import STORE
from daemon.store import Store
from daemon.transaction import Transaction
from detector.replay import readings
from registry.champions import Registry
from registry.ledger import Ledger
from registry.requests import By, Request, RequestFile
from tests import plant
from tests.conftest import Setup
from tests.daemon.test_clocks import Clock
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

QUICK = {"window": plant.LENGTH, "model": {"kind": "dense", "epochs": 2}}
# At its own threshold the champion finds plain faults alone, so that a challenger is better.
GATE = {"max_error_ratio": 100, "alert_rate_margin": 0.05, "equal_alarms": False}
LENIENT = {"min_readings": 500, "gate": GATE}
DULL = 5.0


@pytest.fixture
def learned(setup: Setup) -> Setup:
    """A daemon's state with a champion and readings to learn from."""
    plant.promote(setup.state, threshold=DULL)
    store = Store(setup.state / STORE)
    store.commit(Transaction(readings=[*readings(plant.history(1000))]))
    store.close()
    return setup


def asked(setup: Setup, decided: dict[str, Any]) -> tuple[str, str]:
    """Who asked for a bundle and why, by its manifest."""
    found = Registry(setup.state).read(decided["bundle"]).manifest.asked
    assert found is not None
    return found.by, found.reason


def test_a_request_file_leads_to_a_turn_that_says_so(learned: Setup, ready: Callable[[], Daemon]) -> None:
    learned.write(trainer=QUICK, retrain=LENIENT)
    daemon = ready()
    RequestFile(learned.state).path.write_text('what?\n{"reason": "new tool", "machines": ["press"]}\n')
    assert "line 1 must be a request in JSON, got 'what?'" in daemon.wait("retraining_refused")["text"]
    started = daemon.wait("retraining_started")
    assert (started["reason"], started["asked"]) == ("file", "new tool")
    decided = daemon.wait("retraining_decided")
    assert (decided["by"], decided["why"]) == ("file", "new tool")
    assert asked(learned, decided) == ("file", "new tool")
    daemon.wait("champions_swapped")
    assert not RequestFile(learned.state).exists()


def test_a_command_leads_to_a_turn_that_says_so(
    learned: Setup, client: Client, ready: Callable[[], Daemon]
) -> None:
    learned.write(trainer=QUICK, retrain=LENIENT)
    daemon = ready()
    client.publish("anomalyd/command", b'{"command": "retrain", "by": "anna", "reason": "new tool"}')
    decided = daemon.wait("retraining_decided")
    assert asked(learned, decided) == ("command", "new tool (anna)")


@pytest.mark.parametrize(
    ("by", "options", "reason"),
    [
        ("schedule", {"every": "1h"}, "retrain.every is 1h"),
        ("age", {"max_age": "1h"}, "the champion is older than retrain.max_age, 1h"),
    ],
)
def test_time_leads_to_a_turn_that_says_so(
    learned: Setup,
    tmp_path: Path,
    run_daemon: Callable[..., Daemon],
    by: str,
    options: dict[str, str],
    reason: str,
) -> None:
    learned.write(trainer=QUICK, retrain={**LENIENT, **options})
    clock = Clock(tmp_path, 0)
    daemon = run_daemon(learned.file, **clock.environ)
    daemon.wait("broker_connected")
    clock.set(7200)
    decided = daemon.wait("retraining_decided")
    assert (decided["by"], decided["why"]) == (by, reason)
    assert asked(learned, decided) == (by, reason)


@pytest.mark.parametrize("by", [By.DRIFT, By.LEARNING])
def test_what_waited_for_a_daemon_leads_to_a_turn_that_says_so(
    learned: Setup, tmp_path: Path, run_daemon: Callable[..., Daemon], by: By
) -> None:
    """As drift and a machine that has sent enough ask: in the daemon, whose books survive a restart."""
    learned.write(trainer=QUICK, retrain=LENIENT)
    Ledger(learned.state).ask((Request(by, "pressure", 5, ("press",)),))
    clock = Clock(tmp_path, 0)
    daemon = run_daemon(learned.file, **clock.environ)
    daemon.wait("broker_connected")
    clock.set(7200)
    assert asked(learned, daemon.wait("retraining_decided")) == (by, "pressure")
    wait_until(lambda: Ledger(learned.state).read().pending == (), "that it is done with")


def more(daemon: Daemon, event: str, number: int) -> bool:
    """Whether it has said this more often."""
    return len(daemon.said(event)) > number


def maps(daemon: Daemon) -> str:
    """The files that are loaded by the retraining that was started last."""
    return Path(f"/proc/{daemon.said('retraining_started')[-1]['process']}/maps").read_text()


def stored(setup: Setup, at: int) -> bool:
    """Whether the daemon has dealt with a reading."""
    with closing(sqlite3.connect(f"file:{setup.state}/{STORE}?mode=ro", uri=True)) as store:
        return bool(store.execute("SELECT count(*) FROM readings WHERE at = ?", (at,)).fetchone()[0])


def test_a_retraining_that_is_killed_at_any_moment_leaves_nothing_half_made_and_scoring_goes_on(
    learned: Setup, client: Client, ready: Callable[[], Daemon]
) -> None:
    learned.write(trainer=QUICK, retrain=LENIENT)
    daemon, registry = ready(), Registry(learned.state)
    bundles = registry.bundles

    moments: dict[str, Callable[[], bool]] = {
        "it has begun": lambda: Ledger(learned.state).read().shared.open,
        "TensorFlow is loaded": lambda: "libtensorflow" in maps(daemon),
        "the bundle is being written": lambda: any(bundles.glob(".*.partial")),
        "the bundle is there": lambda: len(registry.ids()) > 1,
    }
    at = plant.START + 1_000_000
    for number, (moment, reached) in enumerate(moments.items()):
        known = {*registry.ids()}
        RequestFile(learned.state).path.touch()
        wait_until(partial(more, daemon, "retraining_started", number), moment)
        process = daemon.said("retraining_started")[-1]["process"]
        until = time.monotonic() + 60
        while not reached():  # at once, not as lazily as others wait
            assert time.monotonic() < until, moment
        os.kill(process, signal.SIGKILL)
        wait_until(partial(more, daemon, "retraining_failed", number), f"its end while {moment}")
        failed = daemon.said("retraining_failed")[-1]
        assert failed["reason"] == "killed"
        assert "SIGKILL" in failed["why"]
        for bundle in {*registry.ids()} - known:
            registry.read(bundle)  # what has its name is whole
        for topic, payload in plant.messages(plant.history(5, start=at)):
            client.publish(topic, payload)
        at += 5000
        wait_until(partial(stored, learned, at - 1000), f"a reading after {moment}")
    backed_off = daemon.said("retraining_backed_off")
    assert backed_off[-1]["failures"] >= len(moments) - 1
    assert (client.last("anomalyd/status") or {}).get("status") == "degraded"

    RequestFile(learned.state).path.touch()
    daemon.wait("retraining_decided", promoted=True)
    wait_until(lambda: (client.last("anomalyd/status") or {}).get("status") == "online", "all well")
    assert not any(bundles.glob(".*"))
    daemon.end()
