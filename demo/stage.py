"""The demonstration from its first file to its verdict, with the real parts, started as a user would."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from rich.console import Console

from demo.broker import Address, broker
from demo.client import connected
from demo.plain import PlainShow
from demo.processes import DemoError, Stopped, module_command, running, stoppable, workplace
from demo.pump import SENSORS, Pump
from demo.screen import ScreenShow
from demo.seen import Seen
from demo.show import Report, Scene, Show
from demo.story import HISTORY, tell
from demo.stream import Stream, started
from demo.verdict import false_alerts, judge

MACHINE = "pump-1"
SECONDS = 50  # of streaming: slow enough to be followed by eye


def run(*, seconds: int | None, headless: bool, seed: int) -> int:
    """Plays the whole demonstration; must be called in the main thread.

    Args:
        seconds: how long the streaming may take; the pump's time runs as fast as that needs.
        headless: plain lines, also on a terminal.
        seed: varies the pump's noise and set-points, and the training.

    Returns:
        0 if the normal stretch was quiet and every fault was dealt with, else 1.
    """
    if seconds is not None and seconds < 1:
        raise ValueError(f"seconds: must be 1 or more, got {seconds}")
    console = Console()
    show: Show = PlainShow(sys.stdout) if headless or not console.is_terminal else ScreenShow(console)
    try:
        with stoppable(), workplace() as folder:
            report = _play(show, folder, seconds or SECONDS, seed)
    except Stopped as stopped:
        show.say(f"Stopped by {stopped}; nothing is left running.")
        return 1
    except DemoError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    show.report(report)
    return 0 if report.good else 1


def _play(show: Show, folder: Path, seconds: int, seed: int) -> Report:
    clock = time.monotonic()
    story = tell(seed=seed)
    # All of the pump's time lies in the past: a daemon rightly refuses readings from the future.
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=HISTORY + story.seconds + 60)
    pump = Pump(duty=story.duty, faults=story.faults, seed=seed, start=start)

    show.say(f"Writing {HISTORY / 3600:g} hours of normal history of a centrifugal pump, a reading a second.")
    history = folder / f"{MACHINE}.csv"
    pump.write_history(history, HISTORY)

    with broker(folder) as address:
        name = address.kind if address.kind == "mosquitto" else "amqtt, as mosquitto is not installed"
        show.say(f"Broker: {name}, on port {address.port}, MQTT {address.mqtt_version}.")
        config = folder / "anomalyd.yaml"
        config.write_text(_yaml(folder, address, seed), encoding="utf-8")
        _train(show, config, history)

        show.say("Starting the daemon.")
        seen = Seen(MACHINE)
        with connected(address, MACHINE) as client, started(config, folder / "daemon.log") as daemon:
            stream = Stream(client, daemon, seen, show)
            stream.wait_until_online()
            began = start + timedelta(seconds=HISTORY)
            scene = Scene(story, began, story.seconds / seconds, address.kind, seen)
            with show.live():
                stream.play(pump, scene)
        delay = None if stream.first_alert is None else timedelta(seconds=stream.first_alert - clock)
        return Report(judge(story, began, seen), false_alerts(story, began, seen), delay)


def _yaml(folder: Path, address: Address, seed: int) -> str:
    settings = {
        "state_dir": str(folder / "state"),
        "mqtt": {"host": address.host, "port": address.port, "version": address.mqtt_version},
        "readings": {"topic": "plant/{machine}/readings", "time": "ts", "interval": "1s"},
        "scores": {"publish": True},
        "alerts": {"repeat_every": "20s"},  # of the pump's time: the screen shows who is to blame now
        # A wider code than the default's reproduces start-ups better, which lowers the threshold and lets
        # the stuck gauge show.
        "trainer": {"seed": seed, "model": {"code": len(SENSORS)}},
    }
    return yaml.safe_dump(settings, sort_keys=False)


def _train(show: Show, config: Path, history: Path) -> None:
    show.say("Training an autoencoder on the history; TensorFlow takes a few seconds to load.")
    began = time.monotonic()
    command = module_command("cli", "train", "--config", str(config), "--json", str(history))
    result = config.with_name("train.json")
    with (
        result.open("w", encoding="utf-8") as output,
        running(command, stdout=output, stderr=show.training()) as process,
    ):
        for line in process.stderr or ():
            show.training_said(line)
        code = process.wait()
    if code != 0:
        raise DemoError(f"train: must exit with 0, got {code}; what it said is above")
    bundle = json.loads(result.read_text(encoding="utf-8"))
    if not bundle["promoted"]:
        raise DemoError(f"train: the new bundle must go into service, got: {bundle['text']}")
    show.say(f"Trained in {time.monotonic() - began:.0f} s: bundle {bundle['bundle']} is in service.")
