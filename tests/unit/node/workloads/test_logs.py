"""Numbered lines out of what conmon writes: nothing lost, nothing twice, wherever the file is cut."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eaves.node.inotify import FolderWatch
from eaves.node.observed import LogLine
from eaves.node.statefile import StateFile
from eaves.node.workloads import logs
from eaves.node.workloads.logs import (
    LogFollower,
    Position,
    current_log,
    find_last_run,
    parse_chunk,
    parse_time_ns,
    render_mark,
)

STAMP = "2026-01-31T10:00:00.123456789+00:00"
STAMP_NS = 1769853600123456789


def entry(text: str, stream: str = "stdout", tag: str = "F") -> bytes:
    return f"{STAMP} {stream} {tag} {text}\n".encode()


def test_time_is_read_to_the_nanosecond() -> None:
    assert parse_time_ns(STAMP.encode()) == STAMP_NS
    assert parse_time_ns(b"2026-01-31T11:00:00.5+01:00") == STAMP_NS - 123456789 + 500_000_000
    assert parse_time_ns(b"2026-01-31T10:00:00Z") == STAMP_NS - 123456789
    assert parse_time_ns(b"2026-13-31T10:00:00Z") == 0
    assert parse_time_ns(b"junk") == 0


def test_lines_are_numbered_and_parts_joined_per_stream() -> None:
    data = entry("a ", tag="P") + entry("err", "stderr") + entry("b", tag="P") + entry("c") + entry("")
    lines, position = parse_chunk(data, Position(number=5), "app")
    assert [(line.number, line.stream, line.text) for line in lines] == [
        (5, "stderr", "err"),
        (6, "stdout", "a bc"),
        (7, "stdout", ""),
    ]
    assert all(line.time_ns == STAMP_NS for line in lines)
    assert (position.offset, position.number, position.pending) == (len(data), 8, {})


def test_endless_line_is_cut() -> None:
    part = entry("x" * 8000, tag="P")
    lines, position = parse_chunk(part * 9, Position(), "app")
    assert [len(line.text) for line in lines] == [40_000]
    assert len(position.pending["stdout"].text) == 32_000


def test_what_a_power_cut_leaves_is_a_line_too() -> None:
    lines, _ = parse_chunk(b"\0\0\0half an ent\n" + entry("next"), Position(time_ns=7), "app")
    assert [(line.text, line.time_ns) for line in lines] == [("half an ent", 7), ("next", STAMP_NS)]


def test_lines_tell_which_start_wrote_them() -> None:
    mark = render_mark("second", STAMP_NS)
    data = entry("old") + entry("torn", "stderr", "P") + mark + entry("new") + entry("err", "stderr")
    lines, position = parse_chunk(data, Position(run="first"), "app")
    assert [(line.number, line.text, line.run) for line in lines] == [
        (1, "old", "first"),
        (2, "torn", "first"),
        (3, "new", "second"),
        (4, "err", "second"),
    ]
    assert position.run == "second"
    assert position.pending == {}


def test_mark_after_half_an_entry_counts_and_an_app_cannot_write_one() -> None:
    mark = render_mark("second", STAMP_NS)
    lines, position = parse_chunk(b"2026-01-31T10:00" + mark, Position(run="first"), "app")
    assert [(line.text, line.run) for line in lines] == [("2026-01-31T10:00", "first")]
    assert position.run == "second"
    forged = entry(mark.decode().strip())
    lines, position = parse_chunk(forged, Position(run="first"), "app")
    assert (lines[0].run, position.run) == ("first", "first")
    assert find_last_run(mark + render_mark("third", STAMP_NS) + forged) == "third"
    assert find_last_run(forged) == ""


@settings(max_examples=300)
@given(
    entries=st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=20),
            st.sampled_from(["stdout", "stderr", "mark"]),
            st.sampled_from("FP"),
        ),
        max_size=30,
    ),
    cuts=st.lists(st.integers(0, 2000), max_size=6),
)
def test_wherever_it_is_cut_the_lines_are_the_same(entries: list[tuple[str, str, str]], cuts: list[int]) -> None:
    data = b"".join(
        entry(text, stream, tag) if stream != "mark" else render_mark(f"run{number}", STAMP_NS)
        for number, (text, stream, tag) in enumerate(entries)
    )
    whole, end = parse_chunk(data, Position(), "app")
    position, pieces = Position(), list[LogLine]()
    for cut in [*sorted(cuts), len(data)]:
        lines, position = parse_chunk(data[position.offset : max(cut, position.offset)], position, "app")
        pieces += lines
    assert pieces == whole
    assert position == end


class Follow:
    """A follower over a folder, as a daemon has it; ``reopen`` does what conmon does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "log"
        self.state = folder / "position.json"
        self.lines: list[LogLine] = []
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def deliver(self, lines: list[LogLine]) -> None:
        await self.gate.wait()
        self.lines += lines
        self.arrived.set()

    async def reopen(self) -> bool:
        await asyncio.to_thread(current_log(self.folder).touch)
        return True

    async def during(self, body: Callable[[], Awaitable[None]]) -> None:
        watch = FolderWatch()
        state = StateFile(self.state, Position)
        self.follower = LogFollower("app", self.folder, state, self.deliver, self.reopen, watch)
        task = asyncio.create_task(self.follower.run())
        try:
            await body()
        finally:
            task.cancel()
            await asyncio.wait([task])
            watch.close()

    def write(self, *texts: str) -> None:
        self.folder.mkdir(exist_ok=True)
        with current_log(self.folder).open("ab") as file:
            file.write(b"".join(entry(text) for text in texts))

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.lines) < count:
                self.arrived.clear()
                await self.arrived.wait()


