"""Serves images of disks to take away: ``apps/NAME/export`` and ``volumes/NAME/export``, over a WebSocket from the node.

Query parameters: ``disk`` (of a machine, by the name of its volume; its root disk without), ``snapshot`` (name of an AppSnapshot or
VolumeSnapshot), ``token`` and ``offset`` to go on with an image that was announced. What is sent is :mod:`eaves.wire.export`.
"""

from __future__ import annotations

from eaves.controller.api.consoles import RawSocket, is_machine
from eaves.controller.api.http import Request
from eaves.controller.api.relaying import relay
from eaves.controller.api.routing import Target
from eaves.controller.api.sockets import Conversation, Socket
from eaves.controller.api.workloads import Workload, find_workload, open_stream
from eaves.controller.documents import decode_object, key_of
from eaves.controller.tunnel.abc import Tunnel
from eaves.kinds import appsnapshot, edgenode, volume, volumesnapshot
from eaves.kube import status
from eaves.kube.resource import Resource
from eaves.store.abc import ObjectStore
from eaves.tunnel.stream import TunnelStream
from eaves.wire.identifiers import AppId, DeviceId
from eaves.wire.tunnel import CloseCode, StreamKind, StreamRequest

_QUIET_ENDS = frozenset({CloseCode.DONE, CloseCode.GONE})


class Exports:
    """The subresources' handlers."""

    def __init__(self, store: ObjectStore, tunnel: Tunnel) -> None:
        self._store = store
        self._tunnel = tunnel

    async def serve_app(self, request: Request, target: Target) -> Conversation:
        """Raises ApiError 400, 404, 503."""
        workload = await find_workload(self._store, target)
        if not is_machine(workload):
            raise status.bad_request(
                f"app {target.name} is a container: export a Volume of it, or copy files by kubectl cp"
            )
        snapshot = await self._find_snapshot(request, target, appsnapshot.RESOURCE, "appName")
        parameters = {"app": workload.app_id, "disk": request.query.get("disk", ""), "snapshot": snapshot}
        return await self._open(request, workload, parameters)

    async def serve_volume(self, request: Request, target: Target) -> Conversation:
        """Raises ApiError 400, 404, 503."""
        stored = await self._store.get(key_of(volume.RESOURCE, target.namespace, target.name))
        if stored is None:
            raise status.not_found(target.group, target.resource, target.name)
        obj = decode_object(stored)
        node_name = (obj.get("spec") or {}).get("nodeName", "")
        node = await self._store.get(key_of(edgenode.RESOURCE, "", node_name)) if node_name else None
        if node is None:
            raise status.bad_request(f"volume {target.name} is on no node")
        workload = Workload(AppId(""), DeviceId(node.uid), node_name, obj, "")
        snapshot = await self._find_snapshot(request, target, volumesnapshot.RESOURCE, "volumeName")
        return await self._open(request, workload, {"volume": stored.uid, "snapshot": snapshot})

    async def _open(self, request: Request, workload: Workload, parameters: dict[str, str]) -> Conversation:
        offset = request.query.get("offset", "0")
        if not offset.isdecimal():
            raise status.bad_request("offset is a number of bytes")
        wanted = {**parameters, "token": request.query.get("token", ""), "offset": int(offset)}
        if not request.is_websocket:
            raise status.bad_request("Upgrade request required")
        stream = await open_stream(self._tunnel, workload, StreamRequest(StreamKind.EXPORT, wanted))
        return Conversation(lambda socket: _talk(socket, stream), "")

    async def _find_snapshot(self, request: Request, target: Target, resource: Resource, field: str) -> str:
        """UUID of the snapshot that is named; empty when none is."""
        name = request.query.get("snapshot", "")
        if not name:
            return ""
        stored = await self._store.get(key_of(resource, target.namespace, name))
        if stored is None:
            raise status.not_found(resource.gvr.group, resource.gvr.resource, name)
        owner = (decode_object(stored).get("spec") or {}).get(field, "")
        if owner != target.name:
            raise status.bad_request(f"snapshot {name} is of {owner}, not of {target.name}")
        return stored.uid


async def _talk(socket: Socket, stream: TunnelStream) -> None:
    cause = await relay(RawSocket(socket), stream)
    if cause.code not in _QUIET_ENDS:
        socket.reason = cause.message or str(cause.code)
