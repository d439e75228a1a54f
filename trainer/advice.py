"""What to try next, where the figures of a training say that something else would do better."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.fitting import best_epoch
from trainer.models import KINDS
from trainer.openings import at_most
from trainer.wording import DAY, duration, rounded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from config.training import Model
    from detector.manifest import Candidate, Manifest
    from trainer.fitting import Epoch

FAR_BETTER = 0.1  # of F1: less is chance on the few events that most labelled histories hold
RARE = 0.1  # alerts a day: nobody waits a month to be sure of less


def advice(manifest: Manifest, epochs: Sequence[Epoch], model: Model) -> tuple[str, ...]:
    """Says what to try, one sentence each; nothing where nothing suggests itself.

    Args:
        manifest: With its threshold's evidence.
        epochs: How the loss fell.
        model: How it was fitted.
    """
    return (*_about_fitting(epochs, model), *_about_time(manifest), *_about_labels(manifest))


def _about_fitting(epochs: Sequence[Epoch], model: Model) -> Iterator[str]:
    if not KINDS[model.kind].linear and best_epoch(epochs).epoch == 0 and len(epochs) > 1:
        yield (
            f"no epoch improved on the start, so this {model.kind} model is no better than a PCA: a smaller "
            f"trainer.model.learning_rate (now {model.learning_rate:g}) may let it learn, and "
            "trainer.model.kind pca gives the same at once"
        )


def _about_time(manifest: Manifest) -> Iterator[str]:
    """Where so little time was held back that no alert in it would not show what is expected."""
    evidence, history = manifest.threshold.evidence, manifest.history
    assert evidence is not None
    chosen = evidence.of(manifest.threshold.method)
    enough = at_most(0) / max(RARE, chosen.alerts_per_day.expected)
    if evidence.days >= enough:
        return
    days = history.rows * manifest.grid.interval / DAY * enough / evidence.days
    text = (
        f"{duration(evidence.days * DAY)} of held-back time cannot show how rare alerts are: "
        f"{duration(enough * DAY)} without any would, which takes {duration(days * DAY)} of history. Train "
        "again when there is more"
    )
    higher = [one for one in evidence.candidates if one.value > chosen.value]
    if higher and chosen.f1 is None:  # labels say more about thresholds
        best = min(higher, key=lambda one: one.alerts_per_day.expected)
        text += f", or take a higher threshold: {_wish(best)} is expected to open {_daily(best)}"
    yield text


def _about_labels(manifest: Manifest) -> Iterator[str]:
    evidence = manifest.threshold.evidence
    assert evidence is not None
    chosen = evidence.of(manifest.threshold.method)
    best = max(evidence.candidates, key=lambda one: one.f1 or 0.0)
    if chosen.f1 is not None and best.f1 is not None and best.f1 >= chosen.f1 + FAR_BETTER:
        yield (
            f"on the labelled rows {_wish(best)} would have an F1 of {best.f1:.2f} instead of "
            f"{chosen.f1:.2f}; it is expected to open {_daily(best)}, "
            f"not {rounded(chosen.alerts_per_day.expected)}"
        )


def _wish(one: Candidate) -> str:
    options = "".join(f", {name}: {value:g}" for name, value in one.options.items())
    return f"trainer.threshold: {{method: {one.method}{options}}}"


def _daily(one: Candidate) -> str:
    return f"{rounded(one.alerts_per_day.expected)} false alerts a day"
