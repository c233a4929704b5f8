"""Log files: both paths, both owners, no bombs, nobody else's app."""

from __future__ import annotations

import zlib

import pytest

from eaves.controller.objects import encode_document, key_of
from eaves.store.abc import Remove
from eaves.store.telemetry import LogSource
from eaves.testing.device import Device
from eaves.testing.deviceside import Rig
from eaves.testing.objects import make_app, make_network
from eaves.wire import logfile, paths
from eaves.wire.identifiers import AppId
from eaves.wire.newlog import LogRecord
from eaves.wire.paths import Endpoint
from eaves.wire.pb.logs import log_pb2


def lines(count: int = 3) -> list[LogRecord]:
    return [
        LogRecord(f"line {number}", 1_700_000_000_000_000_000 + number, number + 1, "info", "app", "stdout")
        for number in range(count)
    ]


@pytest.fixture
async def device(rig: Rig) -> Device:
    """With app ``web`` in its config."""
    await rig.put(make_network())
    await rig.put(make_app(nodeName="a1"))
    device = await rig.onboarded(serial="A1")
    await rig.until(lambda: rig.side.configs.shelf.has_app(device.id, web_id()))
    return device


def web_id() -> AppId:
    return AppId(make_app()["metadata"]["uid"])


async def texts(rig: Rig, device: Device, app_id: str = "") -> list[str]:
    page = await rig.telemetry.read_logs(LogSource(device.id, app_id))
    return [line.text for line in page.lines]


async def test_lines_of_the_device_are_kept_in_order_and_once(rig: Rig, device: Device) -> None:
    for _ in range(2):
        reply = await device.send_logs(lines())
        assert (reply.status, reply.body) == (201, b"")
    assert await texts(rig, device) == ["line 0", "line 1", "line 2"]


async def test_lines_of_an_app_are_kept_with_their_stream(rig: Rig, device: Device) -> None:
    assert (await device.send_logs(lines(), web_id())).status == 201
    page = await rig.telemetry.read_logs(LogSource(app_id=web_id()))
    assert [(line.text, line.severity, line.number) for line in page.lines] == [
        ("line 0", "stdout", 1),
        ("line 1", "stdout", 2),
        ("line 2", "stdout", 3),
    ]


async def test_the_last_lines_of_an_app_are_taken_however_late_they_come(rig: Rig, device: Device) -> None:
    assert (await device.send_logs(lines(1), web_id())).status == 201
    # As after a restart of the controller, long after the app was deleted.
    shelf = rig.side.configs.shelf
    before = shelf.hash_of(device.id)
    key, app = key_of("App", "default", "web"), await rig.objects.get("App", "default", "web")
    assert app is not None
    await rig.objects.store.commit([Remove(key, encode_document(app), None)])
    await rig.until(lambda: shelf.hash_of(device.id) not in (before, None))
    shelf.drop(device.id)
    assert (await device.send_logs(lines(3), web_id())).status == 201
    assert await texts(rig, device, web_id()) == ["line 0", "line 1", "line 2"]
    other = await rig.onboarded(serial="B2")
    assert (await other.send_logs(lines(1), web_id())).status == 403


async def test_the_path_of_the_api_text_works_too(rig: Rig, device: Device) -> None:
    payload = logfile.encode_gzip(b'{"content":"spec form","msgid":1,"timestamp":{"seconds":5}}\n', 1, name="web")
    path = f"{paths.BASE}/apps/instanceid/{web_id()}/newlogs"
    assert (await device.transport.call("POST", path, device.signer.seal(payload))).status == 201
    assert await texts(rig, device, web_id()) == ["spec form"]


async def test_a_large_file_is_taken_whole(rig: Rig, device: Device) -> None:
    many = [LogRecord("x" * 80 + str(number), number + 1, number + 1) for number in range(5000)]
    assert (await device.send_logs(many)).status == 201
    page = await rig.telemetry.read_logs(LogSource(device.id), tail=1)
    assert page.lines[0].text.endswith("4999")


async def test_old_devices_send_bundles(rig: Rig, device: Device) -> None:
    bundle = log_pb2.LogBundle(devID=device.id)
    bundle.log.add(content="old", msgid=1).timestamp.seconds = 7
    assert (await device.post(Endpoint.LOGS, bundle)).status == 201
    assert await texts(rig, device) == ["old"]
    of_app = log_pb2.AppInstanceLogBundle()
    of_app.log.add(content="old app", msgid=1).timestamp.seconds = 7
    assert (await device.post(Endpoint.APP_LOGS, of_app, web_id())).status == 201
    path = f"{paths.BASE}/apps/instanceid/{web_id()}/logs"
    of_app.log[0].content, of_app.log[0].msgid = "spec app", 2
    assert (await device.transport.call("POST", path, device.signer.seal(of_app.SerializeToString()))).status == 201
    assert await texts(rig, device, web_id()) == ["old app", "spec app"]


async def test_nobody_writes_into_the_log_of_another_devices_app(rig: Rig, device: Device) -> None:
    other = await rig.onboarded(serial="B2")
    reply = await other.send_logs(lines(), web_id())
    assert (reply.status, reply.headers["eaves-reason"]) == (403, "ForeignApp")
    assert (await other.post(Endpoint.APP_LOGS, log_pb2.AppInstanceLogBundle(), web_id())).status == 403
    assert await texts(rig, other, web_id()) == []


async def test_a_bomb_is_refused(rig: Rig, device: Device) -> None:
    bomb = logfile.encode_gzip(bytes(100 << 20), 1, comment="{}")
    assert len(bomb) < 256 << 10
    reply = await device.post(Endpoint.NEWLOGS, bomb)
    assert (reply.status, reply.headers["eaves-reason"]) == (413, "GzipBomb")


GOOD = logfile.encode_gzip(b'{"content":"x"}\n', 1, comment="{}")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"plain text",
        GOOD[:-3],
        GOOD + GOOD,
        GOOD[:-8] + b"\0\0\0\0" + GOOD[-4:],
        zlib.compress(b"not gzip"),
    ],
)
async def test_what_is_no_log_file_is_422(device: Device, payload: bytes) -> None:
    assert (await device.post(Endpoint.NEWLOGS, payload)).status == 422


async def test_bundles_that_are_none_are_422(device: Device) -> None:
    assert (await device.post(Endpoint.LOGS, b"\xff\xff")).status == 422


async def test_a_line_that_cannot_be_read_is_kept_as_it_is(rig: Rig, device: Device) -> None:
    payload = logfile.encode_gzip(b'panic: no JSON here\n{"content":"after","msgid":2}\n', 1, comment="{}")
    assert (await device.post(Endpoint.NEWLOGS, payload)).status == 201
    assert await texts(rig, device) == ["panic: no JSON here", "after"]
