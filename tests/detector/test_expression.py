from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.channels import number_of
from detector.expression import ExpressionError, parse

VALUES = {"speed": 60.0, "load": 0.0, "motor 1": 3.0, "mode": number_of("auto")}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("speed > 50", True),
        ("speed > 50 and load > 1", False),
        ("speed > 50 and not load", True),
        ("load or speed >= 60", True),
        ("0 <= load < 1 < speed", True),
        ("speed * 2 - 100 == 20", True),
        ("-speed < -59.5 + load", True),
        ('sensor["motor 1"] != 3', False),
        ("mode == 'auto'", True),
        ("mode == 'manual' or (speed != 60)", False),
        ("not (speed > 50 or load > 5)", False),
        ("load", False),
        (" speed > 50 ", True),
    ],
)
def test_a_condition_is_read_as_it_is_written(text: str, *, holds: bool) -> None:
    condition = parse(text)
    assert condition.holds(VALUES) is holds
    arrays = {name: np.array([value, value]) for name, value in VALUES.items()}
    assert condition.holds(arrays).tolist() == [holds, holds]
    assert condition.sensors <= VALUES.keys()
    again = pickle.loads(pickle.dumps(condition))  # noqa: S301 - ours
    assert again == condition
    assert again.holds(VALUES) is holds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read"),
        ("speed >", "cannot be read"),
        ("1 > 0", "names no sensor"),
        ("speed = 50", "cannot be read"),
        ("speed + 1", "has 'speed + 1' at character 1, which is no part of a condition"),
        ("abs(speed) > 5", "has 'abs(speed)' at character 1"),
        ("speed > 5 and __import__('os')", "at character 15"),
        ("speed.real > 1", "has 'speed.real'"),
        ("speed in (1, 2)", "has '(1, 2)' at character 10"),
        ("speed == True", "has 'True' at character 10"),
        ("other['x'] > 1", "has \"other['x']\""),
        ("speed > [x for x in y]", "which is no part of a condition"),
        ("lambda: speed", "which is no part of a condition"),
        ("(" * 150 + "speed" + ")" * 150 + " > " + "-" * 600 + "1", "is nested too deeply"),
        ("speed > 1" + " " * 1000, "must be at most 1000 characters long"),
    ],
)
def test_what_is_no_condition_is_refused_with_the_place(text: str, said: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        parse(text)
    assert said in str(refused.value)


@given(st.text(max_size=60) | st.text("speed>=<()[]'\"and or not+-*/.1 ", max_size=60))
def test_no_text_is_more_than_refused(text: str) -> None:
    try:
        condition = parse(text)
    except ExpressionError:
        return
    assert condition.holds(dict.fromkeys(condition.sensors, math.inf)) in {True, False}
