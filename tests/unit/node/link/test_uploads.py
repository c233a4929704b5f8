"""The pace of uploads, in virtual time where time matters."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eaves.node.link.calls import Reply
from eaves.node.link.errors import DialError
from eaves.node.link.logs import LogStore, WaitingFile
from eaves.node.link.uploads import LogUploader, Pace
from eaves.testing.scripted_controller import ScriptedController
from eaves.wire.paths import Endpoint
from eaves.wire.timers import Timers

APP = "50000000-0000-4000-8000-000000000001"
OTHER = "50000000-0000-4000-8000-000000000002"


@pytest.mark.parametrize(("waiting", "seconds"), [(0, 90), (4, 90), (5, 45), (10, 30), (20, 15), (50, 8), (100, 3)])
def test_backlog_quickens_the_pace(waiting: int, seconds: float) -> None:
    assert Pace().interval_s(waiting, 0.0, is_fast=False) == seconds


def test_fast_upload_is_three_seconds() -> None:
    assert Pace().interval_s(0, 0.0, is_fast=True) == 3.0


def test_too_many_requests_slow_down_for_an_hour_and_a_little_for_two() -> None:
    pace = Pace()
    pace.note_too_many(0.0)
    assert pace.interval_s(0, 1.0, is_fast=False) == 180.0
    pace.note_too_many(2.0)
    assert pace.interval_s(0, 3.0, is_fast=False) == 300.0
    assert pace.interval_s(0, 3.0, is_fast=True) == 12.0
    assert pace.interval_s(0, 3700.0, is_fast=True) == 10.0
    assert pace.interval_s(0, 7300.0, is_fast=True) == 3.0


def test_after_twenty_minutes_of_failure_attempts_are_rare() -> None:
    pace = Pace()
    pace.note_unavailable(0.0)
    assert pace.interval_s(0, 600.0, is_fast=True) == 3.0
    assert 180.0 <= pace.interval_s(0, 1300.0, is_fast=True) <= 900.0
    pace.note_success()
    assert pace.interval_s(0, 1300.0, is_fast=True) == 3.0


class Shelf(LogStore):
    """Packed files in memory; a cut turns what was put aside into a file."""

    def __init__(self) -> None:
        self.files: dict[WaitingFile, bytes] = {}
        self.aside: list[WaitingFile] = []
        self.cuts: list[tuple[float, frozenset[str] | None]] = []
        self.dropped_files = 0

    def add(self, stream: str, started_ms: int) -> WaitingFile:
        file = WaitingFile(started_ms, 0, stream, Path(f"{stream}.{started_ms}.0.gz"), 10)
        self.files[file] = stream.encode()
        return file

    async def cut(self, max_age_s: float, streams: object = None) -> None:
        assert streams is None or isinstance(streams, frozenset)
        self.cuts.append((max_age_s, streams))

    async def waiting(self) -> list[WaitingFile]:
        return sorted(self.files)

    async def load(self, file: WaitingFile) -> bytes | None:
        return self.files.get(file)

    async def remove(self, file: WaitingFile) -> None:
        self.files.pop(file, None)

    async def set_aside(self, file: WaitingFile, limit: int) -> None:
        self.aside.append(file)
        del self.files[file]


class Stage:
    def __init__(self, folder: Path, timers: Timers) -> None:
        self.controller = ScriptedController(folder)
        self.shelf = Shelf()
        self.uploader = LogUploader(self.controller, self.shelf, lambda: timers)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(service()) for service in (self.uploader.run, self.uploader.run_for_readers)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


@pytest.mark.looptime
async def test_one_device_file_and_one_app_file_a_tick(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Timers())
    for number in range(3):
        stage.shelf.add("dev", number)
        stage.shelf.add(APP, number)
    async with stage.running():
        await asyncio.sleep(10)
        assert len(stage.controller.calls) == 2
        await asyncio.sleep(400)
        assert stage.shelf.files == {}
    assert {call.app_id for call in stage.controller.calls} == {"", APP}
    assert stage.uploader.figures().app_files_sent == 3


@pytest.mark.looptime
async def test_refused_file_is_set_aside_after_ten_times_and_the_next_goes_on(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Timers(newlog_allow_fastupload=True))
    bad = stage.shelf.add(APP, 1)
    stage.shelf.add(APP, 2)
    refused = [Reply(422)] * 10
    stage.controller.answers[Endpoint.APP_NEWLOGS] = lambda _: refused.pop() if refused else Reply(201)
    async with stage.running():
        await asyncio.sleep(60)
    assert stage.shelf.aside == [bad]
    assert stage.shelf.files == {}


@pytest.mark.looptime
async def test_no_answer_keeps_the_file(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Timers(newlog_allow_fastupload=True))
    stage.shelf.add(APP, 1)
    stage.controller.answers[Endpoint.APP_NEWLOGS] = lambda _: DialError("down")
    async with stage.running():
        await asyncio.sleep(7200)
        attempts = len(stage.controller.calls)
        assert 20 * 60 / 3.6 <= attempts <= 20 * 60 / 2.4 + 40
        stage.controller.answers.clear()
        await asyncio.sleep(1100)
    assert stage.shelf.files == {}


@pytest.mark.looptime
async def test_lines_that_somebody_reads_go_out_each_second(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Timers())
    async with stage.running():
        await asyncio.sleep(1)
        stage.uploader.note_readers(APP, 5)
        stage.shelf.add(OTHER, 0)
        for number in range(1, 8):
            stage.shelf.add(APP, number)
            await asyncio.sleep(1)
        await asyncio.sleep(30)
    cuts = [streams for _, streams in stage.shelf.cuts if streams is not None]
    assert 5 <= len(cuts) <= 6
    assert {app_id for streams in cuts for app_id in streams} == {APP}
    sent = [call for call in stage.controller.calls if call.app_id == APP]
    assert len(sent) >= 5


def test_reader_of_what_is_no_app_is_ignored(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Timers())
    stage.uploader.note_readers("../x", 60)
