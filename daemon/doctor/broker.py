"""The broker: whether it lets us in, remembers us, takes what we publish, and within what limits."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from config.quantities import format_duration, format_size
from daemon import losses, payloads
from daemon.clock import now
from daemon.decoding import SELF_TEST
from daemon.doctor.findings import Doing, Finding, failure, ok, warning
from daemon.doctor.visit import Visit, Welcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from config import Settings
    from config.secrets import Secret
    from daemon.doctor.findings import Examination, Findings

AWAY = 60  # seconds for which the broker shall remember the doctor, should it not come back
BACK_WITHIN = 2.0  # seconds for a message to come back to us
SENSOR_BYTES, EVENT_BYTES = 150, 600  # of an alert, roughly: for each sensor, and for all else
MANY = 1100  # messages: Mosquitto keeps 1,000 for a client that is away, unless it is told otherwise
MANY_WITHIN = 60.0  # seconds for the broker to take or give them all


class Broker:
    """Examines one broker; its methods are called in their order."""

    def __init__(self, settings: Settings, password: Secret | None) -> None:
        self._settings = settings
        self._mqtt = settings.mqtt
        self._password = password
        self.five = settings.mqtt.version == "5"
        self.user = settings.mqtt.username or "clients without a user name"
        self.name = f"{settings.mqtt.client_id}-doctor"  # not the daemon's, which would be thrown out

    def visit(self, purpose: str = "", **options: Any) -> Visit:  # noqa: ANN401 - handed on
        """A connection under the doctor's name, or one beside it."""
        return Visit(self._settings, self._password, f"{self.name}{purpose}", **options)

    def login(self, sensors: int) -> Examination[bool]:
        """Whether the broker lets us in and keeps our session; `sensors` of the largest bundle."""
        asked = int(self._mqtt.session_expiry.total_seconds())
        yield Doing("logging in")
        will = (
            self._settings.status.topic,
            msgspec.json.encode({"status": "offline", "at": payloads.iso(now())}),
        )
        first = self.visit(session_expiry=asked, will=will)
        welcome = first.open()
        first.close(keep=AWAY)
        if not isinstance(welcome, Welcome):
            yield failure("login", f"the broker refuses {self.user}: {welcome.detail}", welcome.hint)
            return False
        how = f"as {self.user}" if self._mqtt.username else "without a user name"
        yield ok("login", f"{how}, with the client id {self.name}")
        yield self._protocol()
        yield from self._limits(welcome.limits, sensors)
        yield Doing("coming back to the session")
        second = self.visit(clean=False, session_expiry=AWAY)
        again = second.open()
        second.close()
        kept = isinstance(again, Welcome) and again.session_present
        yield self._session(timedelta(seconds=welcome.limits.get("SessionExpiryInterval", asked)), kept=kept)
        return True

    def _protocol(self) -> Finding:
        if self.five:
            return ok("protocol", "MQTT 5")
        mqtt = msgspec.structs.replace(self._mqtt, version="5")
        with Visit(
            msgspec.structs.replace(self._settings, mqtt=mqtt), self._password, f"{self.name}-5"
        ) as visit:
            knows = isinstance(visit.open(), Welcome)
        change = "set mqtt.version: 5, which this broker knows" if knows else "use a broker that knows MQTT 5"
        return warning("protocol", "MQTT 3.1.1: the broker cannot say why it turns something down", change)

    def _limits(self, limits: dict[str, Any], sensors: int) -> Findings:
        if not self.five:
            return
        quality, most = limits.get("MaximumQoS", 2), limits.get("MaximumPacketSize")
        if quality < 1:
            yield failure("limits", "QoS 0 alone", losses.HINTS["qos_not_supported"])
        if not limits.get("RetainAvailable", 1):
            yield failure("limits", "nothing is retained", losses.HINTS["retain_not_supported"])
        if not limits.get("WildcardSubscriptionAvailable", 1):
            change = "let the broker allow them: readings.topic needs one for the machine"
            yield failure("limits", "no wildcards in subscriptions", change)
        needed = EVENT_BYTES + SENSOR_BYTES * sensors
        if most is not None and most < needed:
            found = f"packets of {most} bytes at most; an alert of {sensors} sensors has about {needed}"
            yield warning("limits", found, "let it take larger ones (Mosquitto: max_packet_size)")
            return
        said = [f"{limits.get('ReceiveMaximum', 65_535)} publications under way"]
        said.append(f"packets of {format_size(most)}" if most else "packets of any size")
        if "ServerKeepAlive" in limits:
            said.append(f"a keepalive of {limits['ServerKeepAlive']} s")
        yield ok("limits", ", ".join(said))

    def _session(self, expiry: timedelta, *, kept: bool) -> Finding:
        asked = self._mqtt.session_expiry
        if not kept:
            change = "let the broker keep sessions: it forgets what is sent while the daemon is away"
            return failure("session", "forgotten as soon as we are gone", change)
        if expiry < asked:
            found = f"kept for {format_duration(expiry)}, of the {format_duration(asked)} asked for"
            change = "let the broker keep sessions longer, or lower mqtt.session_expiry"
            return warning("session", found, change)
        return ok(
            "session", f"kept while the daemon is away, for {format_duration(asked)}" if self.five else "kept"
        )

    def publications(self, listener: Visit, *, running: bool) -> Findings:
        """Whether the broker takes what the daemon publishes; `listener` hears what comes back."""
        settings = self._settings
        topics = {
            "alerts": settings.alerts.topic,
            "states": settings.state.topic,
            "sensor health": settings.sensors.topic,
        }
        if settings.scores.publish:
            topics["scores"] = settings.scores.topic
        if settings.drift.every is not None:
            topics["drift"] = settings.drift.topic
        content = {"machine": SELF_TEST, "self_test": True, "at": payloads.iso(now())}
        for check, template in topics.items():
            topic = template.replace("{machine}", SELF_TEST)
            yield Doing(f"publishing on {topic}")
            yield self._publication(check, topic, template, msgspec.json.encode(content), listener)
        topic = settings.status.topic
        known = [heard.payload for heard in listener.heard if heard.topic == topic]
        if known:
            payload = known[-1]  # what subscribers know already tells them nothing false
        elif not running:
            payload = msgspec.json.encode({"status": "offline", "at": payloads.iso(now())})
        else:
            found = f"not tried: {topic} shows nothing that could be said again"
            yield warning("status", found, self.permission("read", topic))
            return
        yield self._publication("status", topic, topic, payload, listener)

    def _publication(self, check: str, topic: str, template: str, payload: bytes, listener: Visit) -> Finding:
        def back() -> bool:
            return any(
                each.topic == topic and each.payload == payload and not each.retained
                for each in listener.heard
            )

        permission = self.permission("write", template.replace("{machine}", "+"))
        with self.visit("-publishes") as visit:  # anew for each: some brokers hang up when they refuse
            welcome = visit.open()
            if not isinstance(welcome, Welcome):
                return failure(check, f"no second connection: {welcome.detail}", welcome.hint)
            begun = time.monotonic()
            refusal = visit.publish(topic, payload)
            took = time.monotonic() - begun
            if refusal is not None:
                return failure(check, f"the broker refuses {topic}: {refusal}", permission)
            came = listener.wait(back, BACK_WITHIN)
        if came:
            return ok(check, f"{topic} is taken, in {took * 1000:.2g} ms, and came back")
        if self.five:
            return ok(check, f"{topic} is taken, in {took * 1000:.2g} ms; we may not read it, and need not")
        found = f"{topic} did not come back: by MQTT 3.1.1 the broker says of nothing that it is denied"
        return warning(check, found, f"set mqtt.version: 5; else {permission}")

    def permission(self, access: str, topic: str) -> str:
        who = f"user {self.user}" if self._mqtt.username else self.user
        return f"let {who} {access} {topic} (Mosquitto, acl_file: topic {access} {topic})"

    def queue(self) -> Findings:
        """How much the broker keeps for a client that is away."""
        topic = f"{self._settings.alerts.topic.replace('{machine}', SELF_TEST)}/queue"
        yield Doing(f"sending {MANY} messages to somebody who is away")
        with self.visit("-queue", session_expiry=AWAY) as away:
            if not isinstance(away.open(), Welcome) or away.subscribe(topic, 1) is not None:
                yield warning(
                    "queue", f"not tried: {topic} cannot be subscribed to", self.permission("read", topic)
                )
                return
            away.close(keep=AWAY)
        with self.visit("-publishes") as sender:
            sender.open()
            taken = sender.publish_all(topic, _numbered(MANY), MANY_WITHIN)
        with self.visit("-queue", clean=False, session_expiry=AWAY) as back:
            back.open()
            back.wait(lambda: len(back.heard) >= taken, BACK_WITHIN + taken / 100)
            came = len(back.heard)
        with self.visit("-queue") as last:  # the broker need not remember it any longer
            last.open()
        if taken < MANY:
            yield warning("queue", f"not tried: {topic} is refused", self.permission("write", topic))
        elif came == 0:
            yield warning("queue", f"not tried: {topic} does not come back", self.permission("read", topic))
        elif came < taken:
            found = f"{came} of {taken} messages were kept: the rest is lost while the daemon is away"
            yield failure(
                "queue", found, "let the broker keep all of them (Mosquitto: max_queued_messages 0)"
            )
        else:
            yield ok("queue", f"all of {taken} messages were kept for a client that was away")


def _numbered(count: int) -> Iterable[bytes]:
    return (msgspec.json.encode({"self_test": True, "number": number}) for number in range(count))
