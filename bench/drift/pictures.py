"""A machine's score over the weeks, by each way to keep its model up to date."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from bench.drift.walking import Walked

BLUE, RED, GREY = "#2563a8", "#b42318", "#475569"
HIGHEST = 20.0  # scores above it are drawn there


def scores(by_policy: Mapping[str, Walked], machine: str) -> str:
    """SVG: one panel each, the threshold at 1, labelled events shaded."""
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": machine,
        "font.size": 8,
        "axes.edgecolor": GREY,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(7, 1.3 * len(by_policy)), layout="constrained")
        FigureCanvasSVG(figure)
        panels = figure.subplots(len(by_policy), 1, sharex=True, squeeze=False)[:, 0]
        for panel, (name, walked) in zip(panels, by_policy.items(), strict=True):
            at = np.array(walked.at)
            score = np.array([np.nan if one is None else one for one in walked.score])
            panel.fill_between(
                at, 0, 1, where=walked.event, step="pre", transform=panel.get_xaxis_transform(),
                color=RED, alpha=0.15, linewidth=0,
            )  # fmt: skip
            panel.plot(at, score.clip(1e-2, HIGHEST), color=BLUE, linewidth=0.8)
            panel.axhline(1, color=RED, linewidth=0.7, linestyle="--")
            for turn in walked.turns:
                if turn.promoted:
                    day = (turn.at - walked.turns[0].at) / 86_400_000 + 1
                    panel.axvline(day, color=GREY, linewidth=0.4, linestyle=":")
            panel.set(yscale="log", ylim=(1e-2, HIGHEST), title=name, ylabel="score")
        panels[-1].set_xlabel("days")
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
        return file.getvalue()
