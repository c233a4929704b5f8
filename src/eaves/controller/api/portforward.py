"""Serves ``pods/NAME/portforward``: connections to ports of an app, each one stream of the tunnel to its node.

kubectl from 1.31 on speaks SPDY inside a WebSocket (``spdyforward``); the Kubernetes client libraries of other languages open a
WebSocket a connection with two channels a port (``channelforward``).
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qs

from eaves.controller.api.channelforward import serve_channels
from eaves.controller.api.http import Request
from eaves.controller.api.relaying import ByteStream, relay
from eaves.controller.api.routing import Target
from eaves.controller.api.sockets import Conversation, choose_subprotocol
from eaves.controller.api.spdyforward import serve_pairs
from eaves.controller.api.workloads import Workload, check_connected, find_workload
from eaves.controller.tunnel.abc import Tunnel
from eaves.controller.tunnel.errors import TunnelError
from eaves.kube import status
from eaves.store.abc import ObjectStore
from eaves.wire.tunnel import CloseCode, StreamKind, StreamRequest

SPDY_SUBPROTOCOL = "SPDY/3.1+portforward.k8s.io"
CHANNEL_SUBPROTOCOL = "v4.channel.k8s.io"
MAX_PORTS = 64
"""Of one WebSocket with channels; a channel's number is one byte."""
_EXPECTED_ENDS = frozenset({CloseCode.DONE, CloseCode.GONE})


class PortForward:
    """The subresource's handler."""

    def __init__(self, store: ObjectStore, tunnel: Tunnel) -> None:
        self._store = store
        self._tunnel = tunnel

    async def serve(self, request: Request, target: Target) -> Conversation:
        """Raises ApiError 400, 404, 503."""
        workload = await find_workload(self._store, target)
        check_connected(self._tunnel, workload)
        subprotocol = choose_subprotocol(request, (SPDY_SUBPROTOCOL, CHANNEL_SUBPROTOCOL))
        forwarder = Forwarder(self._tunnel, workload, target.name)
        if subprotocol == SPDY_SUBPROTOCOL:
            return Conversation(lambda socket: serve_pairs(socket, forwarder.forward), subprotocol)
        ports = parse_ports(request.scope["query_string"])
        return Conversation(lambda socket: serve_channels(socket, ports, forwarder.forward), subprotocol)


class Forwarder:
    """Connects clients to ports of one app."""

    def __init__(self, tunnel: Tunnel, workload: Workload, pod: str) -> None:
        self._tunnel = tunnel
        self._workload = workload
        self._pod = pod

    async def forward(self, port: int, client: ByteStream) -> str:
        """One connection, from its start to its end. Answers what went wrong, in the words of a kubelet; empty when nothing did."""
        workload = self._workload
        wanted = StreamRequest(StreamKind.PORT_FORWARD, {"app": workload.app_id, "port": port})
        try:
            node = await self._tunnel.open(workload.device_id, wanted)
        except TunnelError as error:
            return self._describe(port, error.message)
        cause = await relay(client, node)
        if cause.code in _EXPECTED_ENDS:
            return ""
        return self._describe(port, f"the connection by node {workload.node_name} ended: {cause.message or cause.code}")

    def _describe(self, port: int, why: str) -> str:
        return f"error forwarding port {port} to pod {self._pod}, uid {self._workload.pod_uid}: {why}"


def parse_ports(query: bytes) -> Sequence[int]:
    """The ports of a WebSocket with channels: ``ports=80,81`` or ``ports=80&ports=81``. Raises ApiError 400."""
    given = parse_qs(query.decode("latin-1"))
    texts = [text for value in given.get("ports", []) + given.get("port", []) for text in value.split(",")]
    if not texts:
        raise status.bad_request('query parameter "ports" is required')
    if len(texts) > MAX_PORTS:
        raise status.bad_request(f"at most {MAX_PORTS} ports can be forwarded at once")
    ports = [int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0 for text in texts]
    for text, port in zip(texts, ports, strict=True):
        if not 0 < port < 65536:
            raise status.bad_request(f'port "{text}" is not a number from 1 to 65535')
    return ports
