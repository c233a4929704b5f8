"""Config: unchanged polls are answered without a body, changes arrive whole, secrets only sealed to the device."""

from __future__ import annotations

import asyncio
import base64
import datetime
import shutil
from pathlib import Path
from typing import Any

import pytest

from eaves.controller.deviceside import Clocks
from eaves.controller.gateway.config import ConfigShelf, ServedConfig
from eaves.controller.gateway.errors import BusyError
from eaves.controller.objects import encode_document, key_of
from eaves.store.abc import Remove
from eaves.testing.device import Device, make_onboarding_pair
from eaves.testing.deviceside import Rig, open_rig
from eaves.testing.objects import make_app, make_edgenode, make_network, make_secret
from eaves.wire import paths
from eaves.wire.envelope import parse_envelope
from eaves.wire.identifiers import AppId, DeviceId
from eaves.wire.paths import Endpoint
from eaves.wire.pb.config.devconfig_pb2 import ConfigRequest


async def add_app(rig: Rig, device: Device, name: str = "web", **spec: Any) -> None:
    await rig.put(make_network())
    await rig.put(make_app(name, nodeName=rig.side.nodes.name_of(device.id), **spec))


async def poll_until_changed(rig: Rig, device: Device) -> None:
    await rig.until(lambda: changed(device))


async def changed(device: Device) -> bool:
    return (await device.poll()).status == 200


async def test_an_app_reaches_the_device_with_its_secrets_sealed(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    await rig.put(make_secret("web", token="hush-hush"))
    env = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "web", "key": "token"}}}]
    await add_app(rig, device, env=env)
    await poll_until_changed(rig, device)
    assert device.config is not None
    app = device.config.apps[0]
    assert app.displayname
    assert b"hush-hush" not in device.config.SerializeToString()
    data = base64.b64decode(device.decrypt(app.cipherData).protectedUserData)
    assert b"TOKEN=hush-hush" in data


async def test_a_changed_secret_changes_the_config_of_its_users_alone(rig: Rig) -> None:
    device, other = await rig.onboarded(serial="A1"), await rig.onboarded(serial="B2")
    await rig.put(make_secret("web", token="one"))
    env = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "web", "key": "token"}}}]
    await add_app(rig, device, env=env)
    await poll_until_changed(rig, device)
    await rig.put(make_secret("web", token="two"))
    await poll_until_changed(rig, device)
    assert (await other.poll()).status == 304


async def test_what_is_missing_is_noticed_when_it_comes(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    env = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "late", "key": "token"}}}]
    await add_app(rig, device, env=env)
    await rig.until(lambda: is_configured(rig, "False"))
    await rig.put(make_secret("late", token="here"))
    await poll_until_changed(rig, device)
    assert device.config is not None
    assert len(device.config.apps) == 1
    await rig.until(lambda: is_configured(rig, "True"))


async def is_configured(rig: Rig, status: str) -> bool:
    app = await rig.objects.get("App", "default", "web")
    conditions = (app or {}).get("status", {}).get("conditions", [])
    return any(found["type"] == "Configured" and found["status"] == status for found in conditions)


async def test_an_app_for_a_node_that_does_not_exist_says_so_and_starts_when_it_does(rig: Rig) -> None:
    await rig.put(make_network())
    await rig.put(make_app(nodeName="later"))
    await rig.until(lambda: says(rig, "NodeNotFound"))
    device = await rig.onboarded(serial="x", soft_serial="later")
    await rig.until(lambda: has_app(device))


async def test_an_app_that_names_no_node_says_so_also_when_its_node_goes(rig: Rig) -> None:
    device = await rig.onboarded(serial="x", soft_serial="here")
    await rig.put(make_network())
    await rig.put(make_app(nodeName=""))
    await rig.until(lambda: says(rig, "NoNode"))
    await rig.change("App", "web", "default", nodeName="here")
    await rig.until(lambda: has_app(device))
    edgenode = await rig.edgenode(device)
    await rig.objects.store.commit([Remove(key_of("EdgeNode", "", "here"), encode_document(edgenode), None)])
    await rig.until(lambda: says(rig, "NodeNotFound"))


async def says(rig: Rig, reason: str) -> bool:
    app = await rig.objects.get("App", "default", "web")
    return any(found["reason"] == reason for found in (app or {}).get("status", {}).get("conditions", []))


async def has_app(device: Device) -> bool:
    await device.poll()
    return device.config is not None and len(device.config.apps) == 1


