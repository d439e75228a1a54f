"""This host: its clock, the files it lets a process open, and who starts the daemon."""

from __future__ import annotations

import ctypes
import resource
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.doctor.findings import Finding, ok, warning

if TYPE_CHECKING:
    from daemon.doctor.findings import Findings

UNSYNCHRONISED = 5  # what adjtimex(2) returns; chrony, ntpd and systemd-timesyncd all set it right
MAXIMUM_ERROR = 24  # bytes before it in struct timex of a 64-bit Linux: microseconds, a long
TIMEX = 512  # bytes: more than the structure has
FILES = 256  # open at once: the store, the broker, bundles, libraries; the daemon has about 30
SYSTEMD = "/run/systemd/system"  # there where systemd runs the host (sd_booted(3))
UNIT = "anomalyd.service"
UNITS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
)


def examine(daemon: int | None) -> Findings:
    """Looks at the host; `daemon` is the process that runs, if one does."""
    yield _clock()
    yield _files(daemon)
    yield _service()


def _clock() -> Finding:
    timex = ctypes.create_string_buffer(TIMEX)  # all zeros: it only asks
    state = ctypes.CDLL(None).adjtimex(timex)
    if state < 0:
        return ok("clock", "whether it is synchronised cannot be told here")
    if state == UNSYNCHRONISED:
        return warning(
            "clock",
            "not synchronised: readings without a time get a wrong one, true ones may look like future ones",
            f"run an NTP client{': timedatectl set-ntp true' if Path(SYSTEMD).exists() else ''}",
        )
    error = int.from_bytes(timex.raw[MAXIMUM_ERROR : MAXIMUM_ERROR + 8], "little") / 1e6
    return ok("clock", f"synchronised, to {error:.2g} s or better")


def _files(daemon: int | None) -> Finding:
    """The daemon's own limit where it may be read, else that of this process."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    whose = "this shell"
    with suppress(OSError, ValueError, StopIteration):
        if daemon is not None:
            lines = Path(f"/proc/{daemon}/limits").read_text(encoding="ascii").splitlines()
            line = next(line for line in lines if line.startswith("Max open files"))
            limit, whose = int(line.split()[3]), "the daemon"
    if 0 <= limit < FILES:
        found = f"{whose} may have {limit} open, which may not be enough"
        return warning(
            "open files", found, f"raise it to {FILES} or more: ulimit -n, LimitNOFILE= of the unit"
        )
    return ok("open files", f"{whose} may have {limit if limit >= 0 else 'any number of'} open")


def enabled(unit: str) -> bool:
    """Whether systemd starts a unit with the host."""
    return any(chain.from_iterable(Path(folder).glob(f"*.wants/{unit}") for folder in UNITS))


def _service() -> Finding:
    if not Path(SYSTEMD).is_dir():
        return ok("service", "no systemd here: whatever started the daemon must start it again")
    unit = next((Path(folder, UNIT) for folder in UNITS if Path(folder, UNIT).exists()), None)
    if unit is None:
        return warning(
            "service",
            f"no unit {UNIT}: nobody starts the daemon after a crash or a reboot",
            "install the units as systemd/README.md says",
        )
    if not enabled(UNIT):
        return warning("service", f"{unit} is not enabled", "systemctl enable --now anomalyd")
    return ok("service", f"{unit}, enabled")
