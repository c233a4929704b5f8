"""Lines on disk: none lost, none doubled, never more than the quota."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from eaves.kit import process
from eaves.node.link.loglines import DeviceLogHandler
from eaves.node.link.logs import DEVICE, LogStore
from eaves.node.observed import LogLine
from eaves.wire import logfile, newlog
from eaves.wire.logfile import DeviceComment, encode_device_comment

APP = "50000000-0000-4000-8000-000000000001"
OTHER = "50000000-0000-4000-8000-000000000002"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextlib.asynccontextmanager
async def opened(
    folder: Path, *, quota_bytes: int = 1 << 30, clock: Callable[[], float] | None = None
) -> AsyncIterator[LogStore]:
    store = LogStore(
        folder,
        quota_bytes=quota_bytes,
        want_name=lambda app_id: f"name of {app_id[-1]}",
        want_comment=lambda: encode_device_comment(DeviceComment("d-1", "IMGA", "0.1")),
        clock=clock or Clock(),
    )
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def lines(count: int, first: int = 1, app_id: str = APP, text: str = "line") -> list[LogLine]:
    return [
        LogLine(app_id, number * 10**9, "stdout", f"{text} {number}", number) for number in range(first, first + count)
    ]


async def records(store: LogStore, stream: str = APP) -> list[newlog.LogRecord]:
    found: list[newlog.LogRecord] = []
    for file in await store.waiting():
        if file.stream == stream:
            data = await store.load(file)
            assert data is not None
            found += logfile.decode_log_file(data)[1].records
    return found


async def test_lines_come_out_as_they_went_in(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append_app([*lines(2), LogLine(OTHER, 5, "stderr", "ouch\n\x00ä", 1)])
        assert await store.waiting() == []
        await store.cut(0.0)
        first, second = await records(store)
        assert (first.content, first.number, first.time_ns, first.severity) == ("line 1", 1, 10**9, "info")
        assert second.number == 2
        (ouch,) = await records(store, OTHER)
        assert (ouch.content, ouch.severity, ouch.process) == ("ouch\n\x00ä", "error", "stderr")


async def test_headers_say_whose_logs_they_are(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append_app(lines(1))
        store.note_device(newlog.LogRecord("hello"))
        await store.cut(0.0)
        for file in await store.waiting():
            data = await store.load(file)
            assert data is not None
            member = logfile.decode_gzip(data)
            if file.stream == DEVICE:
                assert logfile.parse_device_comment(member.comment).device_id == "d-1"
            else:
                assert logfile.parse_app_name(member.name) == "name of 1"


async def test_only_old_or_large_segments_are_cut(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock=clock) as store:
        await store.append_app(lines(1))
        clock.now += 5
        await store.append_app(lines(1, app_id=OTHER))
        await store.cut(10.0)
        assert await store.waiting() == []
        clock.now += 5
        await store.cut(10.0)
        assert {file.stream for file in await store.waiting()} == {APP}
        await store.append_app(lines(6000, app_id=OTHER, text="x" * 80))
        await store.cut(10.0)
        assert {file.stream for file in await store.waiting()} == {APP, OTHER}


async def test_cut_can_be_asked_for_one_app(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append_app([*lines(1), *lines(1, app_id=OTHER)])
        await store.cut(0.0, [OTHER])
        assert {file.stream for file in await store.waiting()} == {OTHER}


async def test_no_file_is_larger_than_controllers_take(tmp_path: Path) -> None:
    source = random.Random(5)
    async with opened(tmp_path) as store:
        noise = [
            LogLine(APP, 1, "stdout", source.randbytes(source.choice([10, 900, 30_000])).hex(), n)
            for n in range(1, 120)
        ]
        await store.append_app(noise)
        await store.cut(0.0)
        files = await store.waiting()
        assert len(files) > 5
        assert max(file.size_bytes for file in files) <= 65_536
        assert [record.number for record in await records(store)] == list(range(1, 120))


async def test_lines_of_a_killed_daemon_are_all_there_once(tmp_path: Path) -> None:
    first = LogStore(tmp_path, quota_bytes=1 << 30, want_name=str, want_comment=str)
    await first.open()
    await first.append_app(lines(3))
    # Nothing of it is closed: the next store finds what a killed process leaves.
    async with opened(tmp_path) as store:
        await store.append_app(lines(2, first=4))
        await store.cut(0.0)
        assert [record.number for record in await records(store)] == [1, 2, 3, 4, 5]
    await first.close()


async def test_a_run_that_starts_at_the_moment_of_the_last_one_packs_nothing_over_its_lines(tmp_path: Path) -> None:
    for first in (1, 4):
        store = LogStore(tmp_path, quota_bytes=1 << 30, want_name=str, want_comment=str, now=lambda: 1e9)
        await store.open()
        await store.append_app(lines(3, first=first))
        await store.cut(0.0)
        kept = [record.number for record in await records(store)]
        await store.close()
    assert kept == [1, 2, 3, 4, 5, 6]


async def test_lines_that_the_engine_hands_on_again_are_kept_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append_app(lines(4))
        await store.append_app(lines(4, first=2))
    async with opened(tmp_path) as store:
        await store.append_app(lines(5, first=2))
        await store.cut(0.0)
        assert [record.number for record in await records(store)] == [1, 2, 3, 4, 5, 6]
        for file in await store.waiting():
            await store.remove(file)
    async with opened(tmp_path) as store:
        await store.append_app(lines(6, first=2))
        await store.cut(0.0)
        assert [record.number for record in await records(store)] == [7]


async def test_app_that_was_removed_and_came_again_counts_from_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append_app(lines(4))
        await store.append_app(
            [LogLine(APP, 9 * 10**9, "stdout", "anew", 1), LogLine(APP, 9 * 10**9, "stdout", "b", 2)]
        )
        await store.cut(0.0)
        assert [record.number for record in await records(store)] == [1, 2, 3, 4, 1, 2]


async def test_run_travels_as_a_tag(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append_app([LogLine(APP, 1, "stdout", "x", 1, "run-7")])
        await store.cut(0.0)
        (record,) = await records(store)
        assert record.tags == {"run": "run-7"}


async def test_kill_between_packing_and_cleaning_up_doubles_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append_app(lines(3))
        (segment,) = (tmp_path / "journal").iterdir()
        copy = segment.read_bytes()
        await store.cut(0.0)
        segment.write_bytes(copy)
        assert await store.waiting() == [], "a file whose segment is still there is not finished"
    async with opened(tmp_path) as store:
        assert [record.number for record in await records(store)] == [1, 2, 3]


async def test_line_torn_by_a_power_cut_is_left_out(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append_app(lines(3))
        (segment,) = (tmp_path / "journal").iterdir()
    segment.write_bytes(segment.read_bytes()[:-5])
    async with opened(tmp_path) as store:
        assert [record.number for record in await records(store)] == [1, 2]


async def test_device_lines_are_numbered_upwards_across_restarts(tmp_path: Path) -> None:
    for text in ("one", "two"):
        async with opened(tmp_path) as store:
            for _ in range(3):
                store.note_device(newlog.LogRecord(text))
            await store.cut(0.0)
            numbers = [record.number for record in await records(store, DEVICE)]
    assert len(numbers) == 6
    assert numbers == sorted(set(numbers))


async def test_quota_drops_the_oldest(tmp_path: Path) -> None:
    source = random.Random(5)
    async with opened(tmp_path, quota_bytes=60_000) as store:
        for number in range(1, 9):
            text = source.randbytes(12_000).hex()
            await store.append_app([LogLine(APP, 1, "stdout", text, number)])
            await store.cut(0.0)
        kept = [record.number for record in await records(store)]
        assert kept == list(range(kept[0], 9))
        assert kept[0] > 1
        assert sum(file.size_bytes for file in await store.waiting()) <= 60_000
        assert store.dropped_files == kept[0] - 1


async def test_refused_files_are_kept_apart_and_bounded(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(1, 4):
            await store.append_app(lines(1, first=number))
            await store.cut(0.0)
        for file in await store.waiting():
            await store.set_aside(file, 2)
        assert await store.waiting() == []
        assert len(list((tmp_path / "failedUpload").iterdir())) == 2


async def test_file_that_the_quota_took_meanwhile_is_no_error(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append_app(lines(1))
        await store.cut(0.0)
        (file,) = await store.waiting()
        await store.remove(file)
        assert await store.load(file) is None
        await store.remove(file)
        await store.set_aside(file, 5)


async def test_stream_that_is_no_app_reaches_no_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append_app([LogLine("../../etc/x", 1, "stdout", "hi", 1)])
        assert list((tmp_path / "journal").iterdir()) == []


async def test_log_records_of_the_daemon_are_device_lines(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        logger = logging.getLogger("test-device-lines")
        logger.propagate = False
        handler = DeviceLogHandler(store.note_device)
        logger.addHandler(handler)
        try:
            logger.warning("message: value=%d", 5)
            logger.debug("too fine")
            try:
                int("why")
            except ValueError:
                logger.exception("failed")
        finally:
            logger.removeHandler(handler)
        await store.cut(0.0)
        first, second = await records(store, DEVICE)
        assert (first.content, first.severity, first.source) == ("message: value=5", "warning", "test-device-lines")
        assert second.content == "failed: ValueError: invalid literal for int() with base 10: 'why'"


FULL_DISK = """
import asyncio, sys
from pathlib import Path
from eaves.node.link.logs import LogStore
from eaves.node.observed import LogLine

