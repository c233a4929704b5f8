"""Serves the screen and the serial line of virtual machines: ``apps/NAME/vnc`` and ``apps/NAME/console``, raw bytes over a WebSocket.

``kubectl eaves vnc`` and browsers use them; ``kubectl attach`` shows the serial line through :func:`attach_console`. The node's stream is
opened before the WebSocket is accepted, so what cannot be is refused with a Status.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from eaves.controller.api.http import Request
from eaves.controller.api.relaying import relay
from eaves.controller.api.routing import Target
from eaves.controller.api.sockets import Conversation, Socket, SocketClosedError, choose_subprotocol
from eaves.controller.api.spdysession import Pipe
from eaves.controller.api.workloads import Workload, find_workload, open_stream
from eaves.controller.tunnel.abc import Tunnel
from eaves.kinds.app_spec import AppType
from eaves.kube import status
from eaves.kube.errors import ApiError
from eaves.store.abc import ObjectStore
from eaves.tunnel.stream import TunnelStream
from eaves.wire import channels
from eaves.wire.channels import Channel
from eaves.wire.tunnel import CloseCode, StreamKind, StreamRequest

SUBPROTOCOLS = ("binary", "plain.eaves.dev")
"""The first is what browsers' VNC clients offer; a client may also offer none."""
_QUIET_ENDS = frozenset({CloseCode.DONE, CloseCode.GONE})


class Consoles:
    """The subresources' handlers."""

    def __init__(self, store: ObjectStore, tunnel: Tunnel) -> None:
        self._store = store
        self._tunnel = tunnel

    async def serve_vnc(self, request: Request, target: Target) -> Conversation:
        """Raises ApiError 400, 404, 503."""
        return await self._serve(request, target, StreamKind.VNC, check_screen)

    async def serve_console(self, request: Request, target: Target) -> Conversation:
        """Raises ApiError 400, 404, 503."""
        return await self._serve(request, target, StreamKind.CONSOLE, check_serial)

    async def _serve(
        self, request: Request, target: Target, kind: StreamKind, check: Callable[[Workload], None]
    ) -> Conversation:
        workload = await find_workload(self._store, target)
        check(workload)
        subprotocol = choose_subprotocol(request, SUBPROTOCOLS) if request.subprotocols else ""
        if not request.is_websocket:
            raise status.bad_request("Upgrade request required")
        stream = await open_stream(self._tunnel, workload, StreamRequest(kind, {"app": workload.app_id}))
        return Conversation(lambda socket: _talk(RawSocket(socket), socket, stream), subprotocol)


async def attach_console(socket: Pipe, stream: TunnelStream) -> None:
    """Show a machine's serial line to a client of ``pods/NAME/attach``, in channels, until one of them ends."""
    cause = await relay(ChannelSocket(socket), stream)
    ending = channels.encode_exit(0) if cause.code in _QUIET_ENDS else channels.encode_failure(str(cause))
    with contextlib.suppress(SocketClosedError):
        await socket.send(ending)


def check_screen(workload: Workload) -> None:
    """Raises ApiError 400 when the app has no screen to show."""
    _check_machine(workload, "screen")
    vnc = ((workload.app.get("spec") or {}).get("vm") or {}).get("vnc")
    if vnc is None or not vnc.get("enabled", True):
        raise _no_such(workload, "has no screen", "set spec.vm.vnc to {} to give it one from its next start on")
    _check_running(workload)


def check_serial(workload: Workload) -> None:
    """Raises ApiError 400 when the app has no serial console to show."""
    _check_machine(workload, "serial console")
    if not ((workload.app.get("spec") or {}).get("vm") or {}).get("serialConsole", True):
        remedy = "set spec.vm.serialConsole to true to give it one from its next start on"
        raise _no_such(workload, "has no serial console", remedy)
    _check_running(workload)


def is_machine(workload: Workload) -> bool:
    return bool((workload.app.get("spec") or {}).get("type") == AppType.VIRTUAL_MACHINE)


def _check_machine(workload: Workload, what: str) -> None:
    if not is_machine(workload):
        raise _no_such(workload, "is a container", f"only virtual machines have a {what}")


def _check_running(workload: Workload) -> None:
    phase = (workload.app.get("status") or {}).get("phase") or "Pending"
    if phase != "Running":
        name = workload.app["metadata"]["name"]
        raise _no_such(workload, f"is not running (its phase is {phase})", f"kubectl eaves why app/{name} says why")


def _no_such(workload: Workload, why: str, remedy: str) -> ApiError:
    return status.bad_request(f"app {workload.app['metadata']['name']} {why}: {remedy}")


class RawSocket:
    """A WebSocket as bytes both ways; a viewer that ends one way ends both."""

    has_half_close = False
    is_broken = True

    def __init__(self, socket: Pipe) -> None:
        self._socket = socket

    async def receive(self) -> bytes | None:
        while (message := await self._socket.receive()) is not None:
            if data := message.encode() if isinstance(message, str) else message:
                return data
        return None

    async def send(self, data: bytes) -> None:
        await self._socket.send(data)

    async def send_end(self) -> None:
        """The end of the WebSocket says it."""


class ChannelSocket(RawSocket):
    """A WebSocket of ``kubectl attach``: what is typed comes on one channel, what is shown goes on another. Sizes mean nothing here."""

    async def receive(self) -> bytes | None:
        while (message := await super().receive()) is not None:
            if message[0] == Channel.STDIN and len(message) > 1:
                return message[1:]
        return None

    async def send(self, data: bytes) -> None:
        await super().send(channels.encode_message(Channel.STDOUT, data))


async def _talk(client: RawSocket, socket: Socket, stream: TunnelStream) -> None:
    cause = await relay(client, stream)
    if cause.code not in _QUIET_ENDS:
        socket.reason = cause.message or str(cause.code)
