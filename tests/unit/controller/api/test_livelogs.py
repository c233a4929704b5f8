"""Following logs from the node itself, and the change to what is uploaded and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from eaves.node.observed import LogLine
from eaves.node.tunnel.logs import QUEUE_LINES, LiveLogs
from eaves.store.telemetry import LogLine as StoredLine
from eaves.testing.asgi import AsgiClient, AsgiStream
from eaves.testing.linked_tunnel import LinkedTunnel
from eaves.testing.objects import DEVICE_ID, make_app, make_edgenode, uid_of
from eaves.testing.operator_api import ADMIN_TOKEN, ApiBench, open_api

LOG = "/api/v1/namespaces/default/pods/web/log"
START_NS = 1_795_550_400 * 10**9
UID = uid_of("App", "web")


class App:
    """An app that writes numbered lines on a node, which uploads them when the test says so."""

    def __init__(self, bench: ApiBench) -> None:
        self.bench = bench
        self.kept: list[LogLine] = []
        self.live = LiveLogs(self._keep, self._last_number)
        self._followed = asyncio.Event()
        self.uploaded = 0
        self.tunnel: LinkedTunnel

    def _last_number(self, _app_id: str) -> int:
        # A follower asks once, when it is known.
        self._followed.set()
        return len(self.kept)

    async def _keep(self, lines: list[LogLine]) -> None:
        self.kept += lines

    async def write(self, count: int, *, app_id: str = UID) -> None:
        first = len(self.kept) + 1
        lines = [
            LogLine(app_id, START_NS + number, "stdout", f"line {number}", number, "r1")
            for number in range(first, first + count)
        ]
        await self.live.deliver(lines)

    async def wait_followed(self) -> None:
        """Until lines that are written reach the follower by themselves."""
        async with asyncio.timeout(20):
            await self._followed.wait()
        self._followed.clear()

    async def upload(self) -> None:
        lines = [
            StoredLine(line.time_ns, line.stream, "app", line.text, line.number, line.run)
            for line in self.kept[self.uploaded :]
        ]
        self.uploaded = len(self.kept)
        await self.bench.telemetry.append_logs(DEVICE_ID, UID, lines)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    handlers: dict[str, LiveLogs] = {}
    tunnel = LinkedTunnel(handlers)
    async with open_api(tmp_path, tunnel=tunnel) as bench:
        await bench.put(make_edgenode())
        await bench.put(make_app("web"))
        found = App(bench)
        found.tunnel = tunnel
        handlers["logs"] = found.live
        yield found
        await tunnel.close()


def follow(app: App) -> AsgiStream:
    return AsgiClient(app.bench.api, ADMIN_TOKEN).open("GET", LOG, follow="true")


async def read_numbers(stream: AsgiStream, count: int) -> Sequence[int]:
    return [int((await stream.read_line()).split()[1]) for _ in range(count)]


async def test_lines_come_live_after_those_that_are_uploaded(app: App) -> None:
    await app.write(5)
    await app.upload()
    async with follow(app) as stream:
        assert list(await read_numbers(stream, 5)) == [1, 2, 3, 4, 5]
        await app.wait_followed()
        await app.write(3)
        assert list(await read_numbers(stream, 3)) == [6, 7, 8]
        # What is uploaded later is not shown again.
        await app.upload()
        await app.write(1)
        assert list(await read_numbers(stream, 1)) == [9]
    await app.tunnel.wait_count(lambda count: count == 0)


async def test_lines_between_the_upload_and_the_stream_are_waited_for(app: App) -> None:
    await app.write(2)
    await app.upload()
    await app.write(3)
    async with follow(app) as stream:
        assert list(await read_numbers(stream, 2)) == [1, 2]
        await app.wait_followed()
        await app.write(2)
        await app.upload()
        assert list(await read_numbers(stream, 5)) == [3, 4, 5, 6, 7]


async def test_a_cut_stream_goes_on_with_what_is_uploaded_and_back_without_repeating(app: App) -> None:
    await app.write(1)
    await app.upload()
    async with follow(app) as stream:
        assert list(await read_numbers(stream, 1)) == [1]
        await app.wait_followed()
        await app.write(2)
        assert list(await read_numbers(stream, 2)) == [2, 3]
        app.tunnel.is_online = False
        app.tunnel.cut()
        await app.tunnel.wait_count(lambda count: count == 0)
        await app.write(2)
        await app.upload()
        assert list(await read_numbers(stream, 2)) == [4, 5]
        app.tunnel.is_online = True
        await app.write(1)
        await app.upload()
        assert list(await read_numbers(stream, 1)) == [6]
        await app.wait_followed()
        await app.write(1)
        assert list(await read_numbers(stream, 1)) == [7]


async def test_a_node_without_such_streams_shows_what_it_uploads(app: App) -> None:
    app.tunnel._handlers = {}
    await app.write(1)
    await app.upload()
    async with follow(app) as stream:
        assert list(await read_numbers(stream, 1)) == [1]
        await app.write(1)
        await app.upload()
        assert list(await read_numbers(stream, 1)) == [2]


async def test_lines_of_other_apps_are_not_shown(app: App) -> None:
    await app.write(1)
    await app.upload()
    async with follow(app) as stream:
        assert list(await read_numbers(stream, 1)) == [1]
        await app.wait_followed()
        await app.write(3, app_id=uid_of("App", "other"))
        await app.write(1)
        assert list(await read_numbers(stream, 1)) == [5]


async def test_a_follower_that_is_too_slow_loses_nothing(app: App) -> None:
    await app.write(1)
    await app.upload()
    async with follow(app) as stream:
        assert list(await read_numbers(stream, 1)) == [1]
        await app.wait_followed()
        # All at once, before anybody could take one.
        await app.write(QUEUE_LINES + 500)
        await app.upload()
        total = QUEUE_LINES + 500
        assert list(await read_numbers(stream, total)) == list(range(2, total + 2))
