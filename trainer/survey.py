"""All that `check-data` says of a history: can it carry a model, what does it look like, what moves in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from trainer.groups import correlations
from trainer.look import PASSES
from trainer.profile import PASSES as PROFILE_PASSES
from trainer.profile import profile
from trainer.regimes import changes
from trainer.verdict import check_sources, rows_needed, undeclarable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from config.streams import Channel
    from config.training import Trainer
    from trainer.facts import Source
    from trainer.groups import Correlations
    from trainer.profile import Profiles
    from trainer.regimes import Change
    from trainer.verdict import Verdict

TIMES_READ = PASSES + PROFILE_PASSES  # at most


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """The answer of `survey`.

    Attributes:
        verdict: Whether a model can be fitted.
        rows: Rows that are not labelled anomalous.
        rows_needed: Rows without holes that are enough.
        profiles: Of the sensors that are measured; None where the histories do not fit together.
        correlations: Of the same; None of a single sensor, or of too few rows.
        changes: Likely changes of regime, of the first machines.
    """

    verdict: Verdict
    rows: int
    rows_needed: int
    profiles: Profiles | None
    correlations: Correlations | None
    changes: tuple[Change, ...]

    @property
    def enough(self) -> bool | None:
        """Whether the rows are enough; None where it is something else that keeps them from being used."""
        if not self.verdict.errors:
            return True
        return None if self.rows >= self.rows_needed else False


def survey(
    sources: Sequence[Source],
    settings: Trainer,
    *,
    interval: int | None = None,
    channels: Mapping[str, Channel] = MappingProxyType({}),
    advance: Callable[[int], None] = lambda _: None,
) -> Survey:
    """Looks at histories; reads each up to `TIMES_READ` times.

    Args:
        sources, settings, interval, channels, advance: See `trainer.verdict.check_sources`.
    """
    verdict = check_sources(sources, settings, interval=interval, channels=channels, advance=advance)
    sensors = {sensor for source in sources for sensor in source.sensors}
    verdict = replace(verdict, warnings=(*undeclarable(channels, sensors), *verdict.warnings))
    rows = sum(facts.rows for facts in verdict.machines)
    needed = rows_needed(settings)
    measured = tuple(
        facts.sensor
        for facts in verdict.sensors
        if facts.sensor not in channels or channels[facts.sensor].kind != "category"
    )
    if not measured or not rows:
        return Survey(verdict, rows, needed, None, None, ())
    profiles = profile(sources, verdict, measured, settings.max_gap, advance)
    return Survey(
        verdict=verdict,
        rows=rows,
        rows_needed=needed,
        profiles=profiles,
        correlations=correlations(measured, profiles.sample),
        changes=tuple(change for course in profiles.courses for change in changes(course, measured)),
    )
