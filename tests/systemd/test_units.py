"""The units are what systemd accepts, and leave the processes no more than they need."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from registry.requests import REQUEST, Request, RequestFile

UNITS = Path(__file__).parents[2] / "systemd"
INSTALLED = "/opt/anomalyd/bin/anomalyd"

needs_systemd_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not installed (Debian package: systemd)",
)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A copy of the units whose command exists: `verify` refuses a command that is not installed."""
    for unit in UNITS.glob("anomalyd*.*"):
        text = unit.read_text(encoding="utf-8").replace(INSTALLED, sys.executable)
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    return tmp_path


def verify(unit: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_UNIT_PATH": f"{unit.parent}:"},
        capture_output=True,
        text=True,
        check=False,
    )


def exposure(unit: Path) -> float:
    report = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=True,
    )
    figure = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", report.stdout)
    assert figure is not None, report.stdout
    return float(figure[1])


def settings(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (UNITS / unit).read_text(encoding="utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not key.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@needs_systemd_analyze
@pytest.mark.parametrize(
    "name",
    ["anomalyd.service", "anomalyd-retrain.service", "anomalyd-retrain.timer", "anomalyd-retrain.path"],
)
def test_systemd_accepts_the_unit_without_a_word(units: Path, name: str) -> None:
    verdict = verify(units / name)

    assert (verdict.returncode, verdict.stdout, verdict.stderr) == (0, "", "")


@needs_systemd_analyze
def test_systemd_names_a_setting_that_it_does_not_know(units: Path) -> None:
    unit = units / "anomalyd.service"
    unit.write_text(unit.read_text(encoding="utf-8").replace("UMask=", "Umask="), encoding="utf-8")

    assert "Umask" in verify(unit).stderr


@needs_systemd_analyze
def test_the_daemon_is_exposed_by_no_more_than_1_2(units: Path) -> None:
    assert exposure(units / "anomalyd.service") <= 1.2


@needs_systemd_analyze
def test_the_trainer_is_exposed_by_no_more_than_0_5(units: Path) -> None:
    assert exposure(units / "anomalyd-retrain.service") <= 0.5


@pytest.mark.parametrize("key", ["User", "StateDirectory", "StateDirectoryMode", "UMask"])
def test_daemon_and_trainer_share_one_state_directory(key: str) -> None:
    assert settings("anomalyd.service")[key] == settings("anomalyd-retrain.service")[key]


def test_the_daemon_starts_once_the_clock_is_set() -> None:
    daemon = settings("anomalyd.service")

    assert "time-sync.target" in daemon["Wants"][0].split()
    assert "time-sync.target" in daemon["After"][0].split()


def test_a_mistake_in_the_settings_is_not_tried_again() -> None:
    daemon = settings("anomalyd.service")

    assert daemon["RestartPreventExitStatus"] == ["78"]
    assert "ExecStartPre" not in daemon  # its exit status would start the daemon again, 78 or not


def test_the_trainer_may_do_what_tensorflow_does() -> None:
    assert "MemoryDenyWriteExecute" in settings("anomalyd.service")
    assert "MemoryDenyWriteExecute" not in settings("anomalyd-retrain.service")


def test_a_request_starts_the_trainer_once_and_is_not_lost(tmp_path: Path) -> None:
    (watched,) = settings("anomalyd-retrain.path")["PathExists"]
    service = settings("anomalyd-retrain.service")
    assert watched == f"{service['WorkingDirectory'][0]}/{REQUEST}"
    assert "ANOMALYD_RETRAIN__BY=request" in settings("anomalyd.service")["Environment"]
    assert service["ExecStart"] == [f"{INSTALLED} retrain --by file --wait"]

    before = shlex.split(service["ExecStartPre"][0])
    file = RequestFile(tmp_path)
    for reason in ("one", "two", "three"):
        file.write([Request(reason=reason, at=1)])
        subprocess.run(before, cwd=tmp_path, check=True)
        assert not file.exists()
    subprocess.run(before, cwd=tmp_path, check=True)  # the timer starts it without a request

    requests, problems = file.take()
    assert ({request.reason for request in requests}, problems) == ({"one", "two", "three"}, [])
