"""The figures are true, all are there from the start, and asking for them never stops the watching."""

from __future__ import annotations

import ast
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from config.addresses import Address
from daemon.counted import COUNTED
from daemon.dead_letters import DeadLetters
from daemon.metrics import MOST, PARTS, Server
from daemon.reasons import OTHER
from daemon.tally import LOG_EVERY, Tally
from tests import plant
from tests.conftest import Setup
from tests.real_broker import Broker
from tests.real_client import Client
from tests.real_daemon import ROOT, Daemon
from tests.waiting import free_port, wait_until

Figures = dict[tuple[str, ...], float]


def ask(port: int, path: str = "/metrics") -> str:
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        text: str = answer.read().decode()
    return text


def figures(port: int) -> Figures:
    """The values by name, less `anomalyd_` and `_total`, and label."""
    return {
        (sample.name.removeprefix("anomalyd_").removesuffix("_total"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(ask(port))
        for sample in family.samples
    }


def chosen(every: Figures, some: Figures) -> Figures:
    """Those of some names."""
    return {key: every[key] for key in some}


@pytest.fixture
def metrics(setup: Setup) -> int:
    """The port on which the daemon of `setup` answers."""
    port = free_port()
    setup.write(metrics={"listen": f"127.0.0.1:{port}"})
    return port


def test_the_figures_are_those_of_what_was_sent(
    setup: Setup, client: Client, ready: Callable[[], Daemon], metrics: int
) -> None:
    bundle = plant.promote(setup.state).name
    readings = plant.history(200, faults=[range(100, 120)])
    messages = plant.messages(readings)
    ready()
    others = [(messages[0][0], payload) for payload in (b"no json", b"{}", b"{}")]
    for topic, payload in [*messages, *messages[-3:], *others]:
        client.publish(topic, payload)
    wait_until(lambda: client.confirmed == 206, "the stream")
    expected: Figures = {
        ("messages_received",): 206,
        ("readings_stored",): 200,
        ("readings_dropped", "duplicate"): 3,
        ("messages_refused", "not_json"): 1,
        ("messages_refused", "no_sensor"): 2,
        ("windows_scored",): 197,
        ("windows_not_scored", "warming_up"): 3,
        ("alert_changes", "opened"): 1,
        ("alert_changes", "closed"): 1,
        ("alerts_open",): 0,
        ("machines", "normal"): 1,
        ("machines", "alert"): 0,
        ("latency_seconds_count",): 206,
        ("latency_seconds_bucket", "+Inf"): 206,
        ("broker_connections",): 1,
        ("broker_losses", "closed"): 0,
        ("connected",): 1,
        ("degraded", "store"): 0,
        ("outbox_messages",): 0,
        ("intake_messages",): 0,
        ("intake_bytes",): 0,
        ("bundles_serving",): 1,
        ("bundle_info", bundle, "shared"): 1,
    }

    wait_until(lambda: chosen(figures(metrics), expected) == expected, f"{expected}")
    now = figures(metrics)
    assert now["turn_age_seconds",] < 30
    assert now["store_bytes",] == sum(
        (setup.state / name).stat().st_size for name in ("store.sqlite", "store.sqlite-wal")
    )
    assert 0 < now["step_seconds_sum",] < now["latency_seconds_sum",]
    assert now["process_resident_memory_bytes",] > 2**20


def test_readings_that_are_replayed_count_as_stored(
    setup: Setup, client: Client, ready: Callable[[], Daemon], metrics: int
) -> None:
    daemon = ready()
    client.publish("plant/press/readings", b'{"flow": "run"}')
    wait_until(lambda: figures(metrics)["messages_refused", "not_a_number"] == 1, "it to be refused")
    setup.write(readings={"channels": {"flow": "category"}})
    daemon.send(signal.SIGHUP)
    daemon.wait("configuration_reloaded")
    letters = DeadLetters(setup.state / "store.sqlite")
    letters.mark([1])
    letters.close()
    expected: Figures = {("dead_letters_replayed", "scored"): 1, ("readings_stored",): 1}
    wait_until(lambda: chosen(figures(metrics), expected) == expected, f"{expected}")


def test_an_alert_that_waits_for_the_broker_is_seen(
    setup: Setup, client: Client, ready: Callable[[], Daemon], broker: Broker, metrics: int
) -> None:
    plant.promote(setup.state)
    messages = plant.messages(plant.history(120, faults=[range(100, 120)]))
    ready()
    client.stream(messages[:90]).join()
    wait_until(lambda: figures(metrics)["readings_stored",] == 90, "the readings")
    broker.stop()
    wait_until(lambda: figures(metrics)["connected",] == 0, "the loss")
    client.stream(messages[90:]).join()
    broker.start()
    wait_until(lambda: figures(metrics)["alerts_open",] == 1, "the alert")
    wait_until(lambda: figures(metrics)["outbox_messages",] == 0, "the broker's answer")
    now = figures(metrics)
    assert (now["broker_connections",], now["connected",], now["machines", "alert"]) == (2, 1, 1)
    assert sum(value for (name, *_), value in now.items() if name == "broker_losses") >= 1


def test_every_counter_is_there_before_it_first_moves(
    setup: Setup, ready: Callable[[], Daemon], metrics: int
) -> None:
    ready()
    now = figures(metrics)
    for kind in COUNTED.values():
        for reason in kind.reasons or ((),):
            assert now[(kind.metric, reason) if reason else (kind.metric,)] == 0


def test_what_cannot_be_listened_on_is_said_and_the_daemon_watches_all_the_same(
    setup: Setup, client: Client, ready: Callable[[], Daemon], metrics: int
) -> None:
    with socket.create_server(("127.0.0.1", metrics)):
        daemon = ready()
        (line,) = daemon.said("metrics_failed")
        assert (line["level"], line["address"]) == ("error", f"127.0.0.1:{metrics}")
        assert "in use" in line["reason"]
        client.publish("plant/press/readings", b'{"flow": 1}')
        daemon.wait("state_changed")


def test_nothing_of_it_is_imported_unless_it_is_asked_for(setup: Setup) -> None:
    script = (
        "import sys; from pathlib import Path; from config import load; from daemon.assembly import Daemon; "
        f"file = Path({str(setup.file)!r}); Daemon(file, load(file, {{}})).close(); "
        "print({'prometheus_client', 'http.server', 'daemon.metrics'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("set()\n")


@pytest.fixture
def health() -> Iterator[tuple[int, list[bool]]]:
    """A port, and whether the loop behind it is alive."""
    alive = [True]
    server = Server(Address("127.0.0.1", 0), CollectorRegistry(), alive=lambda: alive[0])
    yield server.port, alive
    server.close()


def test_a_loop_that_hangs_is_unhealthy(health: tuple[int, list[bool]]) -> None:
    port, alive = health
    assert ask(port, "/healthz") == "alive\n"
    alive[0] = False
    with pytest.raises(HTTPError, match="503"):
        ask(port, "/healthz")
    with pytest.raises(HTTPError, match="404"):
        ask(port, "/")


def test_clients_that_ask_for_nothing_hold_up_neither_the_others_nor_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("daemon.metrics.PATIENCE", 1e6)
    server = Server(Address("127.0.0.1", 0), CollectorRegistry(), alive=lambda: True)
    with ExitStack() as idle:
        for _ in range(MOST - 1):
            idle.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        assert ask(server.port, "/healthz") == "alive\n"
        server.close()


def test_a_client_whose_request_drips_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.metrics.PATIENCE", 0.2)
    server = Server(Address("127.0.0.1", 0), CollectorRegistry(), alive=lambda: True)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(b"GET /heal")
        assert client.recv(1) == b""
    server.close()


def test_of_too_many_clients_the_last_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.metrics.PATIENCE", 1e6)
    server = Server(Address("127.0.0.1", 0), CollectorRegistry(), alive=lambda: True)
    with ExitStack() as idle:
        clients = [
            idle.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            for _ in range(MOST + 1)
        ]
        assert clients[-1].recv(1) == b""
    server.close()


def test_no_answer_names_the_interpreter(health: tuple[int, list[bool]]) -> None:
    with urlopen(f"http://127.0.0.1:{health[0]}/healthz", timeout=30) as answer:
        assert answer.headers["Server"] == "anomalyd"


def test_an_address_may_be_one_of_ipv6() -> None:
    server = Server(Address("::1", 0), CollectorRegistry(), alive=lambda: True)
    with urlopen(f"http://[::1]:{server.port}/healthz", timeout=30) as answer:
        assert answer.status == 200
    server.close()


def calls(*names: str) -> Iterator[list[object]]:
    """The arguments of these methods' calls in the daemon: literal texts as they are, others None."""
    for file in sorted((ROOT / "daemon").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith(names)):
                continue
            yield [each.value if isinstance(each, ast.Constant) else None for each in node.args]


def test_every_event_and_reason_that_the_code_names_is_known_beforehand() -> None:
    found = set()
    for event, *rest in calls("tally.count", "tally.report", "tally.note", "self.count"):
        if event is None:  # a variable
            continue
        assert isinstance(event, str)
        assert event in COUNTED, f"{event} must stand in daemon/counted.py"
        reasons = COUNTED[event].reasons
        assert bool(rest) is bool(reasons), event
        assert not rest or rest[0] is None or rest[0] in reasons, f"{event}: {rest[0]} must stand there"
        found.add(event)
    assert COUNTED.keys() - found == {"broker_lost", "broker_refused"} - found


def test_every_part_that_may_be_degraded_is_known_beforehand() -> None:
    parts = {part for part, *_ in calls("set_problem")}
    assert parts == set(PARTS)


def test_a_reason_that_nobody_foresaw_is_another_one() -> None:
    tally = Tally(lambda: 0.0)
    before = len(tally.counts)
    with capture_logs() as lines:
        tally.count("broker_lost", "struck_by_lightning", host="h")
        tally.report("publication_refused", "no_mood", topic="t")
    assert tally.counts["broker_lost", OTHER] == tally.counts["publication_refused", OTHER] == 1
    assert [line["reason"] for line in lines] == ["struck_by_lightning", "no_mood"]
    assert len(tally.counts) == before


def test_a_flood_is_a_line_every_ten_seconds_and_counted_whole() -> None:
    now = [0.0]
    tally = Tally(lambda: now[0])
    with capture_logs() as lines:
        for _ in range(5):
            tally.count("message_dropped", "intake_full", 2)
        tally.flush()
        now[0] = LOG_EVERY
        tally.flush()
        tally.flush()
    assert [(line["count"], line["total"]) for line in lines] == [(2, 2), (8, 10)]


def test_every_metric_stands_in_the_documentation(
    setup: Setup, ready: Callable[[], Daemon], metrics: int
) -> None:
    ready()
    kinds = re.findall(r"^# TYPE (anomalyd_\w+) (\w+)$", ask(metrics), re.MULTILINE)
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(anomalyd_\w+)` \| (\w+) \|", text, re.MULTILINE)
    seldom = [
        (f"anomalyd_{name}", "gauge")
        for name in (
            "commit_age_seconds",
            "bundle_info",
            "retraining_last_seconds",
            "retraining_next_timestamp_seconds",
        )
    ]
    assert sorted(rows) == sorted({*kinds, *seldom})
