"""The clock of one machine of a test: what Go's programs are built with, and what the others read."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from eaves.testing import movable_clock
from eaves.testing.movable_clock import MovableClock

DAY_S = 86_400
CALL = "	sec, nsec, mono := runtimeNow()\n"


def make_go(folder: Path, source: str | None) -> str:
    """A compiler that tells where its sources are; ``source``: its ``time/time.go``."""
    if source is not None:
        (folder / "root" / "src" / "time").mkdir(parents=True)
        (folder / "root" / "src" / "time" / "time.go").write_text(source)
    go = folder / "go"
    go.write_text(f"#!/bin/sh\necho '{folder}/root'\n")
    go.chmod(0o755)
    return str(go)


def test_one_call_is_changed_and_one_file_added(tmp_path: Path) -> None:
    go = make_go(tmp_path, f"package time\nfunc Now() Time {{\n{CALL}}}\n")
    overlay = movable_clock.write_overlay(go, tmp_path)
    assert overlay is not None
    time = tmp_path / "root" / "src" / "time"
    replaced = json.loads(overlay.read_text())["Replace"]
    assert sorted(replaced) == [str(time / "moved.go"), str(time / "time.go")]
    assert "sec, nsec, mono := movedNow()" in Path(replaced[str(time / "time.go")]).read_text()
    assert movable_clock.FILE in Path(replaced[str(time / "moved.go")]).read_text()


@pytest.mark.parametrize("source", [None, "package time\n", CALL + CALL], ids=["none", "another", "twice"])
def test_a_go_that_is_not_known_is_left_as_it_is(tmp_path: Path, source: str | None) -> None:
    assert movable_clock.write_overlay(make_go(tmp_path, source), tmp_path) is None


def test_a_clock_is_moved_in_place_and_read_by_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(movable_clock, "FILE", str(tmp_path / "seconds"))
    assert movable_clock.load_shift() == 0
    clock = MovableClock(tmp_path)
    mapped = (tmp_path / "seconds").stat().st_ino
    clock.move(430 * DAY_S)
    assert (tmp_path / "seconds").stat().st_ino == mapped
    assert struct.unpack("=q", (tmp_path / "seconds").read_bytes()) == (430 * DAY_S,)
    assert (tmp_path / "faketime").read_text() == f"+{430 * DAY_S}\n"
    assert movable_clock.load_shift() == 430 * DAY_S
    clock.move(-1)
    assert movable_clock.load_shift() == -1
