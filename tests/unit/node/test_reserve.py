"""When space is kept back, and when it is given up."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from eaves.node.reserve import LOW_BYTES, PLENTY_BYTES, RESERVE_BYTES, Reserve


class _Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Says how much is free."""

    def say(free_bytes: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: _Usage(0, 0, free_bytes))

    return say


def test_with_plenty_of_room_space_is_really_taken(tmp_path: Path, free: Callable[[int], None]) -> None:
    free(PLENTY_BYTES + 1)
    Reserve(tmp_path).apply()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= RESERVE_BYTES


def test_it_is_given_up_when_the_disk_is_full_and_comes_back_later(tmp_path: Path, free: Callable[[int], None]) -> None:
    reserve = Reserve(tmp_path)
    free(PLENTY_BYTES + 1)
    reserve.apply()
    free(LOW_BYTES - 1)
    reserve.apply()
    assert not (tmp_path / "reserve").exists()
    free(LOW_BYTES + RESERVE_BYTES)
    reserve.apply()
    assert not (tmp_path / "reserve").exists()
    free(PLENTY_BYTES + 1)
    reserve.apply()
    assert (tmp_path / "reserve").exists()


def test_a_small_disk_keeps_nothing_back(tmp_path: Path, free: Callable[[int], None]) -> None:
    free(PLENTY_BYTES)
    Reserve(tmp_path).apply()
    assert not (tmp_path / "reserve").exists()
