"""The log of a serial line: whole lines in the format of containers' logs, bounded whatever the guest does."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from eaves.node.vms.monitor import seriallog
from eaves.node.vms.monitor.seriallog import IDLE_S, SerialLog
from eaves.node.workloads.logs import Position, parse_chunk


@pytest.fixture
def log(tmp_path: Path) -> SerialLog:
    return SerialLog(str(tmp_path / "current.log"), str(tmp_path / "log.json"))


def read(folder: Path) -> list[str]:
    lines, _ = parse_chunk((folder / "current.log").read_bytes(), Position(), "app")
    return [line.text for line in lines]


def test_lines_reach_the_follower_as_they_were_written(log: SerialLog, tmp_path: Path) -> None:
    for piece in (b"Linux ver", b"sion 6\r", b"\nlogin: ", b"root\r\n"):
        log.write(piece)
    assert read(tmp_path) == ["Linux version 6", "login: root"]


def test_a_prompt_is_written_when_nothing_follows_and_joined_when_something_does(
    log: SerialLog, tmp_path: Path
) -> None:
    log.write(b"login: ")
    # By the clock that never jumps: a clock of the day that is put right must neither hold the prompt back nor break the wait for it.
    assert 0 < log.deadline - time.monotonic() <= IDLE_S
    log.flush()
    assert log.deadline == 0
    assert b"stdout P login: \n" in (tmp_path / "current.log").read_bytes()
    log.write(b"root\n")
    assert read(tmp_path) == ["login: root"]


def test_a_line_without_end_is_cut(log: SerialLog, tmp_path: Path) -> None:
    log.write(b"x" * 100_000)
    assert (tmp_path / "current.log").stat().st_size < 110_000
    log.write(b"\n")
    assert "".join(read(tmp_path)).count("x") == 100_000


def test_a_flood_that_nobody_takes_fills_no_disk(
    log: SerialLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seriallog, "SEGMENT_BYTES", 1000)
    (tmp_path / "log.json").write_text(json.dumps({"segment": 5}))
    for number in range(500):
        log.write(f"line {number} {'x' * 50}\n".encode())
    found = sorted(int(path.stem) for path in tmp_path.glob("*.log") if path.stem.isdecimal())
    assert len(found) <= seriallog.SEGMENTS_LIMIT
    assert found[-1] > 5
    assert sum(path.stat().st_size for path in tmp_path.glob("*.log")) < 12_000
    assert (
        "line 499" in (tmp_path / "current.log").read_text()
        or "line 499" in (tmp_path / f"{found[-1]}.log").read_text()
    )


def test_the_segment_that_the_daemon_reads_keeps_its_number(
    log: SerialLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seriallog, "SEGMENT_BYTES", 100)
    (tmp_path / "log.json").write_text(json.dumps({"segment": 5}))
    log.write(b"y" * 200 + b"\n")
    assert [path.stem for path in tmp_path.glob("[0-9]*.log")] == ["5"]


def test_a_dropped_segment_leaves_the_run_that_began_in_it(
    log: SerialLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seriallog, "SEGMENT_BYTES", 100)
    (tmp_path / "current.log").write_bytes(b"2026-01-01T00:00:00.000000000Z eaves F run7\n")
    for _ in range(seriallog.SEGMENTS_LIMIT + 2):
        log.write(b"z" * 200 + b"\n")
    assert (tmp_path / "1.run").read_text() == "run7"


def test_a_log_that_was_taken_away_is_made_anew(log: SerialLog, tmp_path: Path) -> None:
    log.write(b"one\n")
    (tmp_path / "current.log").rename(tmp_path / "1.log")
    log.reopen()
    log.write(b"two\n")
    assert read(tmp_path) == ["two"]
