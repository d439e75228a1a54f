"""Whether somebody retrains when it is asked for, and whether the last turns went well."""

from __future__ import annotations

import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.doctor import host
from daemon.doctor.findings import Finding, failure, ok, warning
from daemon.standing import trouble
from registry.ledger import Ledger
from registry.requests import REQUEST

if TYPE_CHECKING:
    from config import Settings

UNANSWERED = 600.0  # seconds after which somebody should have begun the retraining that was asked for
TRAINER = ("pandas", "sklearn", "tensorflow")
UNIT = "anomalyd-retrain.path"


def examine(settings: Settings) -> Finding:
    """Looks at it."""
    retrain = settings.retrain
    problem = trouble(Ledger(settings.state_dir).read())
    if problem is not None:
        return warning("retraining", problem, "anomalyd retrain shows what is wrong")
    if retrain.by == "request":
        return _by_another(settings.state_dir / REQUEST)
    if retrain.every is None and retrain.max_age is None:
        return ok("retraining", "by no clock (retrain.every, retrain.max_age); when it is asked for")
    missing = [name for name in TRAINER if find_spec(name) is None]
    if missing:
        change = "pip install 'anomalyd[trainer]', set retrain.by: request, or retrain.every: off"
        return failure("retraining", f"needs {', '.join(missing)}, not installed here", change)
    return ok("retraining", "the trainer is installed")


def _by_another(request: Path) -> Finding:
    """Whether the service that is asked listens: by what it has left undone, and by what systemd knows."""
    with suppress(FileNotFoundError):
        if time.time() - request.stat().st_mtime > UNANSWERED:
            change = f"systemctl enable --now {UNIT}"
            return failure("retraining", f"asked for by {request}, and nobody has begun it", change)
    if Path(host.SYSTEMD).is_dir() and not host.enabled(UNIT):
        found = f"{UNIT} is not enabled, which would answer the daemon's requests (retrain.by: request)"
        return warning("retraining", found, f"systemctl enable --now {UNIT}")
    return ok("retraining", "asked for, and done by another service (retrain.by: request)")
