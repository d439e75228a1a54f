"""Metrics for Prometheus over HTTP: read when they are asked for, so that the loop pays nothing for them."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from itertools import accumulate
from socketserver import ThreadingTCPServer
from threading import Semaphore, Thread, Timer
from typing import TYPE_CHECKING, Any, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from daemon import logs
from daemon.counted import COUNTED
from detector.events import MachineState
from detector.health import Health
from registry.drifts import Kind

if TYPE_CHECKING:
    from config.addresses import Address
    from daemon.announcing import Announcer
    from daemon.drifting import Drifting
    from daemon.figures import Histogram
    from daemon.intake import Intake
    from daemon.publisher import Publisher
    from daemon.retraining import Retraining
    from daemon.service import Service
    from daemon.store import Store
    from daemon.tally import Tally

Word = TypeVar("Word", bound=str)

PREFIX = "anomalyd"
PATIENCE = 5.0  # seconds for a request to arrive and its answer to be taken
MOST = 8  # requests at once; of more the connections are closed
MAX_BUNDLES = 100  # named one by one: a plant may have a model of its own for each of its machines
# Of which the daemon can be degraded.
NOTICE = 0.1  # seconds until it is noticed that the server is to end
PARTS = (
    "store",
    "damage",
    "subscription",
    "commands",
    "publications",
    "readings",
    "client_id",
    "bundles",
    "retraining",
)
JUST_HEARD = "new"  # a machine of which no sample is complete yet


class DaemonCollector(Collector):
    """Reads the daemon's own numbers. Machines are counted and never named: labels are few and bounded."""

    def __init__(
        self,
        service: Service,
        *,
        store: Store,
        intake: Intake,
        publisher: Publisher,
        announcer: Announcer,
        tally: Tally,
        retraining: Retraining,
        drifting: Drifting,
        version: str,
        clock: Callable[[], float],
    ) -> None:
        """`clock` is the one that the figures' times are of."""
        self._service = service
        self._store = store
        self._intake = intake
        self._publisher = publisher
        self._announcer = announcer
        self._tally = tally
        self._retraining = retraining
        self._drifting = drifting
        self._version = version
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """All metrics, each as it is at this moment."""
        yield from self._flow()
        yield from self._turned_away()
        yield from self._present()

    def _flow(self) -> Iterator[Metric]:
        figures = self._tally.figures
        yield _counter("messages_received", "Messages that came from the broker.", self._intake.received)
        yield _counter("readings_stored", "Readings that were accepted and stored.", figures.readings)
        yield _counter("windows_scored", "Windows with a score.", figures.scored)
        yield _counters("windows_not_scored", "Windows without a score.", "reason", figures.not_scored)
        yield _counters(
            "alert_changes",
            "Alerts that opened, closed, or changed in between.",
            "change",
            figures.alerts,
        )
        yield _counter(
            "publications_confirmed", "Publications that the broker has taken.", figures.publications
        )
        yield _counter("broker_connections", "Connections that came to stand.", figures.connections)
        yield _histogram("step_seconds", "Duration of a step that dealt with messages.", figures.steps)
        yield _histogram(
            "latency_seconds",
            "From a message's arrival to the end of its step, when its alerts are on their way; "
            "of each step's messages the oldest speaks for all.",
            figures.latency,
        )

    def _turned_away(self) -> Iterator[Metric]:
        for event, kind in COUNTED.items():
            counts = {reason: self._tally.counts[event, reason] for reason in kind.reasons}
            if counts:
                yield _counters(kind.metric, kind.says, "reason", counts)
            else:
                yield _counter(kind.metric, kind.says, self._tally.counts[event, ""])
        yield _counters("log_lines", "Lines of the log, by their level.", "level", dict(logs.lines))

    def _present(self) -> Iterator[Metric]:
        figures, now = self._tally.figures, self._clock()
        machines = self._service.pipeline.machines()
        found = Counter(machine.state or JUST_HEARD for machine in machines)
        states = {state: found[state] for state in (*MachineState, JUST_HEARD)}
        yield _gauges("machines", "Machines, by their state.", "state", states)
        alerts = sum(
            (machine.alerts.alert is not None) + (machine.silence.alert is not None) for machine in machines
        )
        yield _gauge("alerts_open", "Alerts that are open.", alerts)
        unhealthy = Counter(one.health for machine in machines for one in machine.unhealthy.values())
        ailing = {health: unhealthy[health] for health in Health if health is not Health.OK}
        yield _gauges("sensors_ailing", "Sensors that are not healthy, by what ails them.", "health", ailing)
        yield _gauge("connected", "1 while the broker is connected.", self._publisher.connected())
        problems = dict(self._announcer.problems)
        yield _gauges(
            "degraded",
            "1 while this part keeps the daemon from its work; the status topic says how.",
            "part",
            {part: part in problems for part in PARTS},
        )
        yield _gauge("outbox_messages", "Alerts that the broker has not confirmed yet.", self._store.outbox)
        yield _gauge("intake_messages", "Messages that wait for the next steps.", self._intake.waiting)
        yield _gauge("intake_bytes", "Their payloads together.", self._intake.waiting_bytes)
        yield _gauge("store_bytes", "Size of the store and its log on disk.", self._store.size())
        yield _gauge("turn_age_seconds", "Since the loop last turned.", now - figures.turned_at)
        if figures.committed_at is not None:
            age = now - figures.committed_at
            yield _gauge("commit_age_seconds", "Since the store last took anything.", age)
        yield from self._of_retraining()
        kinds = self._drifting.kinds
        found_of = {kind: kinds[kind] for kind in Kind}
        yield _gauges("machines_drifting", "Machines, by what was found of their drift.", "kind", found_of)
        bundles = [each.manifest for each in self._service.pipeline.champions.all()]
        yield _gauge("bundles_serving", "Bundles in service.", len(bundles))
        named = InfoMetricFamily(f"{PREFIX}_bundle", f"Bundles in service, the first {MAX_BUNDLES} of them.")
        for manifest in bundles[:MAX_BUNDLES]:
            named.add_metric([], {"bundle": manifest.id, "machine": manifest.machine or "shared"})
        yield named
        yield InfoMetricFamily(f"{PREFIX}_build", "This version.", {"version": self._version})

    def _of_retraining(self) -> Iterator[Metric]:
        retraining = self._retraining
        yield _gauge("retraining_running", "1 while the daemon's child retrains.", retraining.running)
        says = "Lines whose last turn failed or took too long, so that the next one is put off."
        yield _gauge("retraining_lines_backed_off", says, retraining.standing.backed_off)
        seconds = retraining.standing.last_seconds
        if seconds is not None:
            yield _gauge("retraining_last_seconds", "How long the last turn took.", seconds)
        if retraining.next_at is not None:
            says = "When the next turn is due, in seconds since the epoch."
            yield _gauge("retraining_next_timestamp_seconds", says, retraining.next_at / 1000)