async def test_lines_come_as_they_are_written_and_go_on_after_a_restart(tmp_path: Path) -> None:
    follow = Follow(tmp_path)
    follow.write("one")

    async def first() -> None:
        await follow.wait(1)
        follow.write("two")
        await follow.wait(2)

    await follow.during(first)
    follow.write("three")

    async def second() -> None:
        await follow.wait(3)

    await follow.during(second)
    assert [(line.number, line.text) for line in follow.lines] == [(1, "one"), (2, "two"), (3, "three")]


async def test_big_log_is_cut_and_no_line_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "SEGMENT_BYTES", 20_000)
    monkeypatch.setattr(logs, "SAVE_EVERY_S", 0.001)
    follow = Follow(tmp_path)
    texts = [f"line {number} {'x' * 100}" for number in range(20_000)]

    async def body() -> None:
        for start in range(0, len(texts), 100):
            follow.write(*texts[start : start + 100])
            await follow.wait(start + 100)

    await follow.during(body)
    assert [line.text for line in follow.lines] == texts
    assert [line.number for line in follow.lines] == list(range(1, len(texts) + 1))
    assert sum(path.stat().st_size for path in follow.folder.iterdir()) < 1_000_000
    position = await StateFile(follow.state, Position).load()
    assert position.segment > 5


async def test_daemon_that_died_while_cutting_reads_on(tmp_path: Path) -> None:
    follow = Follow(tmp_path)
    follow.write("one", "two")
    current_log(follow.folder).rename(follow.folder / "1.log")

    async def body() -> None:
        await follow.wait(2)
        async with asyncio.timeout(60):
            while not current_log(follow.folder).exists():  # noqa: ASYNC110 - made from a thread
                await asyncio.sleep(0.01)
        follow.write("three")
        await follow.wait(3)

    await follow.during(body)
    assert [line.text for line in follow.lines] == ["one", "two", "three"]
    assert not (follow.folder / "1.log").exists()


async def test_dropped_segments_leave_a_note(tmp_path: Path) -> None:
    follow = Follow(tmp_path)
    follow.write("new")
    follow.folder.joinpath("3.log").write_bytes(entry("old"))

    async def body() -> None:
        await follow.wait(4)

    await follow.during(body)
    texts = [line.text for line in follow.lines]
    assert texts[-2:] == ["old", "new"]
    assert all("dropped" in text for text in texts[:-2])


async def test_receiver_that_takes_nothing_does_not_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SEGMENT_BYTES", 10_000)
    monkeypatch.setattr(logs, "SEGMENTS_LIMIT", 3)
    monkeypatch.setattr(logs, "SAVE_EVERY_S", 0.001)
    follow = Follow(tmp_path)

    async def body() -> None:
        follow.gate.clear()
        for number in range(30):
            follow.write(*(f"line {number} {'x' * 100}" for _ in range(100)))
            async with asyncio.timeout(60):
                while not follow.folder.joinpath(f"{number + 1}.log").exists():  # noqa: ASYNC110 - cut in a thread
                    await asyncio.sleep(0.002)
        assert len(list(follow.folder.glob("[0-9]*.log"))) <= 4
        follow.gate.set()
        follow.write("last")
        async with asyncio.timeout(60):
            while not any(line.text == "last" for line in follow.lines):
                follow.arrived.clear()
                await follow.arrived.wait()

    await follow.during(body)
    numbers = [line.number for line in follow.lines]
    assert numbers == list(range(1, len(numbers) + 1))
    assert any("dropped" in line.text for line in follow.lines)


async def test_runs_are_told_apart_across_restarts_of_the_daemon(tmp_path: Path) -> None:
    follow = Follow(tmp_path)

    async def first() -> None:
        await follow.follower.begin_run("a")
        follow.write("one")
        await follow.wait(1)
        await follow.follower.begin_run("never_started")
        await follow.follower.begin_run("b")
        follow.write("two")

    follow.folder.mkdir()
    await follow.during(first)
    follow.write("three")

    async def second() -> None:
        await follow.wait(3)

    await follow.during(second)
    assert {line.number: (line.text, line.run) for line in follow.lines} == {
        1: ("one", "a"),
        2: ("two", "b"),
        3: ("three", "b"),
    }


async def test_a_start_is_known_though_the_segment_with_its_mark_was_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SEGMENTS_LIMIT", 1)
    follow = Follow(tmp_path)
    follow.write("new")
    follow.folder.joinpath("1.log").write_bytes(render_mark("a", STAMP_NS) + entry("x") + render_mark("b", STAMP_NS))
    follow.folder.joinpath("2.log").write_bytes(entry("old"))

    async def body() -> None:
        follow.gate.clear()
        async with asyncio.timeout(60):
            while follow.folder.joinpath("1.log").exists():  # noqa: ASYNC110 - cut in a thread
                await asyncio.sleep(0.002)
        follow.gate.set()
        # Whether lines of the dropped segment were taken before is open; the newest comes last.
        while not follow.lines or follow.lines[-1].text != "new":
            await follow.wait(len(follow.lines) + 1)

    await follow.during(body)
    assert [(line.text, line.run) for line in follow.lines][-2:] == [("old", "b"), ("new", "b")]
    assert sorted(path.name for path in follow.folder.iterdir()) == ["current.log"]


async def test_line_that_goes_on_in_the_next_segment_is_whole(tmp_path: Path) -> None:
    follow = Follow(tmp_path)
    follow.write()
    follow.folder.joinpath("1.log").write_bytes(entry("begin ", tag="P"))
    current_log(follow.folder).write_bytes(entry("end"))

    async def body() -> None:
        await follow.wait(1)

    await follow.during(body)
    assert [line.text for line in follow.lines] == ["begin end"]
