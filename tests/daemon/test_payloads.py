from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from daemon import payloads
from detector.alerts import Acknowledged, Change, OpenAlert, Severity, Shelf
from detector.blame import SensorShare
from detector.events import AlertChanged, MachineState, Scored, StateChanged
from detector.litert import LiteRTModel
from detector.modes import Mode, Ordered
from detector.pipeline import Champions
from detector.scoring import Detector
from tests import plant

AT = 1_767_520_800_000
ALERT = AlertChanged(
    id="9f0c",
    machine="press-7",
    change=Change.OPENED,
    severity=Severity.WARNING,
    at=AT,
    opened_at=AT,
    score=2.31,
    peak_score=2.31,
    reconstruction_error=0.01230000123,
    threshold=0.0053000049,
    sensors=(
        SensorShare("pressure", 0.62000004, 3.1, 2.40000012),
        SensorShare("flow", 0.38, None, 40.0),
    ),
    coverage=0.95833333,
    imputed=("flow",),
    model="2026-01-03T22-00-00Z-3f9c",
)


def test_an_alert_is_the_json_of_the_contract_field_by_field_and_in_its_order() -> None:
    assert payloads.alert(ALERT).decode() == (
        '{"id":"9f0c","machine":"press-7","change":"opened","severity":"warning",'
        '"at":"2026-01-04T10:00:00.000Z","opened_at":"2026-01-04T10:00:00.000Z",'
        '"score":2.31,"peak_score":2.31,"reconstruction_error":0.0123,"threshold":0.0053,'
        '"sensors":[{"sensor":"pressure","contribution":0.62,"value":3.1,"expected":2.4},'
        '{"sensor":"flow","contribution":0.38,"value":null,"expected":40.0}],'
        '"coverage":0.9583,"imputed":["flow"],"model":"2026-01-03T22-00-00Z-3f9c",'
        '"reason":"anomaly","acknowledged":null,"mode":"running"}'
    )


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (AT + 7, "2026-01-04T10:00:00.007Z"),
        (1_709_164_799_999, "2024-02-28T23:59:59.999Z"),
        (4_291_747_200_000, "2106-01-01T00:00:00.000Z"),
    ],
)
def test_times_are_utc_with_milliseconds(at: int, text: str) -> None:
    assert payloads.iso(at) == text
    assert plant.milliseconds(text) == at


def test_a_score_says_what_was_scored_and_by_which_model() -> None:
    event = Scored("press", AT, 0.0123456789, 1.25, anomaly=True, coverage=1.0, imputed=())
    assert json.loads(payloads.score(event, threshold=0.0098765432, model="b-1")) == {
        "machine": "press",
        "at": "2026-01-04T10:00:00.000Z",
        "score": 1.25,
        "anomaly": True,
        "reconstruction_error": 0.0123457,
        "threshold": 0.00987654,
        "coverage": 1.0,
        "imputed": [],
        "model": "b-1",
    }


def test_a_state_tells_of_the_open_alert_and_the_model() -> None:
    bare: dict[str, object] = {
        "machine": "press",
        "since": "2026-01-04T10:00:00.000Z",
        "sensors": [],
        "shelved_until": None,
        "mode": None,
    }
    event = StateChanged("press", AT + 1, MachineState.NO_MODEL, AT, None, None)
    assert json.loads(payloads.state(event)) == {**bare, "state": "no_model", "alert": None, "model": None}
    opened = OpenAlert("9f0c", AT, 2.5, Severity.CRITICAL, AT)
    event = StateChanged("press", AT + 1, MachineState.ALERT, AT, "b-1", opened)
    alert = {"id": "9f0c", "opened_at": "2026-01-04T10:00:00.000Z", "severity": "critical", "peak_score": 2.5}
    alert |= {"reason": "anomaly", "acknowledged": None}
    assert json.loads(payloads.state(event)) == {**bare, "state": "alert", "alert": alert, "model": "b-1"}


def test_who_has_acknowledged_shelved_and_ordered_stands_in_the_state() -> None:
    opened = OpenAlert("9f0c", AT, 2.5, Severity.CRITICAL, AT, Acknowledged(AT, "anna", "on my way"))
    ordered = Ordered(Mode.MAINTENANCE, AT - 1, AT, AT + 1_000, "ben", "bearing")
    event = StateChanged(
        "press", AT, MachineState.MAINTENANCE, AT, None, opened, (), Shelf(AT + 2_000, AT, "ben"), ordered
    )
    state = json.loads(payloads.state(event))
    assert state["alert"]["acknowledged"] == {
        "at": "2026-01-04T10:00:00.000Z",
        "by": "anna",
        "note": "on my way",
    }
    assert state["shelved_until"] == "2026-01-04T10:00:02.000Z"
    assert state["mode"] == {
        "mode": "maintenance",
        "at": "2026-01-04T10:00:00.000Z",
        "until": "2026-01-04T10:00:01.000Z",
        "by": "ben",
        "note": "bearing",
    }


def test_an_alert_that_closes_with_the_mode_says_nothing_of_a_window() -> None:
    closed = replace(
        ALERT,
        change=Change.CLOSED,
        score=None,
        reconstruction_error=None,
        threshold=None,
        sensors=(),
        coverage=None,
        model=None,
        mode=Mode.OFF,
    )
    said = json.loads(payloads.alert(closed))
    empty = ("score", "reconstruction_error", "threshold", "coverage", "model")
    assert [said[name] for name in empty] == [None] * 5
    assert (said["sensors"], said["mode"]) == ([], "off")


def test_the_status_names_version_champions_and_a_problem_if_there_is_one() -> None:
    model = LiteRTModel(plant.model(), length=4, width=3)
    champions = Champions(
        shared=Detector(plant.manifest("b-1", None, 1.0), model),
        own={"pump": Detector(plant.manifest("b-2", "pump", 1.0), model)},
    )
    status = payloads.status("online", version="1.2.3", at=AT, champions=champions)
    assert json.loads(status) == {
        "status": "online",
        "at": "2026-01-04T10:00:00.000Z",
        "version": "1.2.3",
        "champions": {"shared": "b-1", "machines": {"pump": "b-2"}},
    }
    status = payloads.status("degraded", version="1.2.3", at=AT, champions=Champions(), problem="disk full")
    assert json.loads(status)["champions"] == {"shared": None, "machines": {}}
    assert json.loads(status)["problem"] == "disk full"
