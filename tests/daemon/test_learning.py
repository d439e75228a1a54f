"""What becomes of machines without a bundle, without broker and process."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from config import Settings, load
from config.policies import alert_policy, stream_policy
from daemon.learning import FOLDER, Learning
from daemon.progress import Verdict, progress
from daemon.store import Store
from daemon.transaction import Transaction
from detector.pipeline import Champions, Pipeline
from detector.provisional import Provisional, fit
from detector.reading import Reading
from tests import plant


class Plant:
    """A store, a pipeline, and machines that learn; time passes as it is told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: object) -> None:
        file = folder / "anomalyd.yaml"
        section = {"at_least": "5min", "least": 50, **options}
        lines = "".join(f"  {name}: {value}\n" for name, value in section.items())
        file.write_text(f"state_dir: {folder}\nretrain: {{min_readings: 300}}\nlearning:\n{lines}")
        self.settings: Settings = load(file, {})
        self.asked: list[tuple[tuple[str | None, ...], str]] = []
        self.store = Store(folder / "store.sqlite", durability="normal")
        self.clock = 1000.0
        monkeypatch.setattr("daemon.learning.time.monotonic", lambda: self.clock)
        self.begin()

    def begin(self, *, able: bool = True) -> None:
        """Starts anew, as after a restart."""
        self.learning = Learning(self.settings, self.store, self._ask, able=able)
        champions = self.learning.over(Champions())
        self.pipeline = Pipeline(
            champions, stream=stream_policy(self.settings), alerts=alert_policy(self.settings)
        )
        for name in self.store.machines():
            self._hear(name, 1)

    def _ask(self, machines: tuple[str | None, ...], reason: str) -> bool:
        self.asked.append((machines, reason))
        return True

    def _hear(self, name: str, number: int) -> None:
        rows = plant.history(number, machine=name)
        self.pipeline.on_readings(Reading(name, int(rows.at[0]), rows.sensors, rows.values[0]) for _ in [0])

    def send(self, name: str, start: int, stop: int, sensors: tuple[str, ...] = plant.SENSORS) -> None:
        """Stores readings of a machine that is followed."""
        rows = plant.history(stop, machine=name).select(sensors)
        pairs = list(zip(rows.at.tolist(), rows.values, strict=True))[start:]
        self.store.commit(Transaction(readings=[Reading(name, at, sensors, row) for at, row in pairs]))
        self._hear(name, 1)

    def pass_time(self, seconds: float = 10, step: float = 0.06) -> list[str]:
        """Lets time pass; returns the machines whose states were told."""
        told = []
        until = self.clock + seconds
        while self.clock < until:
            self.clock += step
            found = self.learning.step(self.pipeline)
            if isinstance(found, Champions):
                told += self.pipeline.swap(found, lambda *_: ())
            elif found is not None:
                told.append(found)
        return told

    def share(self, name: str = "press") -> float:
        found = self.learning.progress(name, self.pipeline.champions)
        assert found is not None
        return found.share


@pytest.fixture
def new_plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plant]:
    return lambda **options: Plant(tmp_path, monkeypatch, **options)


def test_a_bundle_is_asked_for_once_there_are_readings_and_time_enough(
    new_plant: Callable[..., Plant],
) -> None:
    here = new_plant()
    here.send("press", 0, 299)
    here.pass_time()
    assert here.asked == []
    here.send("press", 299, 300)
    here.pass_time()
    assert here.asked == []
    assert here.share() == 0.99, "299 of 300 seconds"
    here.send("press", 300, 301)
    here.pass_time()
    assert here.share() == 1
    assert [machines for machines, _ in here.asked] == [(None,)]


def test_it_is_asked_for_again_after_ever_longer_pauses(new_plant: Callable[..., Plant]) -> None:
    here = new_plant()
    here.send("press", 0, 301)
    here.pass_time(10)
    for pause in (60, 120, 240):
        before = len(here.asked)
        here.pass_time(pause - 20, step=0.6)
        assert len(here.asked) == before
        here.pass_time(25, step=0.6)
        assert len(here.asked) == before + 1


