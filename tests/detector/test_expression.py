from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.categories import number_of
from detector.expression import ExpressionError, parse

VALUES = {"speed": 60.0, "load": 0.0, "motor 1": 3.0, "mode": number_of("auto"), "druck_µ": 5.0}


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
        ("speed == +60", True),
        ('sensor["motor 1"] != 3', False),
        ("mode == 'auto'", True),
        ("'auto' != mode", False),
        ("mode == 'manual' or (speed != 60)", False),
        ("not (speed > 50 or load > 5)", False),
        ("load", False),
        (" speed > 50 ", True),
        ("speed > 50\n  and load > 1  # when it presses\n", False),
        ("speed > 1e308 * 10", False),
        ("druck_µ == 5", True),
    ],
)
def test_a_condition_is_read_as_it_is_written(text: str, *, holds: bool) -> None:
    condition = parse(text)
    assert condition.holds(VALUES) is holds
    arrays = {name: np.array([value, value]) for name, value in VALUES.items()}
    assert condition.holds(arrays).tolist() == [holds, holds]
    assert condition.sensors <= VALUES.keys()
    again = pickle.loads(pickle.dumps(condition))  # noqa: S301 - it is our own
    assert again == condition
    assert again.holds(VALUES) is holds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (" ", "is empty"),
        ("# speed > 1", "names no sensor"),
        ("speed, load", "at character 1, which is no part"),
        ("()", "names no sensor"),
        ("speed >", "cannot be read at its end"),
        ("speed > 5 5", "cannot be read at character"),
        ("1 > 0", "names no sensor"),
        ("speed = 50", "where == may be meant"),
        ("speed + 1", "has 'speed + 1' at character 1, which is no part of a condition"),
        ("abs(speed) > 5", "has 'abs(speed)' at character 1"),
        ("speed > 5 and __import__('os')", "has \"__import__('os')\" at character 15"),
        ("   speed > 5 and f(1)", "at character 18"),
        ("größe > 5 and f(1)", "at character 15"),
        ("speed > 5\nand f(1)", "at character 15"),
        ("speed.real > 1", "has 'speed.real'"),
        ("speed in (1, 2)", "which is no part of a condition"),
        ("speed is 1", "has 'speed is 1'"),
        ("speed == True", "has 'True' at character 10"),
        ("speed == None", "has 'None' at character 10"),
        ("speed > 1j", "has '1j' at character 9"),
        ("speed // 2 > 1", "has 'speed // 2' at character 1"),
        ("other['x'] > 1", "has \"other['x']\""),
        ("sensor[1] > 1", "has 'sensor[1]'"),
        ("sensor[''] > 1", "which no sensor can be called"),
        ("speed > [x for x in y]", "which is no part of a condition"),
        ("lambda: speed", "which is no part of a condition"),
        ("(x := speed) > 1", "which is no part of a condition"),
        ("speed > 1) or (load > 1", "has brackets that do not match"),
        ("speed > " + "9" * 400, "at character 9, which is too large"),
        ("speed > 1e400", "which is too large"),
        ("mode > 'auto'", "a text is compared with a sensor, by == or !="),
        ("mode + 1 == 'auto'", "a text is compared with a sensor"),
        ("mode + 'auto' == 1", "has \"'auto'\" at character 8"),
        ("speed > 1 and 'a' == 'a'", "a text is compared with a sensor"),
        ("mode == ''", "which is not text of 1 to 256"),
        ("mode == '\\ud800'", "which is not text of 1 to 256"),
        ("not " * 60 + "speed", "has more than 50 pieces inside each other"),
        ("-" * 60 + "speed > 1", "has more than 50 pieces inside each other"),
        ("-" * 980 + "speed > 1", "has more than 50 pieces inside each other"),
        ("(" * 400 + "speed" + ")" * 400, "cannot be read"),
        ("speed > 1" + " " * 1000, "is longer than 1000 characters"),
        ("speed > 1\0", "cannot be read"),
        ("\ud800 > 1", "cannot be read"),
    ],
)
def test_what_is_no_condition_is_refused_with_the_place(text: str, said: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        parse(text)
    assert said in str(refused.value)


def test_a_long_condition_is_no_deep_one() -> None:
    assert parse(" or ".join(["load"] * 110 + ["speed"])).holds(VALUES)


WORDS = st.sampled_from(
    [*"()[]'\"=<>+-*/.#\n\\", " and ", " or ", "not ", "speed", "sensor", "µ", "ö", "1", "9e999", ">=", "=="]
)


@given(st.text(max_size=60) | st.lists(WORDS, max_size=20).map("".join))
def test_no_text_is_more_than_refused(text: str) -> None:
    try:
        condition = parse(text)
    except ExpressionError:
        return
    assert condition.holds(dict.fromkeys(condition.sensors, math.inf)) in {True, False}
