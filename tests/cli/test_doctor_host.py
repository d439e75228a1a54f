"""What the doctor sees of the host: state directory, store, limits, clock, service."""

from __future__ import annotations

import ctypes
import fcntl
import os
import pty
import re
import resource
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from daemon.assembly import STORE
from daemon.doctor import Finding, host
from daemon.doctor.disk import store_size
from registry.ledger import Ledger
from tests import plant
from tests.cli.conftest import Doctor, Ended, failed
from tests.conftest import Setup
from tests.real_daemon import ROOT
from tests.waiting import free_port


def test_a_limit_of_a_sensor_that_no_bundle_has_is_a_warning(tmp_path: Path, doctor: Doctor) -> None:
    setup = Setup(tmp_path, free_port())
    plant.promote(setup.state)
    setup.write(sensors={"limits": {"presure": [0, 1], "pressure": [0, 1]}, "ignore": ["folw"]})
    _, found = doctor(setup)
    assert found["sensor names"][0]["found"] == "no bundle has folw, presure"


def test_a_daemon_that_hangs_is_a_failure(tmp_path: Path, doctor: Doctor) -> None:
    setup = Setup(tmp_path, free_port())
    setup.state.mkdir()
    (setup.state / "alive").touch()
    os.utime(setup.state / "alive", (0, 0))
    with (setup.state / "daemon.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("1")
        lock.flush()
        _, found = doctor(setup)
        lock.write("st")
        lock.flush()
        _, garbled = doctor(setup)
    assert found["daemon"][0]["verdict"] == "failure"
    assert found["daemon"][0]["found"].startswith("process 1 gave no sign of life")
    assert garbled["daemon"][0]["found"].startswith("process 0 gave no sign of life")
    assert doctor(setup)[1]["daemon"][0]["found"] == "none runs here"


def test_what_is_wrong_in_the_state_directory_is_said(tmp_path: Path, doctor: Doctor) -> None:
    setup = Setup(tmp_path, free_port())
    bundle = plant.promote(setup.state)
    (bundle / "model.tflite").write_bytes(b"changed")
    (setup.state / "store.sqlite").write_bytes(b"no database" * 1000)
    setup.state.chmod(0o777)
    (setup.state / "retrain.request").touch()
    os.utime(setup.state / "retrain.request", (0, 0))
    setup.write(retrain={"every": "24h", "by": "request"})
    _, found = doctor(setup)
    assert failed(found) >= {"directory", "store", "bundles", "retraining"}
    assert "may be written by everybody" in found["directory"][0]["found"]
    assert "file is not a database" in found["store"][0]["found"]
    assert "model.tflite was changed after it was written" in found["bundles"][0]["found"]
    assert "nobody has begun it" in found["retraining"][0]["found"]


def test_files_of_another_user_are_a_warning_with_the_command_that_mends_it(
    tmp_path: Path, doctor: Doctor
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    setup = Setup(tmp_path, free_port())
    bundle = plant.promote(setup.state)
    os.chown(bundle / "model.tflite", 65_534, -1)
    _, found = doctor(setup)
    assert found["directory"][0]["verdict"] == "warning"
    assert "holds files of nobody" in found["directory"][0]["found"]
    assert found["directory"][0]["change"].startswith(f"chown -R root: {setup.state}")


def test_on_a_terminal_no_line_is_wider_than_it(setup: Setup) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "doctor", "--wait", "0s", "--config", setup.file],
        cwd=ROOT,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            more = os.read(ours, 65_536)
        except OSError:  # the other side is closed
            break
        shown += more
    os.close(ours)
    assert process.communicate()[1] == b"", "there is no terminal to show progress on"
    assert process.returncode == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("warning  bundles         none: readings are stored") for line in lines)
    assert "                         -> train one: anomalyd train HISTORY" in lines
    assert re.fullmatch(r"\d warnings, \d\d checks", lines[-1])


def test_who_may_not_look_into_the_state_directory_is_told_whose_it_is(doctor: Doctor) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        setup = Setup(folder, free_port())
        plant.promote(setup.state)
        setup.state.chmod(0o700)
        os.seteuid(65_534)
        try:
            _, found = doctor(setup)
        finally:
            os.seteuid(0)
    assert found["directory"][0]["found"] == f"{setup.state} cannot be written by nobody"
    assert "run it as root" in found["directory"][0]["change"]
    assert "store" not in found
    assert "clock" in found