def test_a_machine_of_which_nothing_is_stored_does_not_shorten_the_pauses(
    new_plant: Callable[..., Plant],
) -> None:
    here = new_plant()
    here.send("press", 0, 301)
    here._hear("ghost", 1)
    here.pass_time(50)
    assert len(here.asked) == 1


def test_a_bundle_that_came_lets_the_next_be_asked_for_at_once(new_plant: Callable[..., Plant]) -> None:
    here = new_plant()
    here.send("press", 0, 301)
    here.send("press-2", 0, 301)
    here.pass_time()
    own = {"press": here.pipeline.champions.provisional["press"]}
    here.pipeline.swap(here.learning.over(Champions(own=own), here.pipeline.champions), lambda *_: ())
    here.pass_time()
    assert len(here.asked) == 2


def test_while_machines_of_another_kind_learn_no_bundle_is_shared(new_plant: Callable[..., Plant]) -> None:
    here = new_plant()
    here.send("mill", 0, 100, plant.SENSORS[:2])
    here.pass_time()
    here.send("press", 0, 301)
    here.pass_time()
    assert [machines for machines, _ in here.asked] == [("press",)]


def test_machines_of_different_kinds_get_bundles_of_their_own(new_plant: Callable[..., Plant]) -> None:
    here = new_plant(at_least="4min")
    here.send("press", 0, 301)
    here.pass_time()
    here.send("mill", 0, 301, plant.SENSORS[:2])
    here.pass_time(80)
    assert [machines for machines, _ in here.asked] == [(None,), ("press", "mill")]


def test_what_the_trainer_has_found_wrong_is_said_with_the_machine(new_plant: Callable[..., Plant]) -> None:
    here = new_plant()
    here.send("press", 0, 301)
    here.pass_time()
    here.learning.hear({"machine": None, "promoted": False, "text": "all is one value"})
    assert here.pass_time() == ["press"]
    found = here.learning.progress("press", here.pipeline.champions)
    assert found is not None
    assert found.verdict is Verdict.POOR
    assert "all is one value" in found.text


def test_without_the_trainer_nothing_is_asked_for_and_the_way_out_is_said_once(
    new_plant: Callable[..., Plant], capsys: pytest.CaptureFixture[str]
) -> None:
    here = new_plant()
    here.send("press", 0, 301)
    here.begin(able=False)
    here.pass_time(300, step=0.6)
    assert here.asked == []
    assert capsys.readouterr().out.count("trainer_missing") == 1
    found = here.learning.progress("press", here.pipeline.champions)
    assert found is not None
    assert found.verdict is Verdict.BLOCKED
    assert "anomalyd[trainer]" in found.text


def test_a_restart_goes_on_with_what_was_fitted_and_damage_is_fitted_anew(
    new_plant: Callable[..., Plant], tmp_path: Path
) -> None:
    here = new_plant()
    here.send("press", 0, 200)
    here.pass_time()
    before = here.pipeline.champions.provisional["press"].manifest
    here.begin()
    assert here.pipeline.champions.provisional["press"].manifest == before
    (file,) = (tmp_path / FOLDER).iterdir()
    file.write_bytes(file.read_bytes()[:100])
    here.begin()
    assert here.pipeline.champions.provisional == {}
    here.pass_time()
    assert here.pipeline.champions.provisional["press"].manifest.scaler == before.scaler


def test_it_is_fitted_again_when_the_readings_have_grown_by_half(new_plant: Callable[..., Plant]) -> None:
    here = new_plant()
    here.send("press", 0, 100)
    here.pass_time()
    first = here.pipeline.champions.provisional["press"]
    here.send("press", 100, 149)
    here.pass_time()
    assert here.pipeline.champions.provisional["press"] is first
    here.send("press", 149, 152)
    here.pass_time()
    assert here.pipeline.champions.provisional["press"] is not first