def _counter(name: str, says: str, value: float) -> Metric:
    return CounterMetricFamily(f"{PREFIX}_{name}", says, value)


def _counters(name: str, says: str, label: str, values: Mapping[Word, float]) -> Metric:
    return _filled(CounterMetricFamily(f"{PREFIX}_{name}", says, labels=[label]), values)


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", says, value)


def _gauges(name: str, says: str, label: str, values: Mapping[Word, float]) -> Metric:
    return _filled(GaugeMetricFamily(f"{PREFIX}_{name}", says, labels=[label]), values)


def _filled(family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[Word, float]) -> Metric:
    for word, value in values.items():
        family.add_metric([word], value)
    return family


def _histogram(name: str, says: str, histogram: Histogram) -> Metric:
    bounds = [*map(str, histogram.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
    return HistogramMetricFamily(f"{PREFIX}_{name}", says, buckets=buckets, sum_value=histogram.sum)


class Server:
    """Answers `/metrics` and `/healthz`, a few requests at once, in threads of its own."""

    def __init__(self, address: Address, collector: Collector, *, alive: Callable[[], bool]) -> None:
        """Starts listening; `alive` tells whether the loop turns, or waits for a disk and says so.

        Raises:
            OSError: The address cannot be listened on.
        """
        registry = CollectorRegistry(auto_describe=False)
        registry.register(collector)
        ProcessCollector(registry=registry)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    self._answer(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)
                elif path == "/healthz":
                    if alive():
                        self._answer(HTTPStatus.OK, b"alive\n")
                    else:
                        self._answer(HTTPStatus.SERVICE_UNAVAILABLE, b"the loop hangs\n")
                else:
                    self._answer(HTTPStatus.NOT_FOUND, b"/metrics or /healthz\n")

            def _answer(self, status: HTTPStatus, body: bytes, kind: str = "text/plain") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def version_string(self) -> str:
                return PREFIX

            def log_message(self, *_: object) -> None: ...

        self._server = _Listener(address, Handler)
        Thread(target=self._server.serve_forever, args=(NOTICE,), name="metrics", daemon=True).start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Ends it; requests in progress are not waited for."""
        self._server.shutdown()
        self._server.server_close()


class _Listener(ThreadingTCPServer):
    """Gives every request `PATIENCE`, however slowly its bytes drip, so that none is in the way of others."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: Address, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self._free = Semaphore(MOST)
        super().__init__((address.host, address.port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as socketserver has it
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        end = Timer(PATIENCE, _hang_up, (request,))
        end.daemon = True
        end.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
            self._free.release()

    def handle_error(self, *_: object) -> None:
        """A client that went away, or sent no HTTP, is none of our errors."""


def _hang_up(request: socket.socket) -> None:
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)
