"""The epoch of the store, and the stamps of configs that prove a later one."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.controller.epoch import StoreEpoch, content_of, parse_stamp, stamp_hash
from eaves.store.sqlite.credentials import SqliteCredentials
from eaves.store.sqlite.objects import SqliteStore

SECRET = b"secret"
NOW = 2_000_000_000


async def epoch_of(path: Path, now: float, file: Path | None = None) -> int:
    """As at a start of the controller."""
    store = await SqliteStore.open(path)
    try:
        return await StoreEpoch(SqliteCredentials(store), lambda: now, file).want()
    finally:
        await store.close()


async def test_a_restart_leaves_the_epoch_and_another_file_makes_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "objects.db"
    assert await epoch_of(path, NOW, path) == NOW
    assert await epoch_of(path, NOW + 5, path) == NOW
    copy = tmp_path / "copy.db"
    shutil.copy2(path, copy)
    assert await epoch_of(copy, NOW + 9, copy) == NOW + 9
    assert await epoch_of(copy, NOW + 99, copy) == NOW + 9


async def test_it_is_renewed_once_for_all_who_ask_at_the_start(tmp_path: Path) -> None:
    path, copy = tmp_path / "objects.db", tmp_path / "copy.db"
    await epoch_of(path, NOW, path)
    shutil.copy2(path, copy)
    store = await SqliteStore.open(copy)
    try:
        epoch = StoreEpoch(SqliteCredentials(store), lambda: NOW, copy)
        assert set(await asyncio.gather(*(epoch.want() for _ in range(9)))) == {NOW + 1}
    finally:
        await store.close()


async def test_it_is_renewed_on_on_demand_and_never_goes_back(tmp_path: Path) -> None:
    path, now = tmp_path / "objects.db", [float(NOW)]
    store = await SqliteStore.open(path)
    try:
        epoch = StoreEpoch(SqliteCredentials(store), lambda: now[0])
        assert await epoch.want() == NOW
        now[0] -= 1000
        assert await epoch.renew() == await epoch.want() == NOW + 1
    finally:
        await store.close()
    assert await epoch_of(path, NOW + 7) == NOW + 1


def test_a_stamp_tells_the_time_to_whom_it_was_made_for_alone() -> None:
    stamped = stamp_hash("abc_-", NOW, "device-1", SECRET)
    assert content_of(stamped) == "abc_-"
    assert parse_stamp(stamped, "device-1", SECRET) == NOW
    assert parse_stamp(stamped, "device-2", SECRET) == 0
    assert parse_stamp(stamped, "device-1", b"other") == 0
    assert parse_stamp(stamped.replace(str(NOW), str(NOW + 1)), "device-1", SECRET) == 0


@pytest.mark.parametrize(
    "text", ["", "abc", "abc.", "abc.12", "abc..", "abc.1.", "abc.²." + "0" * 16, "abc.-1.x", "a.1.ü"]
)
def test_a_hash_without_a_stamp_proves_nothing(text: str) -> None:
    assert parse_stamp(text, "device-1", SECRET) == 0
    assert content_of("abc") == "abc"


@given(st.text())
def test_no_text_is_a_stamp_by_chance(text: str) -> None:
    assert parse_stamp(text, "device-1", SECRET) == 0