def test_a_fit_that_fails_is_said_and_done_anew_when_the_readings_have_grown(
    new_plant: Callable[..., Plant], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("threshold: must be finite")

    here = new_plant()
    here.send("press", 0, 100)
    with monkeypatch.context() as context:
        context.setattr("daemon.learning.fit", fail)
        here.pass_time()
    assert capsys.readouterr().out.count("provisional_unfitted") == 1
    here.send("press", 100, 152)
    here.pass_time()
    assert "press" in here.pipeline.champions.provisional


def test_a_machine_with_a_bundle_learns_no_longer(new_plant: Callable[..., Plant], tmp_path: Path) -> None:
    here = new_plant()
    here.send("press", 0, 200)
    here.pass_time()
    found = here.pipeline.champions.provisional["press"]
    champions = here.learning.over(Champions(shared=found), here.pipeline.champions)
    assert champions.provisional == {}
    assert list((tmp_path / FOLDER).iterdir()) == []
    assert here.learning.progress("press", champions) is None


def test_nothing_is_kept_of_machines_that_are_forgotten(
    new_plant: Callable[..., Plant], tmp_path: Path
) -> None:
    here = new_plant()
    here.send("press", 0, 100)
    here.send("mill", 0, 100)
    here.pass_time()
    here.pipeline.forget("mill", 0)
    here.store.commit(Transaction(forgotten={"mill"}))
    here.pass_time()
    assert {*here.pipeline.champions.provisional} == {"press"}
    assert len([*(tmp_path / FOLDER).iterdir()]) == 1


def test_what_was_fitted_for_machines_that_the_store_does_not_know_is_deleted_at_the_start(
    new_plant: Callable[..., Plant], tmp_path: Path
) -> None:
    here = new_plant()
    here.send("press", 0, 100)
    here.pass_time()
    (file,) = (tmp_path / FOLDER).iterdir()
    here.store.commit(Transaction(forgotten={"press"}))
    file.with_suffix(".partial").touch()
    here.begin()
    assert here.pipeline.champions.provisional == {}
    assert [*(tmp_path / FOLDER).iterdir()] == []


def test_a_thousand_machines_are_looked_at_one_at_a_time(new_plant: Callable[..., Plant]) -> None:
    here = new_plant()
    for number in range(20):
        here.send(f"press-{number}", 0, 100)
    seen: list[int] = []
    for _ in range(40):
        here.clock += 0.06
        found = here.learning.step(here.pipeline)
        if isinstance(found, Champions):
            here.pipeline.swap(found, lambda *_: ())
        seen.append(len(here.pipeline.champions.provisional))
    assert max(after - before for before, after in pairwise(seen)) == 1
    assert seen[-1] == 20
    assert here.learning.step(here.pipeline) is None, "without time that has passed"


def test_of_readings_from_all_of_the_time_a_bounded_number_is_taken(new_plant: Callable[..., Plant]) -> None:
    here = new_plant()
    here.send("press", 0, 5000)
    extent = here.store.extent("press", 1000)
    assert extent == (1000, plant.START, plant.START + 4_999_000)
    sample = here.store.sample("press", *extent[1:], stretches=10, rows=50)
    assert len(sample) == 500
    assert sample.at[0] == plant.START
    assert sample.at[-1] > plant.START + 4_400_000
    assert here.store.extent("mill", 1000) is None


@pytest.mark.parametrize(
    ("readings", "share", "left"),
    [(0, 0, None), (1, 0, None), (51, 0.1667, 250), (301, 1, 0)],
)
def test_time_left_is_until_there_are_readings_and_time_enough(
    readings: int, share: float, left: int | None
) -> None:
    newest = max(0, readings - 1) * 1000
    about = {"manifest": None, "refused": "", "waits": "", "unable": ""}
    found = progress(readings, 0, newest, needed=100, span=300_000, **about)  # type: ignore[arg-type]
    assert (found.share, found.seconds_left) == (share, left)


def test_a_machine_that_stands_still_is_told_so() -> None:
    rows = plant.history(400)
    rows.values[:] = 7.0
    manifest = fit(rows, machine="press", number="1", created_at="", z=8, least=50)
    assert manifest is not None
    found = progress(
        100, 0, 400_000, needed=100, span=300_000, manifest=manifest, refused="", waits="", unable=""
    )
    assert found.verdict is Verdict.STILL
    assert isinstance(Provisional(manifest, {}), Provisional)
