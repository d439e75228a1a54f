"""Disks that are full, cannot be written or are slow: the daemon waits, says so, and loses nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from daemon.store import Store
from tests import plant
from tests.conftest import Setup
from tests.daemon.losses import assert_nothing_lost, stored
from tests.real_broker import Broker
from tests.real_client import Client
from tests.real_daemon import ROOT, Daemon
from tests.waiting import wait_until

STATUS = "anomalyd/status"
STORE_MOUNT_SIZE = "8m"
Ready = Callable[[], Daemon]


def mount(*options: str) -> None:
    done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(setup: Setup) -> Iterator[Path]:
    """A small disk of its own for the state directory."""
    if os.geteuid():
        pytest.skip("only root can mount a file system")
    setup.state.mkdir()
    mount("-t", "tmpfs", "-o", f"size={STORE_MOUNT_SIZE}", "tmpfs", str(setup.state))
    yield setup.state
    subprocess.run(["umount", "--lazy", str(setup.state)], check=True)


def fill(disk: Path) -> Path:
    """Takes all the room that is left; returns the file that takes it."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (65_536, 1):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    return ballast


def problem(client: Client) -> str:
    status = wait_until(
        lambda: client.last(STATUS)["status"] == "degraded" and client.last(STATUS), "the degraded status"
    )
    return str(status["problem"])


def online(client: Client) -> None:
    wait_until(lambda: client.last(STATUS) and client.last(STATUS)["status"] == "online", "the status")


def test_a_disk_that_fills_up_holds_readings_back_and_they_come_once_there_is_room(
    setup: Setup, client: Client, ready: Ready, disk: Path
) -> None:
    plant.promote(setup.state)
    readings = plant.history(3000, faults=[range(100, 150), range(2500, 2600)])
    messages = plant.messages(readings)
    daemon = ready()
    client.stream(messages[:200]).join()
    wait_until(lambda: len(stored(setup)) == 200, "the first readings")
    ballast = fill(disk)
    client.stream(messages[200:2800]).join()
    assert daemon.wait("store_failed", doing="commit")["reason"] in {"full", "ioerr"}
    assert problem(client).startswith("the store cannot be written: ")
    ballast.unlink()
    daemon.wait("store_recovered")
    online(client)
    client.stream(messages[2800:]).join()
    assert_nothing_lost(setup, client, readings)


@pytest.mark.parametrize("before", [200, 0], ids=["after a kill", "the first time"])
def test_a_daemon_that_starts_on_a_full_disk_waits_for_room(
    setup: Setup, client: Client, run_daemon: Callable[..., Daemon], disk: Path, before: int
) -> None:
    plant.promote(setup.state)
    readings = plant.history(400, faults=[range(100, 150)])
    messages = plant.messages(readings)
    if before:
        daemon = run_daemon(setup.file)
        daemon.wait("broker_connected")
        client.stream(messages[:before]).join()
        wait_until(lambda: len(stored(setup)) == before, "the first readings")
        daemon.kill()
        (disk / "store.sqlite-shm").unlink()  # as after a restart of the host
    ballast = fill(disk)
    daemon = run_daemon(setup.file)
    assert daemon.wait("store_failed", doing="open")["reason"] in {"full", "ioerr"}
    assert daemon.running
    ballast.unlink()
    daemon.wait("broker_connected")
    client.stream(messages[before:]).join()
    assert_nothing_lost(setup, client, readings)


@contextmanager
def unchangeable(files: list[Path]) -> Iterator[None]:
    """Nobody can write them, not even who has opened them: as on a disk that fell back to read-only."""
    done = subprocess.run(["chattr", "+i", *map(str, files)], capture_output=True, text=True, check=False)
    try:
        if done.returncode:
            pytest.skip(f"files cannot be made unchangeable here: {done.stderr.strip()}")
        yield
    finally:
        subprocess.run(["chattr", "-i", *map(str, files)], capture_output=True, check=False)


def test_a_disk_that_becomes_read_only_holds_readings_back_and_they_come_once_it_is_writable(
    setup: Setup, client: Client, ready: Ready
) -> None:
    plant.promote(setup.state)
    readings = plant.history(600, faults=[range(100, 150)])
    messages = plant.messages(readings)
    daemon = ready()
    client.stream(messages[:200]).join()
    wait_until(lambda: len(stored(setup)) == 200, "the first readings")
    with unchangeable([setup.state / name for name in ("store.sqlite", "store.sqlite-wal")]):
        client.stream(messages[200:400]).join()
        daemon.wait("store_failed", doing="commit")
        assert problem(client).startswith("the store cannot be written: ")
    daemon.wait("store_recovered")
    online(client)
    client.stream(messages[400:]).join()
    assert_nothing_lost(setup, client, readings)


