"""`anomalyd doctor`: looks at all that the daemon needs, and says what to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.doctor import disk, host, network, readings, rivals, state
from daemon.doctor.broker import Broker
from daemon.doctor.findings import Doing, Finding, Verdict, failure
from daemon.doctor.visit import Welcome
from detector.pipeline import Champions

if TYPE_CHECKING:
    from config import Settings
    from config.secrets import Secret
    from daemon.doctor.findings import Findings

__all__ = ["UNREACHED", "Doing", "Finding", "Verdict", "examine"]

UNREACHED = network.WAYS  # checks whose failure says that the broker cannot be reached


def examine(settings: Settings, password: Secret | None, *, wait: float, thorough: bool) -> Findings:
    """Looks at everything, from the disk to the readings; stops where nothing further can be seen.

    Args:
        settings: The configuration.
        password: The broker's password.
        wait: Seconds to wait for the first reading.
        thorough: Whether to do what takes long or is much traffic, too.

    Raises:
        ConfigError: A certificate or key cannot be used.
    """
    daemon, champions = None, Champions()
    if (yield from disk.examine(settings)):
        daemon, champions = yield from state.examine(settings, thorough=thorough)
    yield from host.examine(daemon)
    if not (yield from network.examine(settings.mqtt)):
        return
    sensors = max((len(detector.manifest.sensors) for detector in champions.all()), default=0)
    broker, running = Broker(settings, password), daemon is not None
    if not (yield from broker.login(sensors)):
        return
    with broker.visit() as listener:
        welcome = listener.open()
        if not isinstance(welcome, Welcome):
            yield failure("login", f"not a second time: {welcome.detail}", welcome.hint)
            return
        yield from readings.subscribe(settings, broker, listener)
        yield from broker.publications(listener, running=running)
        yield from readings.examine(settings, broker, listener, champions, wait=wait)
        yield rivals.examine(settings, list(listener.heard), running=running)
    if thorough:
        yield from broker.queue()
