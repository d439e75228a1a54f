"""What differs between two bundles: what they were fitted on, what they see, and how they judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector.manifest import Manifest

MOVED = 0.1  # of a sensor's scale: what moved by less is no news


class Difference(msgspec.Struct, frozen=True):
    """One property, and what it is in each of the two bundles, in words."""

    what: str
    first: str
    second: str


def differences(first: Manifest, second: Manifest) -> list[Difference]:
    """The properties in which two bundles differ.

    The scaling of a sensor that both know is among them where its offset moved, or its scale
    changed, by more than a tenth of the first bundle's scale.
    """
    found = [
        Difference(what, one, two)
        for (what, one), (_, two) in zip(_properties(first), _properties(second), strict=True)
        if one != two
    ]
    alone = _others(first, second), _others(second, first)
    if alone != ("none", "none"):
        found.append(Difference("sensors of its own", *alone))
    scalings, others = _scalings(first), _scalings(second)
    for sensor, (offset, scale) in scalings.items():
        other_offset, other_scale = others.get(sensor, (offset, scale))
        if max(abs(offset - other_offset), abs(scale - other_scale)) > MOVED * scale:
            found.append(
                Difference(
                    f"scaling of {sensor}",
                    f"({offset:.4g}, {scale:.4g})",
                    f"({other_offset:.4g}, {other_scale:.4g})",
                )
            )
    return found


def _properties(manifest: Manifest) -> Iterator[tuple[str, str]]:
    history, window, model = manifest.history, manifest.window, manifest.model
    yield "serves", manifest.machine or "all"
    yield "fitted on", f"{history.start} to {history.end}"
    yield "rows", f"{history.rows}"
    yield "interval", f"{manifest.grid.interval} ms"
    yield "window", f"{window.length}, stride {window.stride}, gaps up to {window.max_gap}"
    yield "minimum coverage", f"{window.min_coverage:g}"
    yield "model", f"{model.kind}, code {model.code}, {model.parameters} parameters"
    yield "imputation", manifest.imputer.method
    yield "scaling", manifest.scaler.method
    yield "smoothing", f"{manifest.error.smoothing:g}"
    yield "errors", "absolute" if manifest.error.usual is None else "relative"
    yield "threshold", f"{manifest.threshold.value:.4g} ({manifest.threshold.method})"


def _others(manifest: Manifest, other: Manifest) -> str:
    return ", ".join(name for name in manifest.sensors if name not in other.sensors) or "none"


def _scalings(manifest: Manifest) -> dict[str, tuple[float, float]]:
    """Offset and scale of each sensor that is a plain measurement, in its own unit."""
    scaler, column, found = manifest.scaler, 0, {}
    for name in manifest.sensors:
        if name in manifest.channels:
            column += manifest.channels[name].width
        else:
            found[name] = scaler.offset[column], scaler.scale[column]
            column += 1
    return found
