from __future__ import annotations

import numpy as np

from detector.composition import LeftOut
from detector.labels import Label, LabelKind
from trainer.leaving_out import left_out, vouched

AT = np.arange(0, 2_000_000, 1_000)
FALSE = Label("press", LabelKind.FALSE_ALARM, 1_000_000, 1_100_000, 0)
ALERTED = [(1_000_000, 1_100_000), (1_110_000, 1_500_000)]
MARGIN = 60_000


def test_a_false_alarm_forgives_no_other_alert_beside_it() -> None:
    reasons = left_out(
        AT,
        labels=[FALSE],
        alerted=ALERTED,
        suspected=(),
        running=np.ones(len(AT), np.bool_),
        settle=0,
        margin=MARGIN,
    )
    other = (AT >= 1_110_000) & (AT <= 1_500_000)
    assert reasons[LeftOut.ALERT][other].all()
    assert not reasons[LeftOut.ALERT][(AT >= 1_000_000 - MARGIN) & (AT < 1_050_000)].any()


def test_what_is_around_a_false_alarm_is_vouched_for_but_not_another_alert() -> None:
    rows = AT[vouched(AT, [FALSE], ALERTED, MARGIN)]
    assert (rows[0], rows[-1]) == (1_000_000 - MARGIN, 1_100_000)
    assert AT[vouched(AT, [FALSE], ALERTED[:1], MARGIN)][-1] == 1_100_000 + MARGIN
    assert AT[vouched(AT, [FALSE], [(0, None)], MARGIN)][-1] == 1_100_000 + MARGIN, "it is that alert"
