"""Atomic files: the old content or the new one, never a part."""

from __future__ import annotations

import errno
from pathlib import Path
from unittest import mock

import pytest

from eaves.kit.files import load_file, save_file


def test_content_and_mode_are_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "state"
    save_file(path, b"one", mode=0o640)
    save_file(path, b"two", mode=0o600)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_leaves_the_old_content_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "state"
    save_file(path, b"old")
    with mock.patch("os.fsync", side_effect=OSError(errno.ENOSPC, "full")), pytest.raises(OSError, match="full"):
        save_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_a_missing_file_is_none(tmp_path: Path) -> None:
    assert load_file(tmp_path / "nothing") is None