async def test_a_moved_app_leaves_one_config_and_enters_the_other(rig: Rig) -> None:
    one, two = await rig.onboarded(serial="A1"), await rig.onboarded(serial="B2")
    await add_app(rig, one)
    await poll_until_changed(rig, one)
    await rig.change("App", "web", "default", nodeName=rig.side.nodes.name_of(two.id))
    await poll_until_changed(rig, one)
    await poll_until_changed(rig, two)
    assert one.config is not None
    assert two.config is not None
    assert (len(one.config.apps), len(two.config.apps)) == (0, 1)


async def test_an_unapproved_device_gets_no_workload(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    await rig.change("EdgeNode", "a1", approved=False)
    await add_app(rig, device)
    await rig.until(lambda: is_configured(rig, "False"))
    await device.poll()
    assert device.config is not None
    assert list(device.config.apps) == []


async def test_time_of_the_config_never_goes_back(tmp_path: Path) -> None:
    now = [2_000_000_000.0]
    pair = make_onboarding_pair(datetime.datetime.fromtimestamp(now[0], datetime.UTC))
    async with open_rig(tmp_path, clocks=Clocks(now=lambda: now[0]), onboarding=pair) as rig:
        await rig.add_key()
        device = await rig.onboarded(serial="A1")
        assert device.config is not None
        first = device.config.config_timestamp.seconds
        now[0] -= 1_000_000
        await add_app(rig, device)
        await poll_until_changed(rig, device)
        assert device.config.config_timestamp.seconds > first


async def test_an_unchanged_config_keeps_its_bytes_over_a_restart(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.add_key()
        device = await rig.onboarded(serial="A1")
        await add_app(rig, device)
        await rig.until(lambda: has_app(device))
        # Other changes, such as the approval, may come before and after: what is compared must be the last.
        await rig.side.configs.queue.wait_idle()
        await device.poll()
    async with open_rig(tmp_path) as rig:
        device.transport = rig.device().transport
        assert (await device.poll()).status == 304
        await rig.until(lambda: rig.side.configs.outcome(device.id) is not None)
        assert (await device.poll()).status == 304


async def test_a_device_with_a_later_config_than_the_restored_store_gets_a_later_one_yet(tmp_path: Path) -> None:
    """A device ignores a config that is older than its own, and remembers its hash all the same."""
    folder, backup = tmp_path / "data", tmp_path / "backup"
    async with open_rig(folder) as rig:
        await rig.add_key()
        device, other = await rig.onboarded(serial="A1"), await rig.onboarded(serial="B2")
        await rig.side.configs.queue.wait_idle()
        await other.poll()
    shutil.copytree(folder, backup)
    async with open_rig(folder) as rig:
        device.transport = rig.device().transport
        await add_app(rig, device)
        await rig.until(lambda: has_app(device))
    shutil.rmtree(folder)
    shutil.copytree(backup, folder)
    assert device.config is not None
    assert other.config is not None
    later, told = device.config.config_timestamp.seconds, other.config.controller_epoch
    async with open_rig(folder) as rig:
        for known in (device, other):
            known.transport = rig.device().transport
        await rig.until(lambda: lost_app(device))
        assert device.config.config_timestamp.seconds > later
        await rig.until(lambda: has_new_epoch(other, told))
        await rig.side.configs.queue.wait_idle()
        for known in (device, other):
            await known.poll()
            assert (await known.poll()).status == 304
    async with open_rig(folder) as rig:
        device.transport = rig.device().transport
        assert (await device.poll()).status == 304


async def lost_app(device: Device) -> bool:
    answer = await device.poll()
    # 503 while it is made anew; never the one that is older than what the device has.
    assert answer.status in (200, 503)
    return answer.status == 200


async def has_new_epoch(device: Device, before: int) -> bool:
    await device.poll()
    return device.config is not None and device.config.controller_epoch > before


async def test_a_status_alone_compiles_nothing(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    await add_app(rig, device)
    await poll_until_changed(rig, device)
    await rig.side.observer.queue.wait_idle()
    await rig.side.configs.queue.wait_idle()
    outcome = rig.side.configs.outcome(device.id)
    app = await rig.objects.get("App", "default", "web")
    assert app is not None
    await rig.put({**app, "status": {**app.get("status", {}), "message": "busy"}})
    assert (await device.poll()).status == 304
    assert rig.side.configs.outcome(device.id) is outcome


async def test_config_is_served_without_a_uuid_in_the_path_too(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    request = ConfigRequest(configHash=device.config_hash, integrity_token=device.token)
    path = f"{paths.BASE}/config"
    body = device.signer.seal(request.SerializeToString())
    assert (await device.transport.call("POST", path, body)).status == 304


async def test_a_config_request_that_is_none_is_422(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    assert (await device.post(Endpoint.CONFIG, b"\xff\xff")).status == 422


async def test_rotated_keys_cost_the_device_a_fetch_of_the_certificates(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    await rig.put(make_secret("web", token="hush-hush"))
    env = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "web", "key": "token"}}}]
    await add_app(rig, device, env=env)
    await poll_until_changed(rig, device)
    assert device.config is not None
    before = device.config.controllercert_confighash
    rig.identity.rotate()
    rig.side.configs.shelf.unseal_all()
    rig.side.configs.want_all()
    await rig.until(lambda: rig.side.configs.shelf.hash_of(device.id) != device.config_hash)
    # The answer is signed by a certificate that the device does not know: it fetches /certs and goes on.
    request = ConfigRequest(configHash=device.config_hash, integrity_token=device.token)
    reply = await device.post(Endpoint.CONFIG, request)
    assert device.certs is not None
    assert parse_envelope(reply.body).sender_cert_hash != device.certs.signing_sha256
    await device.fetch_certs(rig.identity.current.root_pem)
    assert (await device.poll()).status == 200
    assert device.config.controllercert_confighash != before
    assert device.decrypt(device.config.apps[0].cipherData).protectedUserData


async def nothing(_device_id: DeviceId) -> ServedConfig | None:
    return None


async def test_a_shelf_is_bounded_and_seals_once() -> None:
    sealed: list[bytes] = []

    def seal(payload: bytes) -> bytes:
        sealed.append(payload)
        return b"sealed " + payload

    shelf = ConfigShelf(nothing, seal, max_configs=2)
    for name in "abc":
        shelf.put(DeviceId(name), ServedConfig(name, name.encode()))
    assert len(shelf) == 2
    config = await shelf.want(DeviceId("c"))
    assert shelf.sealed(DeviceId("c"), config) == shelf.sealed(DeviceId("c"), config) == b"sealed c"
    assert sealed == [b"c"]
    shelf.unseal_all()
    shelf.sealed(DeviceId("c"), config)
    assert len(sealed) == 2
    with pytest.raises(BusyError) as caught:
        await shelf.want(DeviceId("a"))
    assert caught.value.retry_after_s > 0


async def test_a_shelf_remembers_the_apps_that_have_gone_a_moment_ago() -> None:
    shelf = ConfigShelf(nothing, lambda payload: payload, max_configs=2)
    device, web, db = DeviceId("a"), AppId("web"), AppId("db")
    shelf.put(device, ServedConfig("1", b"1", frozenset({web})))
    shelf.put(device, ServedConfig("2", b"2", frozenset({db})))
    assert shelf.has_app(device, web)
    assert shelf.has_app(device, db)
    # Apps go one after the other, their last files minutes later.
    shelf.put(device, ServedConfig("3", b"3"))
    shelf.put(device, ServedConfig("4", b"4"))
    assert shelf.has_app(device, web)
    assert shelf.has_app(device, db)
    assert not shelf.has_app(device, AppId("other"))
    assert not shelf.has_app(DeviceId("b"), db)


async def test_a_shelf_remembers_a_bounded_number_of_apps_that_have_gone() -> None:
    shelf = ConfigShelf(nothing, lambda payload: payload, max_configs=2)
    device = DeviceId("a")
    for number in range(5000):
        shelf.put(device, ServedConfig(str(number), b"", frozenset({f"app-{number}"})))
    remembered = [number for number in range(5000) if shelf.has_app(device, AppId(f"app-{number}"))]
    assert remembered[-2:] == [4998, 4999]
    assert len(remembered) < 1100


async def test_a_config_that_is_being_made_is_waited_for(rig: Rig) -> None:
    """Its first poll may come before the first compilation is through."""
    await rig.put(make_edgenode("plain", serial="A1"))
    devices = [rig.device(serial=f"S{number}") for number in range(20)]
    await asyncio.gather(*(device.onboard(rig.identity.current.root_pem) for device in devices))
    assert all(device.config is not None for device in devices)
