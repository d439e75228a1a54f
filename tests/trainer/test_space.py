from __future__ import annotations

from typing import get_args

import pytest

from config.checking import check
from config.settings import Settings
from config.training import Trainer
from config.yaml_source import parse
from detector.kinds import ScalingMethod
from trainer.space import (
    RANGES,
    USUAL,
    Choice,
    Range,
    Span,
    described,
    searchable,
    shown,
    value_of,
    with_options,
    written,
)

ALL = searchable()


def test_an_option_that_is_one_of_some_words_may_be_searched_over_all_of_them() -> None:
    assert ALL["scaling"] == Choice(get_args(ScalingMethod))
    assert {"imputation", "error", "model.activation"} <= ALL.keys()


def test_what_says_nothing_about_what_a_detector_finds_is_not_searched() -> None:
    assert not ALL.keys() & {"seed", "report", "calibration_share", "threshold.method", "threshold.k"}


def test_the_table_of_ranges_names_options_alone_and_so_does_what_is_usual() -> None:
    assert RANGES.keys() <= ALL.keys()
    assert {*USUAL} <= ALL.keys()


@pytest.mark.parametrize(("name", "some"), ALL.items())
def test_every_value_that_may_be_tried_is_one_that_the_configuration_takes(name: str, some: Range) -> None:
    ends = (some.low, some.high) if isinstance(some, Span) else ()
    for value in (*some.grid, *ends):
        trainer = with_options(Trainer(), {name: value})
        assert isinstance(trainer, Trainer), trainer
        assert value_of(trainer, name) == value
    if isinstance(some, Span):
        assert all(some.low <= value <= some.high for value in some.grid)


@pytest.mark.parametrize(("name", "some"), ALL.items())
def test_what_is_written_is_read_as_what_was_tried(name: str, some: Range) -> None:
    for value in some.grid:
        *section, last = name.split(".")
        text = f"{last}: {shown(value)}"
        for outer in reversed(["trainer", *section]):
            text = f"{outer}: {{{text}}}"
        settings, faults = check(Settings, parse(text, "best.yaml").values)
        assert settings is not None, faults
        assert value_of(settings.trainer, name) == value


def test_a_very_small_number_is_written_as_a_number() -> None:
    settings, _ = check(
        Settings, parse(f"trainer: {{model: {{learning_rate: {shown(1e-07)}}}}}", "best.yaml").values
    )
    assert settings is not None
    assert settings.trainer.model.learning_rate == 1e-07


def test_what_is_configured_is_always_within() -> None:
    span = Span(5, 50, (10, 20), whole=True).including(70)
    assert (span.low, span.high, span.grid) == (5, 70, (10, 20, 70))
    assert Span(5, 50, (10, 20)).including(10) == Span(5, 50, (10, 20))
    assert Choice((1, 2)).including(None) == Choice((1, 2, None))
    assert Choice((1, 2)).including(2) == Choice((1, 2))


def test_a_span_may_be_cut_short() -> None:
    assert Span(5, 50, (10, 20)).up_to(15) == Span(5, 15, (10,))
    assert Span(5, 50, (10, 20)).up_to(90) == Span(5, 50, (10, 20))


def test_what_the_configuration_would_refuse_is_told_as_it_would_tell_it() -> None:
    faults = with_options(Trainer(), {"window": 0, "model.activation": "step"})
    assert isinstance(faults, list)
    assert described(faults) == (
        "trainer.window: must be at least 1, got 0",
        'trainer.model.activation: must be relu, elu, selu, gelu, silu, tanh or sigmoid, got "step"',
    )


def test_what_is_not_the_default_is_written_and_what_always_is() -> None:
    trainer = with_options(Trainer(), {"window": 12, "model.units": [8, 4]})
    assert isinstance(trainer, Trainer)
    assert dict(written(trainer, ())) == {"window": 12, "model.units": [8, 4]}
    assert dict(written(trainer, ("smoothing",))) == {
        "window": 12,
        "smoothing": Trainer().smoothing,
        "model.units": [8, 4],
    }
