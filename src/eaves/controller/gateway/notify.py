"""The notify channel's end in the controller: who is connected, and what each is to be told.

A node opens the WebSocket, proves its key on a challenge, and then gets the hash of its config at once and at each change. Words for
one node are merged while it is slow to take them, so a node costs the memory of one message at most. Everything here is a hint; what a
node misses it learns by polling.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from eaves.controller.gateway.errors import GatewayError, TooManyError
from eaves.controller.gateway.limits import Slots
from eaves.controller.gateway.verify import Verifier
from eaves.wire import notify
from eaves.wire.identifiers import AppId, DeviceId
from eaves.wire.notify import LogsWanted, Notice
from eaves.wire.tunnel import NODE_STREAMS, StreamId

PROOF_TIMEOUT_S = 15.0
MAX_UNPROVEN = 2000
MAX_UNPROVEN_OF_SOURCE = 200
"""Connections that have not answered their challenge yet."""
_MAX_WISHES = 64
_MAX_STREAM_WORDS = 2 * NODE_STREAMS

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_POLICY_VIOLATION = 1008
_GOING_AWAY = 1001
_TRY_LATER = 1013


class _Mailbox:
    """What one connected node is to be told next."""

    def __init__(self) -> None:
        self._config: str | None = None
        self._certs: str | None = None
        self._logs: dict[str, int] = {}
        self._streams: list[Notice] = []
        self._filled = asyncio.Event()
        self.is_replaced = False

    def tell(self, notice: Notice) -> None:
        self._config = notice.config or self._config
        self._certs = notice.certs or self._certs
        if notice.logs is not None and (len(self._logs) < _MAX_WISHES or notice.logs.app in self._logs):
            self._logs[notice.logs.app] = notice.logs.seconds
        if (notice.stream or notice.hangup) and len(self._streams) < _MAX_STREAM_WORDS:
            self._streams.append(notice)
        self._filled.set()

    def replace(self) -> None:
        """End the connection: the node opened another one."""
        self.is_replaced = True
        self._filled.set()

    async def take(self) -> list[Notice]:
        """Wait for words and take them."""
        await self._filled.wait()
        self._filled.clear()
        notices = list(self._streams)
        if self._config is not None or self._certs is not None:
            notices.append(Notice(config=self._config, certs=self._certs))
        notices += [Notice(logs=LogsWanted(app, seconds)) for app, seconds in self._logs.items()]
        self._config = self._certs = None
        self._logs.clear()
        self._streams.clear()
        return notices


class NotifyHub:
    """Connected nodes; one connection a node, the newest wins."""

    def __init__(self) -> None:
        self._mailboxes: dict[DeviceId, _Mailbox] = {}

    def __len__(self) -> int:
        return len(self._mailboxes)

    def __contains__(self, device_id: DeviceId) -> bool:
        return device_id in self._mailboxes

    def tell_config(self, device_id: DeviceId, config_hash: str) -> None:
        """A node's config changed."""
        if (mailbox := self._mailboxes.get(device_id)) is not None:
            mailbox.tell(Notice(config=config_hash))

    def tell_certs(self, certs_hash: str) -> None:
        """The controller's certificates changed; every connected node hears of it."""
        for mailbox in self._mailboxes.values():
            mailbox.tell(Notice(certs=certs_hash))

    async def want_logs(self, device_id: str, app_id: str, seconds: int) -> bool:
        """Somebody reads the logs of an app (an empty ``app_id`` means the device's own). False when the node is not connected."""
        mailbox = self._mailboxes.get(DeviceId(device_id))
        if mailbox is None:
            return False
        mailbox.tell(Notice(logs=LogsWanted(AppId(app_id), seconds)))
        return True

    def want_stream(self, device_id: DeviceId, stream: StreamId) -> bool:
        """Ask the node to dial back for a stream. False when it is not connected."""
        mailbox = self._mailboxes.get(device_id)
        if mailbox is None:
            return False
        mailbox.tell(Notice(stream=stream))
        return True

    def hang_up(self, device_id: DeviceId, stream: StreamId) -> None:
        """Tell the node that a stream has been ended here."""
        if (mailbox := self._mailboxes.get(device_id)) is not None:
            mailbox.tell(Notice(hangup=stream))

    def drop(self, device_id: DeviceId) -> None:
        """End the connection of a device that is not known any more."""
        if (mailbox := self._mailboxes.pop(device_id, None)) is not None:
            mailbox.replace()

    def close(self) -> None:
        """End all connections, for a stop of the controller."""
        for device_id in list(self._mailboxes):
            self.drop(device_id)

    def open(self, device_id: DeviceId) -> _Mailbox:
        self.drop(device_id)
        mailbox = self._mailboxes[device_id] = _Mailbox()
        return mailbox

    def leave(self, device_id: DeviceId, mailbox: _Mailbox) -> None:
        if self._mailboxes.get(device_id) is mailbox:
            del self._mailboxes[device_id]


