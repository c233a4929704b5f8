"""The gateway's side of a WebSocket that a node opened for a stream: handshake, then the stream's life.

Who comes with an id that nobody waits for is refused before the WebSocket is accepted, so strangers cost no more than a look-up. The
proof is verified like every message of the device API, but is not counted against the device's rate: the controller asked for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable

from eaves.controller.gateway.errors import GatewayError
from eaves.controller.gateway.verify import Verifier
from eaves.controller.tunnel.broker import Broker, Wish
from eaves.controller.tunnel.errors import OpenTimeoutError, RefusedError
from eaves.controller.tunnel.stream import Receive, Send, SocketStream
from eaves.tunnel.stream import CLOSE_TIMEOUT_S
from eaves.wire import tunnel
from eaves.wire.identifiers import DeviceId
from eaves.wire.tunnel import CloseCause, CloseCode, FrameKind, FreshKey, Opening, Session, TunnelProtocolError

log = logging.getLogger(__name__)

_NORMAL = 1000
_POLICY_VIOLATION = 1008


class StreamEndpoint:
    """``seal`` signs a payload with the controller's signing key."""

    def __init__(self, broker: Broker, verifier: Verifier, seal: Callable[[bytes], bytes]) -> None:
        self._broker = broker
        self._verifier = verifier
        self._seal = seal

    async def serve(self, device_id: DeviceId, stream_id: str, source: str, receive: Receive, send: Send) -> None:
        """One connection from its opening to its end."""
        if (await receive())["type"] != "websocket.connect":
            return
        wish = self._broker.claim(device_id, stream_id)
        if wish is None:
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return
        try:
            await send({"type": "websocket.accept"})
            limits = self._broker.limits
            async with asyncio.timeout(limits.open_timeout_s):
                session = await self._shake_hands(wish, source, receive, send)
            stream = SocketStream(session, receive, send, lambda: self._broker.hang_up(wish))
            wish.expect(limits.answer_timeout_s)
            async with asyncio.timeout(limits.answer_timeout_s):
                is_accepted = await _wait_accepted(wish, stream)
        except (TimeoutError, GatewayError, TunnelProtocolError) as error:
            log.warning("node did not open a stream: device=%s error=%s", device_id, error)
            await _close_socket(send, _POLICY_VIOLATION)
            return
        finally:
            # Another connection may still come for the wish; after an answer nobody waits any more.
            wish.is_claimed = False
        if is_accepted:
            await self._keep(wish, stream)
        await _close_socket(send, _NORMAL)

    async def _shake_hands(self, wish: Wish, source: str, receive: Receive, send: Send) -> Session:
        challenge = secrets.token_bytes(tunnel.CHALLENGE_BYTES)
        await send({"type": "websocket.send", "text": tunnel.encode_challenge(challenge)})
        message = await receive()
        proof = message.get("bytes") or b""
        if not 0 < len(proof) <= tunnel.PROOF_LIMIT_BYTES:
            raise TunnelProtocolError("no proof came")
        verified = await self._verifier.open(proof, source, is_counted=False)
        if verified.device.id != wish.device_id:
            raise TunnelProtocolError("the proof is another device's")
        node_key = tunnel.parse_proof(verified.payload, challenge, wish.stream_id)
        key = FreshKey()
        session = Session.of_controller(key, node_key, challenge, wish.stream_id)
        opening = Opening(wish.stream_id, wish.device_id, node_key, key.public, wish.request)
        await send({"type": "websocket.send", "bytes": self._seal(tunnel.encode_opening(opening))})
        return session

    async def _keep(self, wish: Wish, stream: SocketStream) -> None:
        self._broker.enter(wish.device_id, stream)
        try:
            if not wish.grant(stream):
                await stream.close(CloseCause(CloseCode.GONE, "nobody waits for the stream any more"))
            await stream.keep(self._broker.limits.idle_timeout_s)
        finally:
            self._broker.leave(stream)


async def _wait_accepted(wish: Wish, stream: SocketStream) -> bool:
    try:
        frame = await stream.receive_frame()
    except OSError:
        wish.fail(OpenTimeoutError("the node's connection broke while the stream was opened", resolution="try again"))
        return False
    if frame.kind is FrameKind.REFUSE:
        wish.fail(RefusedError(tunnel.parse_refusal(frame.data)))
        return False
    if frame.kind is FrameKind.CLOSE and wish.is_over:
        # Nobody waits any more, and the node has heard of it.
        return False
    if frame.kind is not FrameKind.ACCEPT:
        raise TunnelProtocolError("the node's first frame is no answer")
    return True


async def _close_socket(send: Send, code: int) -> None:
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await send({"type": "websocket.close", "code": code})
