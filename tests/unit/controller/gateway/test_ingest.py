"""What devices report: kept before it is acknowledged, about themselves alone, turned into status."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from eaves.controller.deviceside import Clocks
from eaves.controller.gateway.clock import PACE_S
from eaves.controller.gateway.devices import HELD_BYTES, HeldMessages
from eaves.store.devices import InfoMessage
from eaves.store.telemetry import RecordKind
from eaves.testing.device import Device
from eaves.testing.device_transport import Reply
from eaves.testing.deviceside import Rig, open_rig
from eaves.testing.objects import make_app, make_network
from eaves.wire.paths import Endpoint
from eaves.wire.pb.flowlog.flowlog_pb2 import FlowMessage
from eaves.wire.pb.hardwarehealth.hardware_health_pb2 import ZHardwareHealth
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.metrics.metrics_pb2 import ZMetricMsg

CREATED = Reply(201, {"content-length": "0"}, b"")


async def has_inventory(rig: Rig, device: Device, cpus: int) -> bool:
    return bool((await rig.edgenode(device)).get("status", {}).get("inventory", {}).get("cpus") == cpus)


async def test_device_info_becomes_status(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    assert await device.send_info(device.info()) == CREATED
    await rig.until(lambda: has_inventory(rig, device, 4))
    assert (await rig.condition(device, "Connected"))["status"] == "True"


async def test_info_is_taken_before_any_attestation(rig: Rig) -> None:
    device = rig.device(serial="A1")
    await device.fetch_certs(rig.identity.current.root_pem)
    await device.register()
    await device.ask_uuid()
    assert (await device.send_info(device.info())).status == 201
    assert (await device.post(Endpoint.METRICS, device.metrics())).status == 201
    assert (await device.poll()).status == 403


async def test_app_info_becomes_status_and_events(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    await rig.put(make_network())
    app = make_app(nodeName="a1")
    await rig.put(app)
    message = device.app_info(app["metadata"]["uid"], info_pb2.RUNNING)
    message.ainfo.bootTime.seconds = int(time.time())
    assert (await device.send_info(message)).status == 201
    await rig.until(lambda: is_running(rig))


async def is_running(rig: Rig) -> bool:
    app = await rig.objects.get("App", "default", "web")
    return bool((app or {}).get("status", {}).get("phase") == "Running")


async def test_an_older_message_is_acknowledged_and_ignored(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    now_s = time.time()
    new, old = device.info(now_s), device.info(now_s - 100)
    new.dinfo.ncpu, old.dinfo.ncpu = 8, 2
    assert (await device.send_info(new)).status == 201
    await rig.until(lambda: has_inventory(rig, device, 8))
    assert (await device.send_info(old)).status == 201
    assert (await device.send_info(new)).status == 201
    await rig.side.observer.queue.wait_idle()
    assert await has_inventory(rig, device, 8)


async def test_what_a_device_says_once_after_its_clock_was_put_right_is_not_lost(tmp_path: Path) -> None:
    """Also when the controller started anew meanwhile, which knows of the former time by what it keeps alone."""
    ahead_s, now_s = 430 * 86_400, time.time()
    monotonic_s = [0.0]
    clocks = Clocks(monotonic_s=lambda: monotonic_s[0])
    async with open_rig(tmp_path, clocks=clocks) as rig:
        await rig.add_key()
        await rig.put(make_network())
        app = make_app(nodeName="a1")
        await rig.put(app)
        device = await rig.onboarded(serial="A1")
        ahead = device.info(now_s + ahead_s)
        ahead.dinfo.ncpu = 2
        assert (await device.send_info(ahead)).status == 201
        starting = device.app_info(app["metadata"]["uid"], info_pb2.DOWNLOAD_STARTED)
        starting.atTimeStamp.seconds = int(now_s + ahead_s)
        assert (await device.send_info(starting)).status == 201
        await rig.until(lambda: has_inventory(rig, device, 2))
    async with open_rig(tmp_path, clocks=clocks) as rig:
        device.transport = rig.device().transport
        # Both are said once.
        right = device.info(now_s)
        right.dinfo.ncpu = 8
        assert (await device.send_info(right)).status == 201
        running = device.app_info(app["metadata"]["uid"], info_pb2.RUNNING)
        running.atTimeStamp.seconds = int(now_s + 1)
        assert (await device.send_info(running)).status == 201
        await rig.side.observer.queue.wait_idle()
        assert await has_inventory(rig, device, 2)
        monotonic_s[0] += PACE_S
        assert await device.post(Endpoint.METRICS, device.metrics(now_s + PACE_S)) == CREATED
        await rig.until(lambda: has_inventory(rig, device, 8))
        await rig.until(lambda: is_running(rig))


def test_a_device_that_says_much_that_is_old_loses_its_own_oldest() -> None:
    held = HeldMessages()
    for number in range(10):
        held.add(InfoMessage("dev", 1, str(number), number, bytes(HELD_BYTES // 5)))
    held.add(InfoMessage("dev", 1, "8", 10, b"again"))
    assert [message.object_id for message in held.take()] == ["6", "7", "9", "8"]
    assert held.take() == []
    held.add(InfoMessage("dev", 1, "too large", 1, bytes(HELD_BYTES)))
    assert held.take() == []


def test_what_is_held_of_a_device_is_few_messages_however_short_they_are() -> None:
    held = HeldMessages()
    for number in range(10_000):
        held.add(InfoMessage("dev", 1, str(number), number, b""))
    assert len(held.take()) < 1000


async def test_a_message_about_another_device_is_refused(rig: Rig) -> None:
    device, other = await rig.onboarded(serial="A1"), await rig.onboarded(serial="B2")
    messages = {
        Endpoint.INFO: other.info(),
        Endpoint.METRICS: other.metrics(),
        Endpoint.FLOWLOG: FlowMessage(devId=other.id),
        Endpoint.HARDWARE_HEALTH: ZHardwareHealth(dev_id=other.id),
    }
    for endpoint, message in messages.items():
        reply = await device.post(endpoint, message)
        assert (reply.status, reply.headers["eaves-reason"]) == (422, "WrongDevice"), endpoint


@pytest.mark.parametrize(
    ("endpoint", "payload"),
    [
        (Endpoint.INFO, b"\xff\xff"),
        (Endpoint.METRICS, b"\xff\xff"),
        (Endpoint.FLOWLOG, b"\xff\xff"),
        (Endpoint.HARDWARE_HEALTH, b"\xff\xff"),
    ],
)
async def test_what_is_no_message_is_422(rig: Rig, endpoint: Endpoint, payload: bytes) -> None:
    device = await rig.onboarded(serial="A1")
    assert (await device.post(endpoint, payload)).status == 422


async def test_info_without_content_or_with_an_endless_id_is_422(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    assert (await device.send_info(info_pb2.ZInfoMsg(devId=device.id))).status == 422
    # A message field with the number 200, as a later version of the API may have one.
    later = info_pb2.ZInfoMsg(devId=device.id).SerializeToString() + b"\xc2\x0c\x02\x08\x01"
    assert (await device.post(Endpoint.INFO, later)).status == 201
    assert (await device.send_info(device.app_info("x" * 500, 0))).status == 422


async def test_telemetry_is_kept_by_kind(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    metrics = device.metrics(1_700_000_000)
    assert await device.post(Endpoint.METRICS, metrics) == CREATED
    assert await device.post(Endpoint.FLOWLOG, FlowMessage(devId=device.id)) == CREATED
    assert await device.post(Endpoint.HARDWARE_HEALTH, ZHardwareHealth(dev_id=device.id)) == CREATED
    record = await rig.telemetry.latest(RecordKind.METRICS, device.id)
    assert record is not None
    assert record.time_ns == 1_700_000_000 * 10**9
    assert ZMetricMsg.FromString(record.payload) == metrics
    for kind in (RecordKind.FLOWS, RecordKind.HARDWARE_HEALTH):
        assert await rig.telemetry.latest(kind, device.id) is not None


async def test_an_accepted_message_outlives_the_process(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.add_key()
        device = await rig.onboarded(serial="A1")
        await rig.side.observer.queue.wait_idle()
        # Accepted, and the process ends before anybody looked at it.
        message = device.info()
        message.dinfo.ncpu = 16
        accepted = InfoMessage(
            device.id, int(message.ztype), "", message.atTimeStamp.seconds * 10**9, message.SerializeToString()
        )
        assert await rig.registry.save_info(accepted)
    async with open_rig(tmp_path) as rig:
        await rig.until(lambda: has_inventory(rig, device, 16))
        await rig.until(lambda: nothing_pending(rig))


async def nothing_pending(rig: Rig) -> bool:
    return not await rig.registry.pending(1)


async def test_a_message_that_ends_a_thing_is_forgotten_with_it(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    app_id = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
    assert (await device.send_info(device.app_info(app_id, info_pb2.RUNNING))).status == 201
    assert (await device.send_info(device.app_info(app_id, 0, time.time() + 1))).status == 201
    await rig.until(lambda: no_app_info(rig, device))


async def no_app_info(rig: Rig, device: Device) -> bool:
    return not await rig.registry.load_info(device.id, info_pb2.ZiApp)


async def test_metrics_of_a_full_disk_become_a_condition_of_the_node_and_go_again(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    message = device.metrics()
    disk = message.dm.disk.add(mountPath="/persist", total=1000, used=950)
    assert (await device.post(Endpoint.METRICS, message)).status == 201
    await rig.until(lambda: has_disk_pressure(rig, device, "True"))
    disk.used = 500
    assert (await device.post(Endpoint.METRICS, message)).status == 201
    await rig.until(lambda: has_disk_pressure(rig, device, "False"))


async def has_disk_pressure(rig: Rig, device: Device, status: str) -> bool:
    return bool((await rig.condition(device, "DiskPressure")).get("status") == status)
