"""A retraining may begin at the champion's weights: what is written of them, and where they fit.

That is at those of another retraining: what is held back now was held back from it too, as
`trainer.dealing` has it, but was not from a training on recordings.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from trainer.autoencoder import Architecture, Autoencoder, Ensemble

if TYPE_CHECKING:
    from config.training import Model as ModelSettings
    from detector.channels import Channel
    from detector.manifest import ScalerSpec
    from registry.bundle import Bundle
    from trainer.inputs import Fit

FILE = "weights.npz"
CODES_APART = 0.25  # share by which the code may be larger or smaller than it would be by itself


@dataclass(frozen=True, slots=True, eq=False)
class Champion:
    """A fitted model and what its windows were made of.

    Attributes:
        bundle: Which it is of.
        sensors: The model's, in its order.
        channels: What they stand for that are no plain measurements.
        scaler: What its columns were scaled by.
        model: Its weights.
        tried: Those that have not seen its validation rows, by which early stopping judges again.
    """

    bundle: str
    sensors: tuple[str, ...]
    channels: dict[str, Channel]
    scaler: ScalerSpec
    model: Ensemble
    tried: Ensemble


def pack(model: Ensemble, tried: Ensemble) -> bytes:
    """The weights as a file of numpy arrays alone: unlike `model.keras`, reading it can run nothing.

    Args:
        model: The fitted model.
        tried: See `Champion`.
    """
    arrays: dict[str, Any] = {
        "architecture": np.frombuffer(msgspec.json.encode(model.architecture), np.uint8)
    }
    for number, member in enumerate((*model.members, *tried.members)):
        arrays |= {f"{number}_{place}": weight for place, weight in enumerate(member.weights)}
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def read(bundle: Bundle) -> Champion | None:
    """The model in a bundle; None where it is of an older version or cannot be read."""
    manifest = bundle.manifest
    try:
        with np.load(io.BytesIO((bundle.path / FILE).read_bytes()), allow_pickle=False) as file:
            it = msgspec.json.decode(file["architecture"].tobytes(), type=Architecture)
            of_each = manifest.model.ensemble
            count = (len(file.files) - 1) // (2 * of_each)
            members = [
                Autoencoder(it, tuple(file[f"{number}_{place}"] for place in range(count)))
                for number in range(2 * of_each)
            ]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return Champion(
        bundle=manifest.id,
        sensors=manifest.sensors,
        channels=manifest.channels,
        scaler=manifest.scaler,
        model=Ensemble(tuple(members[:of_each])),
        tried=Ensemble(tuple(members[of_each:])),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Warm:
    """Whether fitting may begin at a champion's weights.

    Attributes:
        bundle: Whose.
        tried: Where it is tried out how long to fit, as they fit the new columns; empty: it may not.
        members: Where fitting begins once that is known.
        reason: Why not, in words.
    """

    bundle: str = ""
    tried: tuple[Autoencoder, ...] = ()
    members: tuple[Autoencoder, ...] = ()
    reason: str = ""


def code_of(champion: Champion | None, code: int, wishes: ModelSettings) -> int:
    """The size of the code: the champion's, where none is wished for and it would be about that anyway."""
    if champion is None or wishes.code is not None or wishes.warm_start == "off":
        return code
    own = champion.model.architecture.code
    return own if abs(code - own) <= max(1, CODES_APART * code) else code


def warm_start(
    champion: Champion | None,
    architecture: Architecture,
    sensors: tuple[str, ...],
    fit: Fit,
    wishes: ModelSettings,
) -> Warm:
    """The champion's weights, where a model of this architecture can begin at them."""
    if wishes.warm_start == "off":
        return Warm(reason="trainer.model.warm_start is off")
    if champion is None:
        return Warm(reason="the champion is not of a retraining that has kept its weights")
    before = champion.model
    differs = {
        "the sensors": (champion.sensors, champion.channels) != (sensors, fit.channels),
        "the ensemble": len(before.members) != wishes.ensemble,
        **{
            name: getattr(before.architecture, field) != getattr(architecture, field)
            for name, field in PARTS.items()
        },
    }
    if any(differs.values()):
        first = next(name for name, differ in differs.items() if differ)
        return Warm(reason=f"{first} differs from {champion.bundle}'s")
    tried, members = (
        rescaled(each, champion.scaler, fit.scaler) for each in (champion.tried, champion.model)
    )
    return Warm(champion.bundle, tried, members)


PARTS = {
    "the kind": "kind",
    "the window": "length",
    "the number of columns": "width",
    "the size of the code": "code",
    "the size of the layers": "units",
    "the activation": "activation",
    "what is binary": "binary",
}


def rescaled(model: Ensemble, before: ScalerSpec, scaler: ScalerSpec) -> tuple[Autoencoder, ...]:
    """The members as they would be, had they been fitted on columns that are scaled in another way.

    Exactly for dense ones whose columns are scaled by straight lines; others stay as they are.
    """
    members = model.members
    if members[0].architecture.kind != "dense" or before.curves or scaler.curves:
        return members
    factor = np.divide(scaler.scale, before.scale)
    shift = np.divide(np.subtract(scaler.offset, before.offset), before.scale)
    return tuple(_rescaled(member, factor, shift) for member in members)


def _rescaled(member: Autoencoder, factor: Any, shift: Any) -> Autoencoder:  # noqa: ANN401 - of numbers
    """With the new column as `factor * column + shift` in place of the old one, both ways."""
    length = member.architecture.length
    factors, shifts = np.tile(factor, length)[:, None], np.tile(shift, length)
    weights = [weight.astype(np.float64) for weight in member.weights]
    weights[1] = weights[1] + shifts @ weights[0]
    weights[0] = factors * weights[0]
    weights[-2] = weights[-2] / factors.T
    weights[-1] = (weights[-1] - shifts) / factors.T
    return replace(member, weights=tuple(weight.astype(np.float32) for weight in weights))
