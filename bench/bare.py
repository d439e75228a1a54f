"""paho with a callback that does nothing but acknowledge, or send back: the floor under any daemon on paho.

Each runs in a process of its own, as the daemon does: `python -m bench.bare receive|echo OPTIONS`.
"""

from __future__ import annotations

import json
import sys
import time

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bench.usage import resident
from bench.wire import forget

ECHO = "bench-echo"  # the client's name
READINGS = "plant/+/readings"
SESSION = 3600  # seconds
RECEIVE_MAXIMUM = 1000  # as the daemon asks for; Mosquitto sends 20 ahead by itself


def connected(port: int, name: str, *, version: str = "5") -> paho.Client:
    """A client with manual acknowledgement and a session that outlives it."""
    five = version == "5"
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=name,
        protocol=paho.MQTTv5 if five else paho.MQTTv311,
        clean_session=None if five else False,
        manual_ack=True,
    )
    client.max_inflight_messages_set(0)
    client.on_subscribe = _say_ready
    if five:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        client.connect("127.0.0.1", port, clean_start=False, properties=properties)
    else:
        client.connect("127.0.0.1", port)
    return client


def hold(port: int, name: str, *, version: str = "5") -> None:
    """Leaves an empty session at the broker that keeps readings at QoS 1 for a client of this name."""
    forget(port, name)
    client = connected(port, name, version=version)

    def leave(*_: object) -> None:
        client.disconnect()

    client.on_subscribe = leave
    client.subscribe(READINGS, qos=1)
    client.loop_forever()


def receive(
    port: int, name: str, *, version: str = "5", qos: int = 1, count: int, thread: bool = False
) -> None:
    """Takes `count` readings, from a backlog or as they come, and prints what that cost.

    Args:
        port: The broker's.
        name: The client, whose session at the broker may hold a backlog.
        version: MQTT 5 or 3.1.1.
        qos: Of the subscription.
        count: Readings after which it ends.
        thread: Whether paho's network loop has a thread of its own, as in the daemon.
    """
    got = 0
    started = used = seconds = cpu = 0.0

    def on_message(client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        nonlocal got, started, used, seconds, cpu
        if got == 0:
            started, used = time.monotonic(), time.process_time()
        got += 1
        if qos:
            client.ack(message.mid, 1)
        if got == count:
            seconds, cpu = time.monotonic() - started, time.process_time() - used
            client.disconnect()

    client = connected(port, name, version=version)
    client.on_message = on_message
    client.subscribe(READINGS, qos=qos)
    if thread:
        client.loop_start()
        while client.is_connected() or not got:
            time.sleep(0.01)
        client.loop_stop()
    else:
        client.loop_forever()
    print(json.dumps({"readings/s": count / seconds, "cpu": cpu / count * 1e6, "MiB": resident()}))


def echo(port: int, prefix: str) -> None:
    """Publishes at QoS 1 again what comes under topics with this prefix, and acknowledges all, for ever."""

    def on_message(client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        if message.topic.startswith(prefix):
            client.publish(f"echo/{message.topic.split('/')[1]}", message.payload, qos=1)
        client.ack(message.mid, 1)

    client = connected(port, ECHO)
    client.on_message = on_message
    client.subscribe(READINGS, qos=1)
    client.loop_forever()


def _say_ready(*_: object) -> None:
    print("ready", flush=True)


def command(what: str, **options: object) -> list[str]:
    """The command that runs `receive` or `echo` with these options."""
    return [sys.executable, "-m", "bench.bare", what, json.dumps(options)]


if __name__ == "__main__":
    (receive if sys.argv[1] == "receive" else echo)(**json.loads(sys.argv[2]))
