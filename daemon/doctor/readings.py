"""What comes in: whether the broker hands readings over, and whether they are what the daemon can use."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from config.policies import milliseconds
from daemon.assembly import decoder_of
from daemon.connection import topic_filter
from daemon.decoding import SELF_TEST, Refusal
from daemon.doctor.broker import BACK_WITHIN
from daemon.doctor.findings import Doing, Finding, failure, ok, warning
from daemon.doctor.visit import Welcome

if TYPE_CHECKING:
    from config import Settings
    from daemon.doctor.broker import Broker
    from daemon.doctor.findings import Findings
    from daemon.doctor.visit import Visit
    from daemon.intake import Message
    from detector.pipeline import Champions
    from detector.reading import Reading

LONGER = 2.0  # seconds to go on listening after the first reading: there may be more machines
SHOWN = 3  # names in one line
BEHIND = 300_000  # milliseconds; a clock that is off by so much is worth a word
VERSIONS = "$SYS/broker/version"  # of Mosquitto and others; retained
VERSION_WITHIN = 0.5  # seconds for it to come


def subscribe(settings: Settings, broker: Broker, listener: Visit) -> Findings:
    """Subscribes to what the daemon reads, and to what it publishes itself, to hear it come back."""
    yield Doing("subscribing")
    listener.subscribe(VERSIONS, 0)
    for template in (
        settings.status.topic,
        settings.alerts.topic,
        settings.state.topic,
        settings.sensors.topic,
        settings.scores.topic,
        settings.drift.topic,
    ):
        listener.subscribe(template.replace("{machine}", SELF_TEST), 1)
    topic = topic_filter(settings)
    refusal = listener.subscribe(topic, settings.readings.qos)
    if refusal is not None:
        yield failure(
            "subscription", f"the broker refuses {topic}: {refusal}", broker.permission("read", topic)
        )
    else:
        yield ok("subscription", f"{topic} is granted, which Mosquitto says in any case")
    if listener.wait(lambda: versions(listener), VERSION_WITHIN):
        yield ok("broker", versions(listener))


def versions(listener: Visit) -> str:
    """What the broker says of its version, where we may read it; else nothing."""
    said = [heard.payload for heard in list(listener.heard) if heard.topic == VERSIONS]
    return said[0][:80].decode(errors="replace") if said else ""


def examine(
    settings: Settings, broker: Broker, listener: Visit, champions: Champions, *, wait: float
) -> Findings:
    """Listens for readings and looks at what they hold."""
    topic = topic_filter(settings)
    before, _, after = settings.readings.topic.partition("{machine}")
    own = f"{before}{SELF_TEST}{after}"

    def sent() -> list[Message]:
        """What machines have sent; what is retained says nothing of now."""
        return [
            heard
            for heard in list(listener.heard)
            if heard.topic.startswith(before)
            and heard.topic.endswith(after)
            and heard.topic.count("/") == topic.count("/")
            and heard.topic != own
        ]

    yield Doing(f"listening on {topic} for {wait:g} s at most")
    begun = time.monotonic()
    if listener.wait(lambda: any(not heard.retained for heard in sent()), wait):
        time.sleep(LONGER)
    lasted = time.monotonic() - begun
    came = [heard for heard in sent() if not heard.retained]
    if not came:
        yield from _silent(broker, listener, own, topic, wait)
        return
    decoder = decoder_of(settings)
    decoded = [decoder.decode(heard) for heard in came]
    readings = [each for each in decoded if not isinstance(each, Refusal)]
    refusals = [each for each in decoded if isinstance(each, Refusal)]
    machines = Counter(reading.machine for reading in readings)
    if readings:
        yield ok("readings", f"{len(readings)} of {_some(sorted(machines))} in {lasted:.1f} s")
    if refusals:
        yield _refused(refusals, everything=not readings)
    yield from _clocks(settings, readings)
    yield from _sensors(readings, champions)


def _silent(broker: Broker, listener: Visit, own: str, topic: str, wait: float) -> Findings:
    """Nothing came: publishes to itself, to tell a broker that withholds from machines that do not send."""
    silence = f"nothing came on {topic} in {wait:g} s"
    read, write = broker.permission("read", topic), broker.permission("write", own)
    yield Doing(f"publishing on {own}")
    payload = msgspec.json.encode({"self_test": True})
    with broker.visit("-publishes") as visit:
        refusal = visit.publish(own, payload) if isinstance(visit.open(), Welcome) else "no connection"
    if refusal is not None:
        found = f"{silence}: either no machine sends, or the broker denies reading without saying so"
        yield warning("readings", found, f"{read}. To let the doctor tell: {write}")
        return

    def back() -> bool:
        return any(heard.topic == own for heard in list(listener.heard))

    if listener.wait(back, BACK_WITHIN):
        change = "see that machines publish there, or correct readings.topic"
        yield warning("readings", f"{silence}; what we sent there ourselves came: no machine sends", change)
    elif broker.five:
        found = f"{silence}, not even what we sent there ourselves: the broker denies reading"
        yield failure("readings", found, read)
    else:
        found = f"{silence}, not even what we sent: the broker denies reading, or writing"
        yield warning("readings", found, read)


def _refused(refusals: list[Refusal], *, everything: bool) -> Finding:
    (reason, number), *_ = Counter(refusal.reason for refusal in refusals).most_common(1)
    example = next(refusal for refusal in refusals if refusal.reason == reason)
    found = f"{number} messages are no readings ({reason}): {example.message.topic[:80]}: {example.detail}"
    change = "see readings.time, values, ignore and channels, or mend the sender"
    return (failure if everything else warning)("payloads", found, change)


def _clocks(settings: Settings, readings: list[Reading]) -> Findings:
    offsets: dict[str, int] = {}
    for reading in readings:
        offset = reading.at - (reading.received_at or reading.at)
        offsets[reading.machine] = max(offset, offsets.get(reading.machine, offset))
    ahead = milliseconds(settings.readings.max_ahead)
    early = sorted(name for name, offset in offsets.items() if offset > ahead)
    late = sorted(name for name, offset in offsets.items() if offset < -BEHIND)
    if early:
        found = (
            f"{_some(early)}: ahead of this host's clock by {max(offsets.values()) / 1000:.0f} s, so dropped"
        )
        yield failure("machine clocks", found, "set the clocks, or raise readings.max_ahead")
    elif late:
        found = f"{_some(late)}: behind this host's clock by {-min(offsets.values()) / 1000:.0f} s"
        yield warning("machine clocks", found, "set the clocks; or they send what they had stored")
    elif offsets:
        most = max(offsets.values(), key=abs)
        yield ok("machine clocks", f"within {abs(most) / 1000:.2g} s of this host's")


def _sensors(readings: list[Reading], champions: Champions) -> Findings:
    """Whether the bundles know what the machines send."""
    sent: dict[str, set[str]] = {}
    for reading in readings:
        sent.setdefault(reading.machine, set()).update(reading.sensors)
    strangers: list[str] = []
    lacking: list[str] = []
    for machine, names in sorted(sent.items()):
        detector = champions.of(machine)
        missing = sorted({*detector.manifest.sensors} - names) if detector else []
        if detector is not None and len(missing) == len(detector.manifest.sensors):
            strangers.append(f"{machine}: {_some(sorted(names))}, not {_some(missing)}")
        elif missing:
            lacking.append(f"{machine}: {_some(missing)}")
    if strangers:
        found = f"none of the bundle's are sent by {_some(strangers, '; ')}"
        yield failure("sensors", found, "train on what the machines send, or correct readings.values")
    if lacking:
        found = f"nothing was sent of {_some(lacking, '; ')}"
        yield warning("sensors", found, "their values count as missing: see the machines")


def _some(names: list[str], between: str = ", ") -> str:
    more = len(names) - SHOWN
    return between.join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