def test_a_state_directory_in_memory_is_a_warning(tmp_path: Path, doctor: Doctor) -> None:
    with TemporaryDirectory(dir="/dev/shm") as folder:
        setup = Setup(tmp_path, free_port())
        setup.write(state_dir=folder)
        _, found = doctor(setup)
    assert found["disk"][0]["found"].startswith("tmpfs, ")
    assert "gone at the next reboot" in found["disk"][0]["found"]


def test_a_store_that_was_set_aside_is_no_part_of_the_store(tmp_path: Path) -> None:
    for name, size in (("", 30), ("-wal", 2), (".corrupt-2026-01-01T00-00-00Z", 500)):
        (tmp_path / f"{STORE}{name}").write_bytes(b"x" * size)
    assert store_size(tmp_path) == 32


def test_too_few_files_that_may_be_open_are_a_warning(tmp_path: Path, doctor: Doctor) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
    try:
        _, found = doctor(Setup(tmp_path, free_port()))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert found["open files"][0]["verdict"] == "warning"
    assert "this shell may have 100 open" in found["open files"][0]["found"]


def test_a_clock_that_is_not_synchronised_is_a_warning_with_systemds_command_where_systemd_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(host.TIMEX))
    monkeypatch.setattr(host, "UNSYNCHRONISED", here)
    changes = []
    for systemd in (tmp_path, tmp_path / "nowhere"):
        monkeypatch.setattr(host, "SYSTEMD", str(systemd))
        clock, *_ = host.examine(None)
        assert isinstance(clock, Finding)
        changes.append(clock.change)
    assert changes == ["run an NTP client: timedatectl set-ntp true", "run an NTP client"]


def test_a_wait_has_a_unit_like_every_duration(anomalyd: Callable[..., Ended]) -> None:
    ended = anomalyd("doctor", "--wait", "3")
    assert ended.code == 64
    assert "must be a whole number with a unit of time, got 3; such as 500ms, 30s" in ended.err


def test_where_systemd_runs_the_unit_must_be_there_and_enabled(
    tmp_path: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = Setup(tmp_path, free_port())
    units = tmp_path / "units"
    (units / "multi-user.target.wants").mkdir(parents=True)
    monkeypatch.setattr(host, "SYSTEMD", str(units))
    monkeypatch.setattr(host, "UNITS", (str(units),))
    unit = units / "anomalyd.service"

    def service() -> tuple[str, str]:
        (finding,) = doctor(setup)[1]["service"]
        return finding["verdict"], finding["found"]

    assert service() == (
        "warning",
        "no unit anomalyd.service: nobody starts the daemon after a crash or a reboot",
    )
    unit.touch()
    assert service() == ("warning", f"{unit} is not enabled")
    (units / "multi-user.target.wants" / "anomalyd.service").symlink_to(unit)
    assert service() == ("ok", f"{unit}, enabled")

    setup.write(retrain={"by": "request"})
    path = "anomalyd-retrain.path"
    (finding,) = doctor(setup)[1]["retraining"]
    assert (finding["verdict"], finding["change"]) == ("warning", f"systemctl enable --now {path}")
    (units / path).touch()
    (units / "paths.target.wants").mkdir()
    (units / "paths.target.wants" / path).symlink_to(units / path)
    assert doctor(setup)[1]["retraining"][0]["verdict"] == "ok"


def test_a_retraining_that_fails_is_a_warning_with_its_reason(tmp_path: Path, doctor: Doctor) -> None:
    setup = Setup(tmp_path, free_port())
    setup.state.mkdir()
    ledger = Ledger(setup.state)
    ledger.fail(["press"], "out of memory", at=1_000_000)
    ledger.fail(["press"], "out of memory", at=2_000_000)
    (finding,) = doctor(setup)[1]["retraining"]
    assert finding["verdict"] == "warning"
    assert finding["found"].startswith("the retraining of press has failed 2 times in a row: out of memory; ")
