"""Who asks for a retraining, and why; and the file by which anybody may ask."""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from itertools import count
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from registry.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

REQUEST = "retrain.request"  # what is asked for; systemd starts a retraining while it is there
TAKEN = "retrain.taken"  # the same, while the turns are taken: who is killed leaves it to the next one
MOST = 100  # requests that wait; nobody needs more, and a mistake may write millions
MOST_BYTES = 2**20
MOST_CHARACTERS = 500  # of a reason


class By(StrEnum):
    """Who asks, the most urgent first."""

    COMMAND = "command"  # over MQTT
    CLI = "cli"
    FILE = "file"
    LEARNING = "learning"  # a machine without a bundle has sent enough
    DRIFT = "drift"
    AGE = "age"
    SCHEDULE = "schedule"

    @property
    def person(self) -> bool:
        """Whether somebody wants it now, whatever has failed before."""
        return self in {By.COMMAND, By.CLI, By.FILE}


URGENCY = {by: number for number, by in enumerate(By)}


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is asked for.

    Attributes:
        by: Who asks.
        reason: Why, for people.
        at: When, in milliseconds since the epoch.
        machines: Whose lines; None among them is the shared line, and None in place of them every line.
        own: Whether each of the machines is to get a bundle of its own, though the shared one serves it.
    """

    by: By = By.FILE
    reason: str = ""
    at: int = 0
    machines: tuple[str | None, ...] | None = None
    own: bool = False

    def __post_init__(self) -> None:
        if self.machines == ():
            raise ValueError("machines: must name one, or be left out for all")
        if self.own and (self.machines is None or None in self.machines):
            raise ValueError("own: must come with the names of machines")
        for name in self.machines or ():
            if name is not None and not name.isprintable():
                raise ValueError(f"machines: must be names of machines, got {name!r}")
        reason = "".join(each if each.isprintable() else " " for each in self.reason)
        if len(reason) > MOST_CHARACTERS:
            reason = reason[: MOST_CHARACTERS - 1] + "…"
        msgspec.structs.force_setattr(self, "reason", reason)


def added(requests: Iterable[Request], request: Request) -> tuple[Request, ...] | None:
    """The requests with one more, those of one asker for one reason in one; None if there are too many.

    What no person asks for gets half of the room, so that a fleet that drifts leaves some for people.
    """
    kept = list(requests)
    for number, one in enumerate(kept):
        if (one.by, one.reason, one.own) == (request.by, request.reason, request.own):
            both = None
            if one.machines is not None and request.machines is not None:
                both = tuple(dict.fromkeys((*one.machines, *request.machines)))
            # A person who asks again has seen more since; what the daemon wants it says over and over.
            at = max(one.at, request.at) if one.by.person else one.at
            kept[number] = replace(one, machines=both, at=at)
            return tuple(kept)
    return (*kept, request) if len(kept) < (MOST if request.by.person else MOST // 2) else None


def urgent_first(requests: Iterable[Request]) -> list[Request]:
    """In the order in which turns are to be taken."""
    return sorted(requests, key=lambda request: (URGENCY[request.by], request.at))


class RequestFile:
    """`retrain.request`: empty, which asks for every line, or a request in JSON on each line."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / REQUEST
        self._taken = state_dir / TAKEN

    def exists(self) -> bool:
        """Whether something is asked for."""
        return self.path.exists()

    def write(self, requests: Sequence[Request]) -> None:
        """Asks for more, without losing what is asked for already.

        Raises:
            OSError: The disk refuses.
        """
        there: bytes | None = None
        with suppress(FileNotFoundError):
            there = _content(self.path)
        kept: tuple[Request, ...] = ()
        if there is not None:
            kept, _ = decoded(there, self._at(self.path))
        for request in requests:
            kept = added(kept, request) or kept
        # Who takes the file up in this very moment may get what was in it a second time, and loses nothing.
        write_whole(self.path, b"".join(msgspec.json.encode(one) + b"\n" for one in kept))

    def take(self) -> tuple[list[Request], list[str]]:
        """Moves it aside and reads it, with what was left by one that was killed; `done` follows.

        Returns:
            The requests, the most urgent first, and what is wrong with those that must be refused.

        Raises:
            OSError: The disk refuses.
        """
        if self.path.exists():
            names = (self._taken.with_name(f"{TAKEN}.~{number}~") for number in count(1))
            self.path.rename(next(name for name in names if not name.exists()))
        requests: tuple[Request, ...] = ()
        problems: list[str] = []
        for path in self._moved():
            found, wrong = decoded(_content(path), self._at(path))
            problems += (f"{REQUEST}: {text}" for text in wrong)
            for request in found:
                requests = added(requests, request) or requests
        return urgent_first(requests), problems

    def done(self) -> None:
        """Forgets what was taken.

        Raises:
            OSError: The disk refuses.
        """
        for path in self._moved():
            path.unlink(missing_ok=True)

    def _moved(self) -> list[Path]:
        # As `mv --backup=numbered` names them, which is what the systemd unit moves the file aside by.
        return sorted((*self._taken.parent.glob(TAKEN), *self._taken.parent.glob(f"{TAKEN}.~*~")))

    def _at(self, path: Path) -> int:
        return path.stat().st_mtime_ns // 1_000_000


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)


def decoded(content: bytes, at: int) -> tuple[tuple[Request, ...], list[str]]:
    """Reads a request file.

    Args:
        content: Nothing, or JSON objects on lines of their own.
        at: When it was written, for requests that do not say.

    Returns:
        The requests, and what is wrong with the others, by their line.
    """
    if len(content) > MOST_BYTES:
        return (), [f"must be at most {MOST_BYTES} bytes, got more"]
    if not content.strip():
        return (Request(at=at, reason="the request file"),), []
    requests: tuple[Request, ...] = ()
    problems: list[str] = []
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            request = msgspec.json.decode(line, type=Request)
        except (ValueError, RecursionError) as error:  # msgspec raises more than its own errors on bad text
            problems.append(f"line {number} must be a request in JSON, got {_shown(line)}: {error}")
            continue
        more = added(requests, request if request.at else replace(request, at=at))
        if more is None:
            problems.append(f"line {number}: must be one of {MOST} requests at most")
            break
        requests = more
    return requests, problems


def _shown(line: bytes) -> str:
    text = line.decode(errors="replace")
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
