"""The notify channel: who may listen, what is said when, and how little a slow listener costs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from eaves.controller.gateway.notify import NotifyHub
from eaves.testing.device import Device
from eaves.testing.deviceside import Rig
from eaves.testing.objects import make_app, make_network
from eaves.wire import notify
from eaves.wire.identifiers import DeviceId
from eaves.wire.notify import LogsWanted, Notice

WAIT_S = 60.0


class Channel:
    """One WebSocket into the gateway."""

    def __init__(self, rig: Rig, path_id: str, path: str = notify.PATH_SUFFIX) -> None:
        self._incoming: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._outgoing: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._incoming.put_nowait({"type": "websocket.connect"})
        raw = f"/api/v2/edgedevice/id/{path_id}/{path}"
        scope = {"type": "websocket", "path": raw, "raw_path": raw.encode(), "client": ("192.0.2.1", 1), "headers": []}
        self.task = asyncio.create_task(rig.side.gateway(scope, self._incoming.get, self._outgoing.put))

    async def next(self) -> Mapping[str, Any]:
        async with asyncio.timeout(WAIT_S):
            return await self._outgoing.get()

    async def notice(self) -> Notice:
        message = await self.next()
        return notify.parse_notice(message["text"])

    def send(self, data: bytes) -> None:
        self._incoming.put_nowait({"type": "websocket.receive", "bytes": data})

    async def close(self) -> None:
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        async with asyncio.timeout(WAIT_S):
            await self.task

    async def challenge(self) -> bytes:
        assert (await self.next())["type"] == "websocket.accept"
        return notify.parse_challenge((await self.next())["text"])


async def open_channel(rig: Rig, device: Device) -> Channel:
    channel = Channel(rig, device.id)
    channel.send(device.signer.seal(notify.want_answer(await channel.challenge())))
    return channel


async def test_a_node_hears_its_config_at_once_and_each_change(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    channel = await open_channel(rig, device)
    first = await channel.notice()
    assert first.config == device.config_hash
    assert first.certs == rig.identity.current.certs_hash
    await rig.put(make_network())
    await rig.put(make_app(nodeName="a1"))
    changed = await channel.notice()
    assert changed.config not in (None, device.config_hash)
    assert (await device.poll()).status == 200
    assert device.config_hash == changed.config
    await channel.close()
    assert device.id not in rig.side.hub


async def test_readers_of_logs_and_new_certificates_are_told(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    channel = await open_channel(rig, device)
    await channel.notice()
    assert await rig.side.hub.want_logs(device.id, "app", 60)
    assert await channel.notice() == Notice(logs=LogsWanted("app", 60))
    rig.side.hub.tell_certs("new")
    assert await channel.notice() == Notice(certs="new")
    await channel.close()
    assert not await rig.side.hub.want_logs(device.id, "app", 60)


async def test_an_open_channel_counts_as_contact(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    channel = await open_channel(rig, device)
    await channel.notice()
    assert rig.side.contact.is_in_contact(device.id)
    await channel.close()


@pytest.mark.parametrize("kind", ["stranger", "wrong challenge", "other path", "plain", "junk", "too long"])
async def test_who_does_not_prove_the_key_hears_nothing(rig: Rig, kind: str) -> None:
    device, stranger = await rig.onboarded(serial="A1"), rig.device()
    other = await rig.onboarded(serial="B2")
    channel = Channel(rig, device.id)
    challenge = await channel.challenge()
    answers = {
        "stranger": stranger.signer.seal(notify.want_answer(challenge)),
        "wrong challenge": device.signer.seal(notify.want_answer(bytes(32))),
        "other path": other.signer.seal(notify.want_answer(challenge)),
        # A challenge must not make a device sign something that is good elsewhere.
        "plain": device.signer.seal(challenge),
        "junk": b"junk",
        "too long": bytes(5000),
    }
    channel.send(answers[kind])
    assert await channel.next() == {"type": "websocket.close", "code": 1008}
    assert len(rig.side.hub) == 0
    async with asyncio.timeout(WAIT_S):
        await channel.task


@pytest.mark.parametrize("path", ["ext/eaves/other", "config", "ext/eaves/notify/"])
async def test_other_paths_have_no_channel(rig: Rig, path: str) -> None:
    channel = Channel(rig, "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee", path)
    assert (await channel.next())["type"] == "websocket.close"


async def test_a_client_that_leaves_before_the_proof_leaves_nothing(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    channel = Channel(rig, device.id)
    await channel.challenge()
    await channel.close()
    assert len(rig.side.hub) == 0


async def test_the_newest_connection_of_a_node_wins(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    first = await open_channel(rig, device)
    await first.notice()
    second = await open_channel(rig, device)
    await second.notice()
    assert await first.next() == {"type": "websocket.close", "code": 1001}
    rig.side.hub.tell_config(device.id, "next")
    assert (await second.notice()).config == "next"
    await second.close()


async def test_words_are_merged_while_a_node_is_slow() -> None:
    hub = NotifyHub()
    device = DeviceId("a")
    mailbox = hub.open(device)
    for number in range(1000):
        hub.tell_config(device, f"hash-{number}")
        await hub.want_logs(device, f"app-{number}", 60)
    notices = await mailbox.take()
    assert notices[0] == Notice(config="hash-999")
    assert len(notices) < 100
    hub.tell_config(DeviceId("nobody"), "x")
