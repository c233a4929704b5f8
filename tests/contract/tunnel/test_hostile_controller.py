"""The node's dialler against somebody who ended TLS and speaks in the controller's place, or is the controller and misbehaves."""

from __future__ import annotations

import asyncio
import datetime
import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.server import Server as WebSocketServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from eaves.node.link.client import Server
from eaves.node.tunnel.abc import Offer
from eaves.testing.device import Device, make_onboarding_pair
from eaves.testing.device_transport import AsgiTransport
from eaves.testing.stream_node import StreamNode
from eaves.wire import certificates, envelope, tunnel
from eaves.wire.envelope import Signer
from eaves.wire.errors import WireError
from eaves.wire.identifiers import DeviceId
from eaves.wire.tunnel import FreshKey, Opening, StreamId, StreamRequest

pytestmark = pytest.mark.contract

DEVICE = DeviceId("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")
WAIT_S = 60.0
Talk = Callable[["Hostile", ServerConnection, StreamId], Awaitable[None]]


def make_signer() -> Signer:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = certificates.make_device_certificate(key, datetime.datetime.now(datetime.UTC))
    return Signer(key, certificates.encode_certificate_pem(certificate))


class Noted:
    """A handler that must not be called."""

    def __init__(self) -> None:
        self.requests: list[StreamRequest] = []

    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        self.requests.append(request)
        stream = await offer.accept()
        while await stream.receive() is not None:
            pass


class Hostile:
    """A controller of which each test says how it talks. ``ended`` is set when the node has closed a stream's connection."""

    def __init__(self) -> None:
        self.talk: Talk
        self.signer, self.stranger = make_signer(), make_signer()
        self.ended = asyncio.Event()
        self.handler = Noted()
        self.node: StreamNode
        self.proofs: list[bytes] = []

    async def serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        stream = tunnel.parse_stream_id(connection.request.path.rpartition("/")[2])
        try:
            await self.talk(self, connection, stream)
            async for _ in connection:
                pass
        except ConnectionClosed:
            pass
        finally:
            self.ended.set()

    async def challenge(self, connection: ServerConnection, challenge: bytes = bytes(32)) -> bytes:
        """Answers the node's payload."""
        await connection.send(tunnel.encode_challenge(challenge))
        sealed = await connection.recv()
        assert isinstance(sealed, bytes)
        self.proofs.append(sealed)
        return envelope.parse_envelope(sealed).payload

    async def dial(self) -> None:
        self.ended.clear()
        self.node.dialler.dial(tunnel.encode_stream_id(os.urandom(32)))
        async with asyncio.timeout(WAIT_S):
            await self.ended.wait()


@pytest.fixture
async def hostile() -> AsyncIterator[Hostile]:
    found = Hostile()
    server: WebSocketServer = await serve(found.serve, "127.0.0.1", 0)
    device = Device(AsgiTransport(None), make_onboarding_pair())  # type: ignore[arg-type]  # it calls nobody
    device.id = DEVICE

    def open_sealed(body: bytes) -> bytes:
        sealed = envelope.parse_envelope(body)
        if sealed.sender_cert_hash != found.signer.cert_hash:
            raise WireError("signed by somebody else")
        envelope.check_signature(sealed, found.signer._certificate.public_key())  # type: ignore[arg-type]  # an EC key
        return sealed.payload

    device.open = open_sealed  # type: ignore[method-assign]  # certificates of a controller that there is not
    root_pem = certificates.encode_certificate_pem(device.certificate)
    node = found.node = StreamNode(device, 0, root_pem)
    node.link.client.server = Server("127.0.0.1", server.sockets[0].getsockname()[1], is_tls=False)
    node.dialler.register("exec", found.handler)
    running = asyncio.create_task(node.dialler.run())
    await asyncio.sleep(0)
    try:
        yield found
    finally:
        running.cancel()
        await asyncio.wait([running])
        server.close()
        await server.wait_closed()


def make_opening(stream: StreamId, proof: bytes, *, command: str = "id", device: str = DEVICE) -> bytes:
    node_key = proof[-tunnel.KEY_BYTES :]
    request = StreamRequest("exec", {"command": [command]})
    return tunnel.encode_opening(Opening(stream, device, node_key, FreshKey().public, request))


@pytest.mark.parametrize("what", ["stranger", "changed", "unsigned", "replayed", "other device", "text", "nothing"])
async def test_a_word_that_the_controller_did_not_sign_opens_nothing(hostile: Hostile, what: str) -> None:
    replayed: list[bytes] = []

    async def talk(hostile: Hostile, connection: ServerConnection, stream: StreamId) -> None:
        proof = await hostile.challenge(connection)
        payload = make_opening(stream, proof)
        sealed = hostile.signer.seal(payload)
        words: dict[str, bytes | str] = {
            "stranger": hostile.stranger.seal(payload),
            "changed": sealed.replace(b'"id"', b'"rm"'),
            "unsigned": payload,
            "replayed": replayed[0] if replayed else hostile.signer.seal(make_opening(stream, bytes(200))),
            "other device": hostile.signer.seal(make_opening(stream, proof, device="b" + DEVICE[1:])),
            "text": "hello",
        }
        replayed.append(sealed)
        if what == "nothing":
            await connection.close()
        else:
            await connection.send(words[what])

    hostile.talk = talk
    await hostile.dial()
    await hostile.dial()
    assert hostile.handler.requests == []
    assert len(set(hostile.proofs)) == len(hostile.proofs) == 2


async def test_what_the_node_signs_is_good_for_nothing_else(hostile: Hostile) -> None:
    """Also when the challenge is chosen by an enemy, such as the hash of some other call's body."""

    async def talk(hostile: Hostile, connection: ServerConnection, stream: StreamId) -> None:
        payload = await hostile.challenge(connection, b"\x0a" * 32)
        assert payload.startswith(b"eaves-tunnel-proof-v1\0")
        await connection.close()

    hostile.talk = talk
    await hostile.dial()
    assert len(hostile.proofs) == 1


async def test_the_controllers_own_word_opens_the_stream(hostile: Hostile) -> None:
    async def talk(hostile: Hostile, connection: ServerConnection, stream: StreamId) -> None:
        proof = await hostile.challenge(connection)
        await connection.send(hostile.signer.seal(make_opening(stream, proof)))
        await connection.recv()
        # Whoever does not have the stream's key can say nothing in it.
        await connection.send(b"\x00rm -r /")

    hostile.talk = talk
    await hostile.dial()
    assert [request.parameters for request in hostile.handler.requests] == [{"command": ["id"]}]


async def test_a_flood_of_notices_dials_a_bounded_number_of_times(hostile: Hostile) -> None:
    async def talk(hostile: Hostile, connection: ServerConnection, stream: StreamId) -> None:
        await connection.recv()

    hostile.talk = talk
    for _ in range(1000):
        hostile.node.dialler.dial(tunnel.encode_stream_id(os.urandom(32)))
    hostile.node.dialler.dial("no id")
    assert len(hostile.node.dialler) == tunnel.NODE_STREAMS + 32
