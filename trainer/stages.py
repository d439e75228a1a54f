"""What a training is busy with, for people who wait."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from trainer.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trainer.fitting import Epoch


@dataclass(frozen=True, slots=True)
class Stage:
    """What a training is busy with, for people who wait.

    Attributes:
        text: What.
        done: The share of it that is over; None where nobody knows.
    """

    text: str
    done: float | None = None


class Teller:
    """Words for the stages of one job or many, one at a time however many threads work.

    Attributes:
        finished: How many jobs are over.
    """

    def __init__(self, progress: Callable[[Stage], None], jobs: int, finished: int) -> None:
        self.finished = finished
        self._progress = progress
        self._jobs = jobs
        self._stopped = False
        self._lock = Lock()

    def stop(self) -> None:
        """Ends whoever tells of a stage from now on."""
        self._stopped = True

    def tell(self, text: str, done: float | None = None, machine: str | None = None) -> None:
        """Tells of a stage; `done` is the share of it that is over, for where there is one job.

        Raises:
            StoppedError: Nobody waits for what is done.
        """
        if self._stopped:
            raise StoppedError
        with self._lock:
            if self._jobs > 1:
                whose = f"{machine}: " if machine else ""
                text = f"{self.finished} of {self._jobs} done, {whose}{text}"
                done = self.finished / self._jobs
            self._progress(Stage(text, done))

    def tried(self, told: Sequence[Epoch]) -> None:
        """Tells of an epoch with the validation rows aside."""
        first = told[0]
        text = f"loss {first.loss:.3g}, validation {first.validation_loss:.3g}"
        if self._jobs > 1:
            text = f"{counted(len(told), 'machine')} learning"
        self.tell(f"epoch {first.epoch}/{first.epochs}, {text}", first.epoch / first.epochs)


class StoppedError(Exception):
    """Nobody waits for the rest."""
