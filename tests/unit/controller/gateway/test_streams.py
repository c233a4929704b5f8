"""The gateway's side of streams, met by devices that do not do as they should."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import pytest

from eaves.controller.tunnel import errors
from eaves.controller.tunnel.broker import Broker, TunnelLimits
from eaves.testing.device import Device
from eaves.testing.deviceside import Rig
from eaves.tunnel.stream import StreamClosedError, TunnelStream
from eaves.wire import notify, tunnel
from eaves.wire.identifiers import DeviceId
from eaves.wire.tunnel import CloseCause, CloseCode, FrameKind, FreshKey, Opening, Session, StreamId, StreamRequest

WAIT_S = 60.0
REQUEST = StreamRequest("exec", {"app": "a"})


class Line:
    """One WebSocket into the gateway."""

    def __init__(self, rig: Rig, device_id: str, path: str) -> None:
        self._incoming: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._outgoing: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._incoming.put_nowait({"type": "websocket.connect"})
        raw = f"/api/v2/edgedevice/id/{device_id}/ext/eaves/{path}"
        scope = {"type": "websocket", "path": raw, "raw_path": raw.encode(), "client": ("192.0.2.1", 1), "headers": []}
        self.task = asyncio.create_task(rig.side.gateway(scope, self._incoming.get, self._outgoing.put))

    async def next(self) -> Mapping[str, Any]:
        async with asyncio.timeout(WAIT_S):
            return await self._outgoing.get()

    def send(self, data: bytes) -> None:
        self._incoming.put_nowait({"type": "websocket.receive", "bytes": data})

    def cut(self) -> None:
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})

    async def challenge(self) -> bytes:
        assert (await self.next())["type"] == "websocket.accept"
        return tunnel.parse_challenge((await self.next())["text"])

    async def is_refused(self) -> bool:
        while (message := await self.next())["type"] != "websocket.close":
            pass
        async with asyncio.timeout(WAIT_S):
            await self.task
        return bool(message["code"] == 1008)


class Caller:
    """A connected device, and the wish for a stream to it."""

    def __init__(self, rig: Rig, device: Device, notices: Line) -> None:
        self.rig = rig
        self.device = device
        self.notices = notices
        self.opening: asyncio.Task[TunnelStream]

    async def call(self) -> StreamId:
        """Wish for a stream; answers its id as the device hears it."""
        self.opening = asyncio.create_task(self.rig.side.tunnel.open(self.device.id, REQUEST))
        while (notice := notify.parse_notice((await self.notices.next())["text"])).stream is None:
            pass
        return tunnel.parse_stream_id(notice.stream)

    def dial(self, stream: str, device_id: str = "") -> Line:
        return Line(self.rig, device_id or self.device.id, f"streams/{stream}")

    async def shake_hands(self, line: Line, stream: StreamId) -> Session:
        challenge, key = await line.challenge(), FreshKey()
        line.send(self.device.signer.seal(tunnel.want_proof(challenge, stream, key.public)))
        opening = await self.hear_opening(line, stream, key.public)
        return Session.of_node(key, opening.controller_key, challenge, stream)

    async def hear_opening(self, line: Line, stream: StreamId, node_key: bytes) -> Opening:
        payload = self.device.open((await line.next())["bytes"])
        return tunnel.parse_opening(payload, stream, self.device.id, node_key)

    async def opened(self) -> TunnelStream:
        async with asyncio.timeout(WAIT_S):
            return await self.opening


async def connect(rig: Rig, serial: str = "A1") -> Caller:
    device = await rig.onboarded(serial=serial)
    notices = Line(rig, device.id, notify.PATH_SUFFIX.removeprefix("ext/eaves/"))
    challenge = notify.parse_challenge([await notices.next(), await notices.next()][1]["text"])
    notices.send(device.signer.seal(notify.want_answer(challenge)))
    await notices.next()
    return Caller(rig, device, notices)


async def test_a_device_that_proves_itself_gets_the_request_and_the_stream(rig: Rig) -> None:
    caller = await connect(rig)
    stream_id = await caller.call()
    line = caller.dial(stream_id)
    session = await caller.shake_hands(line, stream_id)
    line.send(session.seal(FrameKind.ACCEPT))
    stream = await caller.opened()
    line.send(session.seal(FrameKind.DATA, b"hello"))
    assert await stream.receive() == b"hello"
    await stream.send(b"back")
    assert session.open((await line.next())["bytes"]).data == b"back"
    line.send(session.seal_close(CloseCause(CloseCode.FAILED, "it broke")))
    assert await stream.receive() is None
    assert stream.cause == CloseCause(CloseCode.FAILED, "it broke")
    async with asyncio.timeout(WAIT_S):
        await line.task
    assert len(rig.side.tunnel) == 0


@pytest.mark.parametrize("kind", ["stranger", "other device", "other challenge", "other stream", "junk", "too long"])
async def test_who_does_not_prove_the_devices_key_gets_nothing(rig: Rig, kind: str) -> None:
    caller, stranger = await connect(rig), rig.device()
    other = await rig.onboarded(serial="B2")
    stream_id = await caller.call()
    line = caller.dial(stream_id)
    challenge, key = await line.challenge(), FreshKey().public
    proof = tunnel.want_proof(challenge, stream_id, key)
    answers = {
        "stranger": stranger.signer.seal(proof),
        "other device": other.signer.seal(proof),
        "other challenge": caller.device.signer.seal(tunnel.want_proof(bytes(32), stream_id, key)),
        "other stream": caller.device.signer.seal(
            tunnel.want_proof(challenge, tunnel.encode_stream_id(os.urandom(32)), key)
        ),
        "junk": b"junk",
        "too long": bytes(5000),
    }
    line.send(answers[kind])
    assert await line.is_refused()
    # The device itself still gets its stream.
    honest = caller.dial(stream_id)
    session = await caller.shake_hands(honest, stream_id)
    honest.send(session.seal(FrameKind.ACCEPT))
    stream = await caller.opened()
    honest.cut()
    assert await stream.receive() is None
    assert stream.cause is not None
    assert stream.cause.code is CloseCode.CUT


async def test_a_stream_id_is_good_once_and_for_its_device_alone(rig: Rig) -> None:
    caller = await connect(rig)
    other = await rig.onboarded(serial="B2")
    stream_id = await caller.call()
    assert await caller.dial(stream_id, other.id).is_refused()
    line = caller.dial(stream_id)
    session = await caller.shake_hands(line, stream_id)
    assert await caller.dial(stream_id).is_refused(), "while the first is at it"
    line.send(session.seal(FrameKind.ACCEPT))
    stream = await caller.opened()
    assert await caller.dial(stream_id).is_refused(), "after it was opened"
    line.cut()
    assert await stream.receive() is None
    async with asyncio.timeout(WAIT_S):
        await line.task
    assert await caller.dial(stream_id).is_refused(), "after it has ended"


async def test_a_flood_of_ids_that_nobody_waits_for_leaves_nothing(rig: Rig) -> None:
    caller = await connect(rig)
    lines = [caller.dial(tunnel.encode_stream_id(os.urandom(32))) for _ in range(500)]
    lines += [caller.dial("x"), caller.dial("../../config"), caller.dial("")]
    for line in lines:
        assert (await line.next())["type"] == "websocket.close"
        async with asyncio.timeout(WAIT_S):
            await line.task
    assert (len(rig.side.tunnel), rig.side.tunnel.waiting) == (0, 0)


@pytest.mark.parametrize("first", ["data", "junk", "cut"])
async def test_a_device_that_gives_no_answer_opens_nothing(rig: Rig, first: str) -> None:
    caller = await connect(rig)
    stream_id = await caller.call()
    line = caller.dial(stream_id)
    session = await caller.shake_hands(line, stream_id)
    if first == "cut":
        line.cut()
        with pytest.raises(errors.OpenTimeoutError, match="broke while"):
            await caller.opened()
        return
    line.send(session.seal(FrameKind.DATA, b"x") if first == "data" else b"junk")
    assert await line.is_refused()
    assert len(rig.side.tunnel) == 0
    caller.opening.cancel()


async def test_a_changed_frame_ends_the_stream_as_failed(rig: Rig) -> None:
    caller = await connect(rig)
    stream_id = await caller.call()
    line = caller.dial(stream_id)
    session = await caller.shake_hands(line, stream_id)
    line.send(session.seal(FrameKind.ACCEPT))
    stream = await caller.opened()
    frame = bytearray(session.seal(FrameKind.DATA, b"rm -r /tmp/x"))
    frame[5] ^= 1
    line.send(bytes(frame))
    assert await stream.receive() is None
    assert stream.cause is not None
    assert stream.cause.code is CloseCode.FAILED


class Silent:
    """A way to nodes that never dial back."""

    def __init__(self) -> None:
        self.hung_up: list[StreamId] = []

    def __contains__(self, device_id: DeviceId) -> bool:
        return device_id != "away"

    def want_stream(self, device_id: DeviceId, stream: StreamId) -> bool:
        return device_id in self

    def hang_up(self, device_id: DeviceId, stream: StreamId) -> None:
        self.hung_up.append(stream)


async def test_wishes_are_bounded_by_node_and_by_controller_and_in_time() -> None:
    broker = Broker(Silent(), TunnelLimits(streams=5, streams_per_node=3, open_timeout_s=0.5))

    async def wish(device: str) -> type[Exception] | None:
        try:
            await broker.open(DeviceId(device), REQUEST)
        except errors.TunnelError as error:
            return type(error)
        return None

    results = await asyncio.gather(*(wish(device) for device in ("a", "a", "a", "a", "b", "b", "b", "away")))
    late, many = errors.OpenTimeoutError, errors.TooManyStreamsError
    assert results == [late, late, late, many, late, late, many, many]
    assert broker.waiting == 0
    assert await wish("away") is errors.NotConnectedError
    with pytest.raises(errors.RequestTooLongError):
        await broker.open(DeviceId("a"), StreamRequest("exec", {"command": ["x" * 60_000]}))


async def test_a_node_that_knows_what_is_wanted_gets_longer_to_reach_it(rig: Rig) -> None:
    caller = await connect(rig)
    rig.side.tunnel.limits = TunnelLimits(open_timeout_s=0.5, answer_timeout_s=WAIT_S)
    stream_id = await caller.call()
    line = caller.dial(stream_id)
    session = await caller.shake_hands(line, stream_id)
    await asyncio.sleep(0.8)
    assert not caller.opening.done()
    line.send(session.seal(FrameKind.ACCEPT))
    await (await caller.opened()).close()


@pytest.mark.parametrize("is_given_up", [False, True])
async def test_a_node_that_reaches_nothing_in_time_is_told_to_stop_trying(rig: Rig, is_given_up: bool) -> None:
    caller = await connect(rig)
    rig.side.tunnel.limits = TunnelLimits(answer_timeout_s=WAIT_S if is_given_up else 0.3)
    stream_id = await caller.call()
    line = caller.dial(stream_id)
    session = await caller.shake_hands(line, stream_id)
    if is_given_up:
        caller.opening.cancel()
    else:
        with pytest.raises(errors.OpenTimeoutError, match=r"has not answered within 0\.3 s"):
            await caller.opened()
    while (notice := notify.parse_notice((await caller.notices.next())["text"])).hangup is None:
        pass
    assert notice.hangup == stream_id
    line.send(session.seal_close(CloseCause(CloseCode.GONE)))
    async with asyncio.timeout(WAIT_S):
        await line.task
    assert (len(rig.side.tunnel), rig.side.tunnel.waiting) == (0, 0)


async def test_a_stream_on_which_nothing_travels_is_closed_as_idle(rig: Rig) -> None:
    caller = await connect(rig)
    rig.side.tunnel.limits = TunnelLimits(idle_timeout_s=0.3)
    stream_id = await caller.call()
    line = caller.dial(stream_id)
    session = await caller.shake_hands(line, stream_id)
    line.send(session.seal(FrameKind.ACCEPT))
    stream = await caller.opened()
    frame = session.open((await line.next())["bytes"])
    assert tunnel.parse_close(frame.data).code is CloseCode.IDLE
    assert stream.cause is not None
    async with asyncio.timeout(WAIT_S):
        await line.task


async def test_streams_of_a_device_that_is_removed_end(rig: Rig) -> None:
    caller = await connect(rig)
    stream_id = await caller.call()
    line = caller.dial(stream_id)
    session = await caller.shake_hands(line, stream_id)
    line.send(session.seal(FrameKind.ACCEPT))
    stream = await caller.opened()
    rig.side.tunnel.drop(caller.device.id)
    assert tunnel.parse_close(session.open((await line.next())["bytes"]).data).code is CloseCode.STOPPING
    with pytest.raises(StreamClosedError, match="no longer part of the fleet"):
        await stream.send(b"x")
