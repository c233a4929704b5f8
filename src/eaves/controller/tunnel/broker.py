"""Matches those who want streams with the nodes that dial back for them. Everything is bounded and in memory.

:meth:`Broker.open` puts a wish into the table and has the notify channel call the node; the endpoint claims the wish when a WebSocket with
its id comes, proves the node and answers the wish. A wish is answered once and leaves the table, so its id is good once.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from typing import Protocol

from msgspec import Struct

from eaves.controller.tunnel.abc import Tunnel
from eaves.controller.tunnel.errors import (
    NotConnectedError,
    OpenTimeoutError,
    RequestTooLongError,
    TooManyStreamsError,
    TunnelError,
)
from eaves.controller.tunnel.stream import SocketStream
from eaves.tunnel.stream import TunnelStream
from eaves.wire import tunnel
from eaves.wire.identifiers import DeviceId
from eaves.wire.tunnel import CloseCause, CloseCode, StreamId, StreamRequest, TunnelProtocolError


class Caller(Protocol):
    """Reaches nodes by the notify channel."""

    def __contains__(self, device_id: DeviceId) -> bool:
        """Whether the node is connected."""
        ...

    def want_stream(self, device_id: DeviceId, stream: StreamId) -> bool:
        """Ask the node to dial back; False when it is not connected."""
        ...

    def hang_up(self, device_id: DeviceId, stream: StreamId) -> None:
        """Tell the node that a stream has been ended here."""
        ...


class TunnelLimits(Struct, frozen=True):
    streams: int = 2500
    """Of this controller, opening ones counted."""
    streams_per_node: int = tunnel.NODE_STREAMS
    open_timeout_s: float = tunnel.OPEN_TIMEOUT_S
    answer_timeout_s: float = tunnel.ANSWER_TIMEOUT_S
    idle_timeout_s: float = tunnel.IDLE_TIMEOUT_S


class Wish:
    """A stream that somebody waits for."""

    def __init__(self, stream_id: StreamId, device_id: DeviceId, request: StreamRequest) -> None:
        self.stream_id = stream_id
        self.device_id = device_id
        self.request = request
        self.is_claimed = False
        """A WebSocket has come for it."""
        self.is_heard = False
        """The node has proved itself and knows what is wanted."""
        self._limit = asyncio.timeout(None)
        self._answer: asyncio.Future[SocketStream] = asyncio.get_running_loop().create_future()

    @property
    def is_over(self) -> bool:
        return self._answer.done()

    @property
    def is_answered(self) -> bool:
        """By the node, be it with a refusal."""
        return self._answer.done() and not self._answer.cancelled()

    def grant(self, stream: SocketStream) -> bool:
        """Hand the stream over; False when nobody waits any more."""
        if self._answer.done():
            return False
        self._answer.set_result(stream)
        return True

    def fail(self, error: TunnelError) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)

    def expect(self, timeout_s: float) -> None:
        """The node has heard what is wanted, and gets so long for its answer."""
        self.is_heard = True
        if not (self.is_over or self._limit.expired()):
            self._limit.reschedule(asyncio.get_running_loop().time() + timeout_s)

    async def wait(self, timeout_s: float) -> SocketStream:
        """Until the answer: so long for the node to hear of it, then as long as :meth:`expect` says."""
        self._limit = asyncio.timeout(timeout_s)
        try:
            async with self._limit:
                return await asyncio.shield(self._answer)
        except BaseException:
            if self._answer.done() and not self._answer.cancelled() and self._answer.exception() is None:
                # It came at the very moment in which the caller gave up.
                self._answer.result().ask_close(CloseCause(CloseCode.GONE))
            self._answer.cancel()
            raise


class Broker(Tunnel):
    """The tunnel of one controller process."""

    def __init__(self, caller: Caller, limits: TunnelLimits | None = None) -> None:
        self._caller = caller
        self.limits = limits or TunnelLimits()
        self._wishes: dict[StreamId, Wish] = {}
        self._streams: dict[SocketStream, DeviceId] = {}
        self._opening: Counter[DeviceId] = Counter()
        self._open: Counter[DeviceId] = Counter()

    def __len__(self) -> int:
        """Streams that are open."""
        return len(self._streams)

    @property
    def waiting(self) -> int:
        """Wishes that no node has answered yet."""
        return len(self._wishes)

    def is_connected(self, device_id: DeviceId) -> bool:
        return device_id in self._caller

    async def open(self, device_id: DeviceId, request: StreamRequest) -> TunnelStream:
        self._check_limits(device_id)
        stream_id = tunnel.encode_stream_id(secrets.token_bytes(tunnel.ID_BYTES))
        wish = Wish(stream_id, device_id, request)
        self._wishes[stream_id] = wish
        self._opening[device_id] += 1
        try:
            _check_request(wish)
            if not self._caller.want_stream(device_id, stream_id):
                raise NotConnectedError(
                    "the node is not connected",
                    resolution="wait until it is online; a node whose notify channel is switched off cannot be reached",
                )
            return await wish.wait(self.limits.open_timeout_s)
        except TimeoutError as error:
            raise self._explain_timeout(wish) from error
        finally:
            self._wishes.pop(stream_id, None)
            _count_down(self._opening, device_id)
            if wish.is_heard and not wish.is_answered:
                # It would go on trying to reach what nobody wants any more.
                self.hang_up(wish)

    def _explain_timeout(self, wish: Wish) -> OpenTimeoutError:
        if wish.is_heard:
            return OpenTimeoutError(
                f"the node has not answered within {self.limits.answer_timeout_s:g} s",
                resolution="look how busy the node and the app are, then try again",
            )
        return OpenTimeoutError(
            f"the node did not dial back within {self.limits.open_timeout_s:g} s",
            resolution="look whether its version knows streams and whether a proxy on its way lets WebSockets through",
        )

    def claim(self, device_id: DeviceId, stream_id: str) -> Wish | None:
        """The wish that a WebSocket comes for; None when there is no such one of this device, or another socket is at it."""
        wish = self._wishes.get(StreamId(stream_id))
        if wish is None or wish.device_id != device_id or wish.is_claimed or wish.is_over:
            return None
        wish.is_claimed = True
        return wish

    def enter(self, device_id: DeviceId, stream: SocketStream) -> None:
        """Count an accepted stream."""
        self._streams[stream] = device_id
        self._open[device_id] += 1

    def leave(self, stream: SocketStream) -> None:
        device_id = self._streams.pop(stream)
        _count_down(self._open, device_id)

    def hang_up(self, wish: Wish) -> None:
        """Tell the node that the wish's stream has been ended here."""
        self._caller.hang_up(wish.device_id, wish.stream_id)

    def drop(self, device_id: DeviceId, _name: str = "") -> None:
        """End all streams of a device that is no longer known."""
        for wish in list(self._wishes.values()):
            if wish.device_id == device_id:
                wish.fail(NotConnectedError("the node is gone"))
        for stream, owner in self._streams.items():
            if owner == device_id:
                stream.ask_close(CloseCause(CloseCode.STOPPING, "the node is no longer part of the fleet"))

    def stop(self) -> None:
        """End everything: the controller stops."""
        for wish in list(self._wishes.values()):
            wish.fail(NotConnectedError("the controller stops"))
        for stream in self._streams:
            stream.ask_close(CloseCause(CloseCode.STOPPING, "the controller stops"))

    def _check_limits(self, device_id: DeviceId) -> None:
        of_node = self._opening[device_id] + self._open[device_id]
        if of_node >= self.limits.streams_per_node:
            raise TooManyStreamsError(
                f"the node has {of_node} streams already", resolution="close some of them or try again later"
            )
        if len(self._wishes) + len(self._streams) >= self.limits.streams:
            raise TooManyStreamsError(
                f"this controller has {self.limits.streams} streams already", resolution="try again later"
            )


def _check_request(wish: Wish) -> None:
    try:
        tunnel.check_request(wish.request)
    except TunnelProtocolError as error:
        raise RequestTooLongError(error.message) from error


def _count_down(counter: Counter[DeviceId], device_id: DeviceId) -> None:
    counter[device_id] -= 1
    if not counter[device_id]:
        del counter[device_id]