async def main():
    store = LogStore(Path(sys.argv[1]), quota_bytes=1 << 30, want_name=str, want_comment=str)
    await store.open()
    text = "".join(chr(33 + (i * 7919) % 90) for i in range(4000))
    number = 0
    for round in range(400):
        batch = []
        for _ in range(5):
            number += 1
            batch.append(LogLine("50000000-0000-4000-8000-000000000001", 1, "stdout", f"{number} {hash(number)} {text[round:]}" , number))
        await store.append_app(batch)
        await store.cut(0.0)
    print(number, store.dropped_files, store.dropped_lines)
    await store.close()

asyncio.run(main())
"""


@pytest.mark.contract
async def test_full_disk_costs_the_oldest_files_and_never_the_daemon(tmp_path: Path) -> None:
    """On a real, tiny file system."""
    if os.geteuid() != 0:
        pytest.fail("this test mounts a tmpfs and needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    await process.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)])
    try:
        done = await process.run([sys.executable, "-c", FULL_DISK, str(disk)])
        written, dropped_files, _ = (int(word) for word in done.text.split())
        assert written == 2000
        assert dropped_files > 0
        async with opened(disk) as store:
            numbers = [record.number for record in await records(store)]
        assert numbers == sorted(set(numbers))
        assert numbers[-1] == written
    finally:
        await process.run(["umount", str(disk)])
