"""The parts of the report that look inside the model and beside it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np
from sklearn.decomposition import PCA

from trainer.charts import FLAT, SMALL, Line, line_chart, moments, scatter
from trainer.drawing import ONE, TWO
from trainer.importance import SHIFT
from trainer.page import bar, figure, key, lead, section, small_figure, table
from trainer.wording import counted, duration

if TYPE_CHECKING:
    from trainer.evaluation import Evaluation
    from trainer.examination import Examined
    from trainer.report import Contents

MOST_DRAWN = 12  # sensors: more charts than that nobody looks at
MOST_LISTED = 60  # rows of a table


def comparison(it: Contents, found: Examined) -> str:
    figures = found.figures
    labelled = figures[0].evaluation is not None
    headings = ["", "windows above", "false alerts a day", "error, held back to fitted"]
    if labelled:
        headings += ["F1", "FAR", "MAR", "AUC-PR", "VUS-PR", "ROC-AUC"]
    rows = []
    for one in figures:
        row = [one.name, f"{one.above:.2%}", f"{one.alerts_per_day:.2g}", f"{one.ratio:.2f}"]
        if labelled:
            assert one.evaluation is not None
            row += _measures(one.evaluation)
        rows.append(row)
    how = (
        "The same windows judged by two methods without a neural network, each fitted on the same rows and "
        "with a threshold by the same rule, from the held-back rows: good is when this detector's row is "
        "the best."
    )
    if it.manifest.error.usual is not None:
        how += " Their errors are plain ones, not divided by what is usual for each sensor."
    how += " The error of held-back rows as a multiple of that of fitted rows is near 1 if nothing was "
    how += "learnt by rote."
    if labelled:
        evaluation = figures[0].evaluation
        assert evaluation is not None
        learned = (
            "from which neither model nor threshold was learned"
            if len(it.replays) > 1
            else "that were not fitted on, though the threshold was learned from them"
        )
        how += (
            f" The measures on the right are over {evaluation.anomalous:,} rows labelled anomalous and "
            f"{evaluation.rows - evaluation.anomalous:,} normal ones {learned}: F1, AUC-PR, "
            "VUS-PR and ROC-AUC are best at 1 (random scores have an AUC-PR of "
            f"{_number(evaluation.auc_pr_random)} and a VUS-PR of {_number(evaluation.vus_pr_random)}); FAR, "
            "the false alarm rate, and MAR, the missed alarm rate, at 0."
        )
    return section("Beside simpler methods", how, table(headings, rows, chosen=0))


def _measures(it: Evaluation) -> tuple[str, ...]:
    def percent(number: float | None) -> str:
        return "–" if number is None else f"{number:.1f} %"

    areas = map(_number, (it.auc_pr, it.vus_pr, it.roc_auc))
    return (_number(it.f1), percent(it.far), percent(it.mar), *areas)


def _number(number: float | None) -> str:
    return "–" if number is None else f"{number:.3f}"


def sensors(it: Examined) -> str:
    stretch, errors = it.stretch, it.errors
    order = sorted(range(len(errors)), key=lambda i: -errors[i].part)
    at = moments(stretch.at)
    few = len(order) < 3
    drawn = [
        small_figure(
            errors[i].sensor,
            line_chart(
                [Line(ONE, at, stretch.actual[:, i], 1.6), Line(TWO, at, stretch.expected[:, i])],
                title=f"{errors[i].sensor}, actual and expected",
                size=FLAT if few else SMALL,
                x_ticks=few,
                y_axis="free",
            ),
            f"off by {errors[i].rmse:.3g} (RMSE)",
        )
        for i in order[:MOST_DRAWN]
    ]
    span = duration(float(stretch.at[-1] - stretch.at[0]))
    note = f"{span} from {at[0].item():%Y-%m-%d %H:%M:%S} UTC, around the largest held-back error."
    if len(order) > MOST_DRAWN:
        note += f" The {MOST_DRAWN} of {len(order)} sensors with the largest errors are shown."
    rows = [
        (
            errors[i].sensor, f"{errors[i].mse:.4g}", f"{errors[i].rmse:.4g}", f"{errors[i].mae:.4g}",
            f"{errors[i].part:.1%}",
            *(_times(errors[i].mse, other) for other in (errors[i].mean, errors[i].last, errors[i].linear)),
        )
        for i in order[:MOST_LISTED]
    ]  # fmt: skip
    return section(
        "Actual against expected",
        "What each sensor showed, and what the model expected of it from all sensors together. Good is "
        "when the two lines run together; a sensor that the model never meets only adds noise.",
        _caption(note),
        *(drawn if few else [f'<div class="many">{"".join(drawn)}</div>']),
        "<h3>Errors of each sensor on held-back rows</h3>",
        lead(
            "In the sensor's own unit (or its square), and its part in the error of all; then the squared "
            "error as a multiple of that of guessing the mean, of guessing the value before, and of a PCA "
            "with a code of the same size: below 1 the model is better."
        ),
        table(("sensor", "MSE", "RMSE", "MAE", "part", "to mean", "to value before", "to PCA"), rows),
        _left_out(len(order)),
    )


def _times(error: float, other: float) -> str:
    """The error as a multiple of another, which may be 0 where a sensor stands still."""
    if error > 1000 * other:
        return "–" if error == 0 else "> 1000"
    return f"{error / other:.2f}" if other > 0 else "–"


def _caption(note: str) -> str:
    return f"<figcaption>{escape(note)}{key('actual', 'one')}{key('expected', 'two')}</figcaption>"


def _left_out(count: int) -> str:
    return lead(f"{counted(count - MOST_LISTED, 'more sensor')} not listed.") if count > MOST_LISTED else ""


def importance(it: Examined) -> str:
    found = sorted(it.importances, key=lambda one: -one.score)
    most, widest = max(abs(one.score) for one in found) or 1.0, max(one.code for one in found) or 1.0
    rows = [
        (
            one.sensor,
            bar(one.score / most, f"{one.score:+.3g}"),
            bar(one.code / widest, f"{one.code:.1%}"),
        )
        for one in found[:MOST_LISTED]
    ]
    return section(
        "What the model listens to",
        f"How far the score rises when one sensor alone reads {SHIFT:g} standard deviations too high, and "
        "how much of the code each sensor makes up (its part of the encoder's weights). A sensor with a "
        "long first bar is watched closely, as a rise of 1 raises an alert by itself; one with short bars "
        "could fail unnoticed.",
        table(("sensor", "rise of the score", "part in the code"), rows),
        _left_out(len(found)),
    )


def code(it: Examined) -> str:
    seen, odd, codes = it.seen, it.odd, it.codes
    errors = seen.error if odd is None else np.concatenate([seen.error, odd.error])
    if codes.shape[1] == 1:
        places = np.column_stack([codes[:, 0], errors])
        what = "the code, which is one number (across), and the error (up)"
    elif codes.shape[1] == 2:
        places, what = codes.astype(np.float64), "the two numbers of the code"
    else:
        fitted = PCA(2, svd_solver="covariance_eigh").fit(codes[: len(seen)])
        places = fitted.transform(codes).astype(np.float64)
        what = (
            f"the two main directions of the code's {codes.shape[1]} numbers, which hold "
            f"{fitted.explained_variance_ratio_.sum():.0%} of what they do"
        )
    marked = np.arange(len(codes)) >= len(seen)
    keys = [] if odd is None else [key("windows of rows labelled anomalous", "limit")]
    drawn = scatter(
        places, errors, marked, title="the code of each window, coloured by its error", colour_title="error"
    )
    return section(
        "The code",
        f"Each dot is a window, placed by {what}; its colour is its error. Clusters are ways of running that "
        "the model knows; bright dots apart from all others are what it knows least.",
        figure(drawn, "", *keys),
    )  # fmt: skip