def test_a_read_only_state_directory_is_an_error_that_names_it(
    setup: Setup, run_daemon: Callable[..., Daemon], disk: Path
) -> None:
    Store(disk / "store.sqlite").close()
    mount("-o", "remount,ro", str(disk))
    daemon = run_daemon(setup.file)
    assert daemon.code() == 74
    (words,) = daemon.words()
    assert words == f"anomalyd: {disk}: must be writable, got Read-only file system for {disk}/daemon.lock"


SETPRIV = shutil.which("setpriv")


@pytest.mark.parametrize("spoiled", ["state_dir", "store.sqlite"])
@pytest.mark.skipif(SETPRIV is None, reason="setpriv is not installed")
def test_what_the_daemon_may_not_write_is_an_error_that_names_it(
    setup: Setup, broker: Broker, spoiled: str
) -> None:
    setup.state.mkdir()
    store = setup.state / "store.sqlite"
    Store(store).close()
    (setup.state if spoiled == "state_dir" else store).chmod(0o500)
    assert SETPRIV is not None
    command = [SETPRIV, "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    command += [sys.executable, "-m", "cli", "run", "--config", str(setup.file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 74
    if spoiled == "state_dir":
        text = f"{setup.state}: must be writable, got Permission denied for {setup.state}/daemon.lock"
    else:
        text = f"{store}: cannot be used as the store: attempt to write a readonly database"
    assert done.stderr == f"anomalyd: {text}\n"


SLOW = """
#include <unistd.h>
#include <sys/syscall.h>
int fdatasync(int file) { usleep(300000); return syscall(SYS_fdatasync, file); }
int fsync(int file) { usleep(300000); return syscall(SYS_fsync, file); }
"""


def compiled(source: Path, text: str) -> str:
    """A library to be loaded before all others."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no compiler is installed")
    source.write_text(text)
    library = source.with_suffix(".so")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return str(library)


@pytest.fixture
def slow(tmp_path: Path) -> str:
    """A library that makes every wait for the disk 0.3 s longer."""
    return compiled(tmp_path / "slow.c", SLOW)


def test_a_slow_disk_costs_nothing(
    setup: Setup, client: Client, run_daemon: Callable[..., Daemon], slow: str
) -> None:
    plant.promote(setup.state)
    readings = plant.history(2000, faults=[range(100, 150)])
    daemon = run_daemon(setup.file, LD_PRELOAD=slow)
    daemon.wait("broker_connected")
    client.stream(plant.messages(readings)).join()
    assert_nothing_lost(setup, client, readings)
    assert daemon.said("store_failed") == []
    assert {status["status"] for status in client.messages(STATUS)} == {"online"}


# Of EIO SQLite says that the file is damaged; this is a network file system that is gone.
UNREADABLE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int refused(int file) {
    char link[64], path[4096];
    if (access(getenv("REFUSED"), F_OK)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return strstr(path, "store.sqlite") != NULL;
}
#define READ(name, types, values) \\
    ssize_t name types { \\
        static ssize_t (*real) types; \\
        if (!real) real = dlsym(RTLD_NEXT, #name); \\
        if (refused(file)) { errno = ESTALE; return -1; } \\
        return real values; \\
    }
READ(read, (int file, void *to, size_t size), (file, to, size))
READ(pread, (int file, void *to, size_t size, off_t at), (file, to, size, at))
READ(pread64, (int file, void *to, size_t size, off64_t at), (file, to, size, at))
"""


def forget_pages(setup: Setup) -> None:
    """Changes the store beside the daemon, so that it must read it again."""
    with closing(sqlite3.connect(setup.state / "store.sqlite", timeout=30)) as database, database:
        database.execute("INSERT INTO replays VALUES (1)")  # of a letter that is not there


def test_a_disk_that_cannot_be_read_for_a_while_ends_nothing(
    setup: Setup, broker: Broker, client: Client, run_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    plant.promote(setup.state)
    readings = plant.history(600, faults=[range(100, 150), range(520, 560)])
    messages = plant.messages(readings)
    refused = tmp_path / "refused"
    daemon = run_daemon(
        setup.file, LD_PRELOAD=compiled(tmp_path / "unreadable.c", UNREADABLE), REFUSED=str(refused)
    )
    daemon.wait("broker_connected")
    client.stream(messages[:500]).join()
    wait_until(lambda: len(stored(setup)) == 500, "the first readings")
    refused.touch()
    forget_pages(setup)
    assert daemon.wait("store_failed")["reason"] == "ioerr"
    broker.stop()
    broker.start()
    wait_until(lambda: len(daemon.said("broker_connected")) == 2, "another connection")
    bundle = plant.promote(setup.state, "2025-01-02T09-00-00Z-0002").name
    daemon.wait("bundle_loaded", bundle=bundle)
    refused.unlink()
    daemon.wait("champions_swapped")
    client.stream(messages[500:]).join()
    assert_nothing_lost(setup, client, readings)
    assert daemon.running
