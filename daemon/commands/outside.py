"""Commands about models: what they do is no part of the store's transaction, and harmless when done twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from daemon.commands.answer import ALREADY, DONE
from daemon.commands.command import Outside, Pin, Promote, Retrain, Rollback
from daemon.commands.reading import Reason
from daemon.commands.scene import RefusedError
from registry.bundle import BundleError

if TYPE_CHECKING:
    from registry.champions import Line, Registry

Ask = Callable[[str | None, str], bool]  # for a turn: of a machine's line, None for all lines, and why


class Models:
    """Obeys by the registry, and by whoever starts retrainings."""

    def __init__(self, registry: Registry, ask: Ask) -> None:
        self._registry = registry
        self._ask = ask

    def settled(self, command: Outside, machine: str | None) -> Outside:
        """The same; a rollback names the bundle that it leaves, and done twice leaves no second one."""
        if not isinstance(command, Rollback) or command.bundle is not None:
            return command
        try:
            line = self._registry.champions().get(machine)
        except BundleError:  # which is said when it is obeyed
            return command
        return command if line is None else replace(command, bundle=line.champion)

    def obey(self, command: Outside, machine: str | None) -> tuple[str, str]:
        """Does it; returns the reason and the text of the answer.

        Raises:
            RefusedError: It cannot be done.
            OSError: The disk refuses.
        """
        try:
            if isinstance(command, Retrain):
                return self._retrain(command, machine)
            if isinstance(command, Promote):
                return self._promote(command.bundle, machine)
            if isinstance(command, Rollback):
                return self._rollback(command.bundle, machine)
            return self._pin(machine, pinned=isinstance(command, Pin))
        except BundleError as error:
            raise RefusedError(Reason.NO_BUNDLE, str(error)) from error

    def _retrain(self, command: Retrain, machine: str | None) -> tuple[str, str]:
        reason = command.reason or command.note
        if not self._ask(machine, f"{reason} ({command.by})" if command.by else reason):
            raise RefusedError(
                Reason.NOT_TAKEN, "no retraining can be started now; the daemon's log says why"
            )
        return DONE, f"a retraining of {machine or 'all models'} is asked for; see: anomalyd models turns"

    def _promote(self, bundle: str, machine: str | None) -> tuple[str, str]:
        made_for = self._registry.read(bundle).manifest.machine
        if made_for != machine:
            hint = f"command it on the topic of {_line_of(made_for)}"
            raise RefusedError(Reason.TOPIC, f"{bundle} serves {_line_of(made_for)}; {hint}")
        line = self._registry.champions().get(machine)
        self._registry.promote(bundle)
        same = line is not None and line.champion == bundle
        return ALREADY if same else DONE, f"{bundle} serves {_line_of(machine)}"

    def _rollback(self, leave: str | None, machine: str | None) -> tuple[str, str]:
        champion = self._line(machine).champion
        if leave is not None and champion != leave:
            return ALREADY, f"{champion} serves {_line_of(machine)}, not {leave}"
        return DONE, f"{self._registry.rollback(machine).id} serves {_line_of(machine)} again"

    def _pin(self, machine: str | None, *, pinned: bool) -> tuple[str, str]:
        line = self._line(machine)
        self._registry.pin(machine, pinned=pinned)
        text = f"{line.champion} is {'pinned' if pinned else 'not pinned'}"
        return ALREADY if line.pinned is pinned else DONE, text

    def _line(self, machine: str | None) -> Line:
        line = self._registry.champions().get(machine)
        if line is None:
            hint = "" if machine is None else "; what machines share is commanded on commands.shared_topic"
            raise RefusedError(Reason.NO_BUNDLE, f"no bundle serves {_line_of(machine)}{hint}")
        return line


def _line_of(machine: str | None) -> str:
    return f"{machine} alone" if machine is not None else "all machines without a bundle of their own"
