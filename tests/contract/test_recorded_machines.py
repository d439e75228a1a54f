"""Recordings of a real pump through a real broker and a real daemon."""

from __future__ import annotations

import pytest

from bench.detection import DATA, compare


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded machines in {DATA} (set ANOMALYD_DATA)")
def test_alerts_are_identical_live_and_in_replay() -> None:
    live, replayed, evaluation = compare(limit=3)
    assert live == replayed
    assert len(live) >= 2
    assert evaluation.f1 is not None
    assert evaluation.f1 > 0.4
