"""How far history may be cut."""

from __future__ import annotations

from eaves.store.sqlite.history import Horizon


def test_history_younger_than_its_age_is_kept() -> None:
    horizon = Horizon(age_s=600, count=1000)
    assert horizon.advance(0, 10) <= 0
    assert horizon.advance(599, 20) <= 0
    assert horizon.advance(600, 30) == 10
    assert horizon.advance(1199, 40) == 20


def test_history_beyond_its_count_is_cut_however_young() -> None:
    horizon = Horizon(age_s=600, count=100)
    assert horizon.advance(0, 5000) == 4900


def test_the_newest_version_is_never_cut() -> None:
    horizon = Horizon(age_s=600, count=0)
    assert horizon.advance(0, 50) == 49
    assert horizon.advance(601, 50) == 49
