"""Serves ``pods/NAME/exec`` and ``pods/NAME/attach``: the channels of a client, carried by a stream of the tunnel to the node.

What can be known before the WebSocket is accepted is refused with an HTTP status. What the node finds later goes over the error channel,
as a kubelet's runtime errors do: kubectl would take a refused upgrade for a server that knows no WebSockets and come again by SPDY.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import parse_qs

from msgspec import Struct

from eaves.controller.api.consoles import attach_console, check_serial, is_machine
from eaves.controller.api.http import Request
from eaves.controller.api.routing import Target, is_true
from eaves.controller.api.sockets import Conversation, SocketClosedError, choose_subprotocol
from eaves.controller.api.spdychannels import SUBPROTOCOLS as SPDY_SUBPROTOCOLS
from eaves.controller.api.spdychannels import talk_by_spdy
from eaves.controller.api.spdysession import Pipe
from eaves.controller.api.workloads import Workload, check_connected, find_workload
from eaves.controller.tunnel.abc import Tunnel
from eaves.controller.tunnel.errors import TunnelError
from eaves.kinds.pod_projection import CONTAINER_NAME
from eaves.kube import status
from eaves.store.abc import ObjectStore
from eaves.tunnel.stream import StreamClosedError, TunnelStream
from eaves.wire import channels, tunnel
from eaves.wire.channels import Channel
from eaves.wire.tunnel import DONE, CloseCause, CloseCode, StreamKind, StreamRequest


class StreamOptions(Struct, frozen=True):
    """What a client of exec or attach asks for."""

    command: Sequence[str]
    stdin: bool
    tty: bool
    expected: frozenset[Channel]
    """Channels that the client uses."""


def parse_stream_options(request: Request, pod: str) -> StreamOptions:
    """Raises ApiError 400."""
    query = request.query
    container = query.get("container", "")
    if container not in ("", CONTAINER_NAME):
        raise status.bad_request(f"container {container} is not valid for pod {pod}")
    wanted = {name: is_true(query, name) for name in ("stdin", "stdout", "stderr", "tty")}
    if not any(wanted[name] for name in ("stdin", "stdout", "stderr")):
        raise status.bad_request("you must specify at least one of stdin, stdout, stderr")
    command = parse_qs(request.scope["query_string"].decode("utf-8", "replace"), keep_blank_values=True).get("command")
    # With a terminal, what a command says is one stream; its size has a channel of its own.
    used = {"stdin": Channel.STDIN, "stdout": Channel.STDOUT, "tty": Channel.RESIZE}
    used |= {} if wanted["tty"] else {"stderr": Channel.STDERR}
    expected = frozenset({Channel.ERROR} | {channel for name, channel in used.items() if wanted[name]})
    return StreamOptions(command or (), wanted["stdin"], wanted["tty"], expected)


class PodStreams:
    """The handlers of both subresources."""

    def __init__(self, store: ObjectStore, tunnel: Tunnel) -> None:
        self._store = store
        self._tunnel = tunnel

    async def serve_exec(self, request: Request, target: Target) -> Conversation:
        """Raises ApiError 400, 404, 503."""
        workload = await find_workload(self._store, target)
        options = parse_stream_options(request, target.name)
        if not options.command:
            raise status.bad_request("you must specify a command to run")
        parameters: dict[str, object] = {"app": workload.app_id, "command": list(options.command)}
        return await self._serve(request, workload, StreamKind.EXEC, parameters, options)

    async def serve_attach(self, request: Request, target: Target) -> Conversation:
        """Raises ApiError 400, 404, 503."""
        workload = await find_workload(self._store, target)
        options = parse_stream_options(request, target.name)
        if is_machine(workload):
            check_serial(workload)
            return await self._serve(request, workload, StreamKind.CONSOLE, {"app": workload.app_id}, options)
        return await self._serve(request, workload, StreamKind.ATTACH, {"app": workload.app_id}, options)

    async def _serve(
        self,
        request: Request,
        workload: Workload,
        kind: StreamKind,
        parameters: dict[str, object],
        options: StreamOptions,
    ) -> Conversation:
        check_connected(self._tunnel, workload)
        subprotocol = choose_subprotocol(request, (*channels.SUBPROTOCOLS, *SPDY_SUBPROTOCOLS))
        wanted = StreamRequest(kind, {**parameters, "stdin": options.stdin, "tty": options.tty})

        async def talk(client: Pipe) -> None:
            await self._talk(client, workload, wanted)

        if subprotocol in SPDY_SUBPROTOCOLS:
            return Conversation(lambda socket: talk_by_spdy(socket, options.expected, talk), subprotocol)
        return Conversation(talk, subprotocol)

    async def _talk(self, socket: Pipe, workload: Workload, wanted: StreamRequest) -> None:
        try:
            stream = await self._tunnel.open(workload.device_id, wanted)
        except TunnelError as error:
            verb = "executing command in" if wanted.kind == StreamKind.EXEC else "attaching to"
            text = f"error {verb} container {CONTAINER_NAME} on node {workload.node_name}: {error.message}"
            await socket.send(channels.encode_failure(text))
            return
        if wanted.kind == StreamKind.CONSOLE:
            await attach_console(socket, stream)
        else:
            await carry_channels(socket, stream, workload.node_name)


async def carry_channels(socket: Pipe, stream: TunnelStream, node: str) -> None:
    """Carry messages both ways until the node has told the end or the client has gone. Raises SocketClosedError for the latter."""
    up = asyncio.create_task(_carry_up(socket, stream), name="channels to the node")
    down = asyncio.create_task(_carry_down(stream, socket, node), name="channels to the client")
    ending = CloseCause(CloseCode.GONE, "the client has gone")
    try:
        await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        if down.done() and down.exception() is None:
            ending = DONE
    finally:
        up.cancel()
        down.cancel()
        await asyncio.wait((up, down))
        await stream.close(ending)
    for task in (down, up):
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def _carry_up(socket: Pipe, stream: TunnelStream) -> None:
    """Until the client goes."""
    while (message := await socket.receive()) is not None:
        data = message.encode() if isinstance(message, str) else message
        try:
            for piece in channels.split_message(data, tunnel.DATA_LIMIT_BYTES):
                await stream.send(piece)
        except StreamClosedError:
            # What the node had to say about its end comes the other way.
            await asyncio.get_running_loop().create_future()
    raise SocketClosedError("the client has gone")


async def _carry_down(stream: TunnelStream, socket: Pipe, node: str) -> None:
    """Until the node has told how it ended; where it does not, the client is told that."""
    is_told = False
    # As a kubelet does, so that a client knows that the command runs before it says anything.
    await socket.send(channels.encode_message(Channel.STDOUT, b""))
    while (message := await stream.receive()) is not None:
        is_told = is_told or message[0] == Channel.ERROR
        await socket.send(message)
    if not is_told:
        why = stream.cause or CloseCause(CloseCode.FAILED, "the node told no end")
        await socket.send(channels.encode_failure(f"the stream from node {node} ended: {why.message or why.code}"))
