"""The daemon that one writes first: paho, json, a window and a Keras model at every reading.

`python -m bench.peers.naive PORT CLIENT COUNT predict|model(x)` takes readings until it has scored `COUNT`.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque

import keras
import numpy as np
import paho.mqtt.client as paho

from bench.bare import READINGS, connected
from bench.usage import installed, resident

WINDOW, SENSORS = 30, 8
THRESHOLD = 1e9  # nothing is an alert: the weights are not fitted, and scoring costs the same


def model() -> keras.Model:
    """A dense autoencoder of the usual size."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((WINDOW, SENSORS)),
            layers.Flatten(),
            *(layers.Dense(units, activation="relu") for units in (64, 16, 64)),
            layers.Dense(WINDOW * SENSORS),
            layers.Reshape((WINDOW, SENSORS)),
        ]
    )


def main() -> None:
    port, name, count, how = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    autoencoder = model()
    rebuild = (lambda given: autoencoder.predict(given, verbose=0)) if how == "predict" else autoencoder
    window: deque[list[float]] = deque(maxlen=WINDOW)
    scored = 0
    started = used = seconds = cpu = 0.0

    def on_message(client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        nonlocal scored, started, used, seconds, cpu
        reading = json.loads(message.payload)
        window.append([reading[f"sensor_{i}"] for i in range(SENSORS)])
        if len(window) == WINDOW:
            given = np.array(window, dtype=np.float32)[None]
            error = float(np.mean((np.asarray(rebuild(given)) - given) ** 2))
            if error > THRESHOLD:
                client.publish("alert", json.dumps({"at": reading["ts"], "error": error}), qos=1)
            if scored == 0:  # the first one traces the model
                started, used = time.monotonic(), time.process_time()
            scored += 1
        client.ack(message.mid, message.qos)
        if scored == count:
            seconds, cpu = time.monotonic() - started, time.process_time() - used
            client.disconnect()

    client = connected(port, name)
    client.on_message = on_message
    client.subscribe(READINGS, qos=1)
    client.loop_forever()
    sizes = installed("tensorflow") | installed("keras") | installed("paho-mqtt")
    figures = {"readings/s": (count - 1) / seconds, "cpu": cpu / (count - 1) * 1e6, "MiB": resident()}
    print(json.dumps(figures | {"MB": sum(sizes.values())}))


if __name__ == "__main__":
    main()
