"""Logs and records: kept once, read in order, followed, bounded."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from eaves.store.sqlite import telemetry as telemetry_of_sqlite
from eaves.store.sqlite.retention import TelemetryOptions
from eaves.store.telemetry import LogLine, LogPage, LogRun, LogSource, Record, RecordKind
from eaves.testing.stores import Stores, eventually, open_stores

APP = LogSource("", "app")
OWN = LogSource("dev", "")


def lines(*numbers: int, run: str = "", size: int = 0) -> list[LogLine]:
    return [
        LogLine(1000 + number, "info", "test", f"line {number}".ljust(size, "."), number, run) for number in numbers
    ]


def numbers(page: LogPage) -> list[int]:
    return [line.number for line in page.lines]


async def test_lines_come_back_as_they_were_in_the_order_of_arrival(stores: Stores) -> None:
    sent = [*lines(*range(300)), LogLine(5, "error", "ünit", "late, with \x00 and 🙂", 7, "run-1")]
    assert await stores.telemetry.append_logs("dev", "app", sent) == 301
    page = await stores.telemetry.read_logs(APP)
    assert list(page.lines) == sent
    assert (await stores.telemetry.read_logs(APP, after=page.cursor)).lines == []


async def test_text_that_is_no_unicode_is_kept_as_well_as_can_be(stores: Stores) -> None:
    await stores.telemetry.append_logs("dev", "app", [LogLine(1, "info", "s", "bad \ud800 half", 1), *lines(2)])
    assert [line.text for line in (await stores.telemetry.read_logs(APP)).lines] == ["bad ? half", "line 2"]


async def test_lines_that_are_sent_again_are_kept_once(stores: Stores) -> None:
    telemetry = stores.telemetry
    assert await telemetry.append_logs("dev", "app", lines(1, 2, 3)) == 3
    assert await telemetry.append_logs("dev", "app", lines(1, 2, 3)) == 0
    assert await telemetry.append_logs("dev", "app", lines(2, 3, 4, 4)) == 1
    assert await telemetry.append_logs("dev", "other", lines(1)) == 1
    assert await telemetry.append_logs("dev", "app", []) == 0
    assert numbers(await telemetry.read_logs(APP)) == [1, 2, 3, 4]


async def test_a_source_is_an_app_anywhere_an_app_on_a_device_or_a_device_itself(stores: Stores) -> None:
    telemetry = stores.telemetry
    await telemetry.append_logs("dev", "app", lines(1))
    await telemetry.append_logs("dev2", "app", lines(2))
    await telemetry.append_logs("dev", "", lines(3))
    await telemetry.append_logs("dev", "app", lines(4))
    assert numbers(await telemetry.read_logs(APP)) == [1, 2, 4]
    assert numbers(await telemetry.read_logs(LogSource("dev2", "app"))) == [2]
    assert numbers(await telemetry.read_logs(OWN)) == [3]
    assert numbers(await telemetry.read_logs(LogSource("nobody", ""))) == []


async def test_tail_since_run_and_limits(stores: Stores) -> None:
    read = stores.telemetry.read_logs
    await stores.telemetry.append_logs("dev", "app", lines(*range(5), run="one"))
    await stores.telemetry.append_logs("dev2", "app", lines(*range(5, 10), run="two"))
    assert numbers(await read(APP, tail=3)) == [7, 8, 9]
    assert numbers(await read(APP, tail=30)) == list(range(10))
    assert numbers(await read(APP, since_ns=1008)) == [8, 9]
    assert numbers(await read(APP, tail=2, run="one")) == [3, 4]
    assert numbers(await read(APP, tail=3, since_ns=1009)) == [9]
    assert numbers(await read(APP, run="two", since_ns=1007)) == [7, 8, 9]
    first = await read(APP, limit_lines=4)
    assert numbers(first) == [0, 1, 2, 3]
    assert numbers(await read(APP, after=first.cursor, limit_bytes=13)) == [4, 5]
    assert numbers(await read(APP, after=first.cursor, limit_bytes=1)) == [4]
    nothing_yet = await read(APP, tail=0)
    assert numbers(nothing_yet) == []
    await stores.telemetry.append_logs("dev", "app", lines(77))
    assert numbers(await read(APP, after=nothing_yet.cursor)) == [77]


async def test_runs_tell_where_the_previous_one_is(stores: Stores) -> None:
    await stores.telemetry.append_logs("dev", "app", [*lines(1, 2, run="b"), *lines(3, run="a")])
    await stores.telemetry.append_logs("dev", "app", lines(4, run="a"))
    runs = await stores.telemetry.list_runs(APP)
    assert [(run.run, run.first_ns, run.device_id) for run in runs] == [("b", 1001, "dev"), ("a", 1003, "dev")]
    previous = runs[-2]
    assert isinstance(previous, LogRun)
    assert numbers(await stores.telemetry.read_logs(APP, run=previous.run)) == [1, 2]
    assert (await stores.telemetry.read_logs(APP)).cursor == runs[-1].last_cursor


async def test_a_follower_wakes_for_its_source_alone(stores: Stores) -> None:
    telemetry = stores.telemetry
    assert not await telemetry.wait_logs(APP, after=0, timeout_s=0.01)
    waiting = [
        asyncio.ensure_future(telemetry.wait_logs(source, after=0, timeout_s=10))
        for source in (APP, LogSource("dev", "app"), APP)
    ]
    own = asyncio.ensure_future(telemetry.wait_logs(OWN, after=0, timeout_s=10))
    await asyncio.sleep(0)
    await telemetry.append_logs("dev", "app", lines(1))
    assert await asyncio.gather(*waiting) == [True, True, True]
    assert not own.done()
    await telemetry.append_logs("dev", "", lines(2))
    assert await own
    assert await telemetry.wait_logs(APP, after=0, timeout_s=0)


async def test_a_follower_misses_and_repeats_nothing(stores: Stores) -> None:
    async def follow() -> list[int]:
        seen: list[int] = []
        cursor = 0
        while len(seen) < 400:
            assert await stores.telemetry.wait_logs(APP, after=cursor, timeout_s=10)
            page = await stores.telemetry.read_logs(APP, after=cursor, limit_lines=7)
            seen += numbers(page)
            cursor = page.cursor
        return seen

    async def send(start: int) -> None:
        for number in range(start, start + 100, 5):
            await stores.telemetry.append_logs("dev", "app", lines(*range(number, number + 5)))

    following = asyncio.create_task(follow())
    await asyncio.gather(*(send(start) for start in range(0, 400, 100)))
    seen = await following
    assert sorted(seen) == list(range(400))
    assert seen == numbers(await stores.telemetry.read_logs(APP))


async def test_records_answer_the_latest_and_a_series(stores: Stores) -> None:
    telemetry = stores.telemetry
    for number in range(5):
        await telemetry.append_record(RecordKind.METRICS, "dev", number, b"m%d" % number)
    await telemetry.append_record(RecordKind.FLOWS, "dev", 9, b"f")
    latest = await telemetry.latest(RecordKind.METRICS, "dev")
    assert isinstance(latest, Record)
    assert (latest.time_ns, latest.payload) == (4, b"m4")
    series = await telemetry.list_records(RecordKind.METRICS, "dev", limit=3)
    assert [record.payload for record in series] == [b"m2", b"m3", b"m4"]
    assert await telemetry.list_records(RecordKind.METRICS, "dev", since_ns=latest.received_ns + 1) == []
    assert await telemetry.latest(RecordKind.METRICS, "dev2") is None


@pytest.fixture
def clock() -> Callable[[], int]:
    """A second passes at each look."""
    seconds = itertools.count(1)
    return lambda: next(seconds) * 10**9


async def test_everything_acknowledged_is_there_after_reopening_and_numbers_go_on(engine: str, tmp_path: Path) -> None:
    stores = await open_stores(engine, tmp_path)
    await stores.telemetry.append_logs("dev", "app", lines(1, 2))
    await stores.telemetry.append_record(RecordKind.METRICS, "dev", 1, b"m")
    cursor = (await stores.telemetry.read_logs(APP)).cursor
    await stores.close()
    stores = await open_stores(engine, tmp_path)
    await stores.telemetry.append_logs("dev", "app", lines(2, 3))
    assert numbers(await stores.telemetry.read_logs(APP, after=cursor)) == [3]
    assert await stores.telemetry.latest(RecordKind.METRICS, "dev")
    await stores.close()


async def test_a_device_that_floods_loses_its_own_oldest_lines_only(engine: str, tmp_path: Path) -> None:
    stores = await open_stores(engine, tmp_path, telemetry=TelemetryOptions(device_log_bytes=200_000))
    await stores.telemetry.append_logs("quiet", "", lines(1))
    for start in range(0, 3000, 100):
        await stores.telemetry.append_logs("loud", "app", lines(*range(start, start + 100), size=100, run=f"r{start}"))
    kept = numbers(await stores.telemetry.read_logs(LogSource("loud", "app"), limit_lines=10_000))
    assert 800 <= len(kept) <= 1100
    assert kept == list(range(3000 - len(kept), 3000))
    assert len(await stores.telemetry.list_runs(LogSource("loud", "app"))) == len(kept) // 100
    assert numbers(await stores.telemetry.read_logs(LogSource("quiet", ""))) == [1]
    await stores.close()


async def test_a_device_that_sends_large_records_loses_its_own_oldest(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry_of_sqlite, "TRIM_CHANCE", 1.0)
    stores = await open_stores(engine, tmp_path, telemetry=TelemetryOptions(kept_record_bytes=50_000))
    await stores.telemetry.append_record(RecordKind.FLOWS, "quiet", 1, b"x")
    for number in range(20):
        await stores.telemetry.append_record(RecordKind.FLOWS, "loud", number, bytes(10_000))
    kept = await stores.telemetry.list_records(RecordKind.FLOWS, "loud")
    assert [record.time_ns for record in kept] == [15, 16, 17, 18, 19]
    await stores.telemetry.append_record(RecordKind.FLOWS, "loud", 20, bytes(60_000))
    assert [record.time_ns for record in await stores.telemetry.list_records(RecordKind.FLOWS, "loud")] == [20]
    assert len(await stores.telemetry.list_records(RecordKind.FLOWS, "quiet")) == 1
    await stores.close()


async def test_one_upload_larger_than_the_devices_bound_is_kept(engine: str, tmp_path: Path) -> None:
    stores = await open_stores(engine, tmp_path, telemetry=TelemetryOptions(device_log_bytes=1000))
    await stores.telemetry.append_logs("loud", "app", lines(*range(100)))
    await stores.telemetry.append_logs("loud", "app", lines(*range(100, 200)))
    assert numbers(await stores.telemetry.read_logs(APP)) == list(range(100, 200))
    await stores.close()


async def test_what_is_too_old_goes_but_the_newest_record_stays(
    engine: str, tmp_path: Path, clock: Callable[[], int]
) -> None:
    options = TelemetryOptions(max_age_s=10, check_every_s=0.01)
    stores = await open_stores(engine, tmp_path, telemetry=options, time_ns=clock)
    await stores.telemetry.append_logs("dev", "app", lines(1))
    await stores.telemetry.append_record(RecordKind.METRICS, "dev", 1, b"old")
    await stores.telemetry.append_record(RecordKind.METRICS, "dev", 1, b"newest")

    async def is_old_gone() -> bool:
        records = await stores.telemetry.list_records(RecordKind.METRICS, "dev")
        return not (await stores.telemetry.read_logs(APP)).lines and len(records) == 1

    await eventually(is_old_gone)
    latest = await stores.telemetry.latest(RecordKind.METRICS, "dev")
    assert latest is not None
    assert latest.payload == b"newest"
    assert await stores.telemetry.append_logs("dev", "app", lines(1)) == 1
    await stores.close()


async def test_size_is_bounded_oldest_first_over_logs_and_records(engine: str, tmp_path: Path) -> None:
    options = TelemetryOptions(max_bytes=1 << 20, check_every_s=0.01, kept_records=dict.fromkeys(RecordKind, 1000))
    stores = await open_stores(engine, tmp_path, telemetry=options)
    telemetry = stores.telemetry
    for number in range(400):
        await telemetry.append_logs(f"dev{number % 10}", "app", lines(number, size=4000))
        await telemetry.append_record(RecordKind.FLOWS, f"dev{number % 10}", number, b"x" * 4000)

    async def is_small() -> bool:
        return len(numbers(await telemetry.read_logs(APP, limit_bytes=1 << 30))) < 200

    await eventually(is_small)
    kept = numbers(await telemetry.read_logs(APP, limit_bytes=1 << 30))
    assert kept == list(range(400 - len(kept), 400))
    flows = await telemetry.list_records(RecordKind.FLOWS, "dev9", limit=1000)
    assert [record.time_ns for record in flows] == list(range(409 - 10 * len(flows), 400, 10))
    assert 0 < len(flows) < 30
    await stores.close()


async def test_each_device_keeps_a_bounded_series_of_each_kind(engine: str, tmp_path: Path) -> None:
    options = TelemetryOptions(kept_records={**dict.fromkeys(RecordKind, 1000), RecordKind.METRICS: 5})
    stores = await open_stores(engine, tmp_path, telemetry=options)
    await stores.telemetry.append_record(RecordKind.METRICS, "quiet", 0, b"m")
    for number in range(300):
        await stores.telemetry.append_record(RecordKind.METRICS, "loud", number, b"m")
    assert 5 <= len(await stores.telemetry.list_records(RecordKind.METRICS, "loud", limit=1000)) < 150
    assert await stores.telemetry.latest(RecordKind.METRICS, "quiet")
    await stores.close()


async def test_a_removed_device_leaves_no_telemetry(stores: Stores) -> None:
    await stores.telemetry.append_logs("dev", "app", lines(1))
    await stores.telemetry.append_logs("dev2", "app", lines(2))
    await stores.telemetry.append_record(RecordKind.METRICS, "dev", 1, b"m")
    await stores.telemetry.remove_device("dev")
    assert numbers(await stores.telemetry.read_logs(APP)) == [2]
    assert await stores.telemetry.latest(RecordKind.METRICS, "dev") is None
    assert await stores.telemetry.append_logs("dev", "app", lines(1)) == 1


async def test_a_line_that_cannot_be_stored_fails_its_own_upload_alone(stores: Stores) -> None:
    answers = await asyncio.gather(
        stores.telemetry.append_logs("dev", "app", lines(1)),
        stores.telemetry.append_logs("dev", "app", [LogLine(2**70, "info", "s", "text", 2)]),
        stores.telemetry.append_logs("dev", "app", lines(3)),
        return_exceptions=True,
    )
    assert [answers[0], answers[2]] == [1, 1]
    assert isinstance(answers[1], OverflowError)
    assert numbers(await stores.telemetry.read_logs(APP)) == [1, 3]