class Greeting(Struct, frozen=True):
    """What a node is told first."""

    config: str | None
    certs: str


class NotifyEndpoint:
    """The ASGI side of the channel."""

    def __init__(
        self,
        hub: NotifyHub,
        verifier: Verifier,
        greet: Callable[[DeviceId], Greeting],
        seen: Callable[[DeviceId], None],
    ) -> None:
        self._hub = hub
        self._verifier = verifier
        self._greet = greet
        self._seen = seen
        self._unproven = 0
        self._of_source: Slots[str] = Slots(MAX_UNPROVEN_OF_SOURCE)

    async def serve(self, device_id: DeviceId, source: str, receive: Receive, send: Send) -> None:
        """One connection from its opening to its end."""
        if (await receive())["type"] != "websocket.connect":
            return
        if self._unproven >= MAX_UNPROVEN or self._of_source.is_full(source):
            await send({"type": "websocket.close", "code": _TRY_LATER})
            return
        self._unproven += 1
        self._of_source.enter(source)
        try:
            await send({"type": "websocket.accept"})
            is_proven = await self._prove(device_id, source, receive, send)
        finally:
            self._unproven -= 1
            self._of_source.leave(source)
        if is_proven:
            await self._talk(device_id, receive, send)

    async def _prove(self, device_id: DeviceId, source: str, receive: Receive, send: Send) -> bool:
        challenge = secrets.token_bytes(notify.CHALLENGE_BYTES)
        await send({"type": "websocket.send", "text": notify.encode_challenge(challenge)})
        try:
            async with asyncio.timeout(PROOF_TIMEOUT_S):
                message = await receive()
            if message["type"] != "websocket.receive":
                return False
            answer = message.get("bytes") or b""
            if len(answer) > notify.ANSWER_LIMIT_BYTES:
                raise TooManyError("answer is too long", 1)
            verified = await self._verifier.open(answer, source)
        except (TimeoutError, GatewayError):
            verified = None
        if verified is None or verified.device.id != device_id or verified.payload != notify.want_answer(challenge):
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return False
        return True

    async def _talk(self, device_id: DeviceId, receive: Receive, send: Send) -> None:
        """Tell what there is to tell until either side ends. Pings of the server's WebSocket layer find dead peers."""
        mailbox = self._hub.open(device_id)
        self._seen(device_id)
        greeting = self._greet(device_id)
        mailbox.tell(Notice(config=greeting.config, certs=greeting.certs))
        telling = asyncio.create_task(self._tell(mailbox, send), name=f"notify {device_id}")
        listening = asyncio.create_task(_listen(receive), name=f"notify end {device_id}")
        try:
            await asyncio.wait((telling, listening), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.leave(device_id, mailbox)
            for task in (telling, listening):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await task

    @staticmethod
    async def _tell(mailbox: _Mailbox, send: Send) -> None:
        while True:
            notices = await mailbox.take()
            for notice in notices:
                await send({"type": "websocket.send", "text": notify.encode_notice(notice)})
            if mailbox.is_replaced:
                await send({"type": "websocket.close", "code": _GOING_AWAY})
                return


async def _listen(receive: Receive) -> None:
    """Wait for the end. A proven node has nothing to say; whatever it sends ends the connection."""
    await receive()
