"""Finds where the app of a pod runs, for what talks with it: port-forward, exec, attach, consoles."""

from __future__ import annotations

from msgspec import Struct

from eaves.controller.api.routing import Target
from eaves.controller.documents import decode_object, key_of
from eaves.controller.tunnel.abc import Tunnel
from eaves.controller.tunnel.errors import RefusedError, TunnelError
from eaves.kinds import app, edgenode
from eaves.kinds.pod_projection import pod_uid
from eaves.kube import status
from eaves.kube.resource import Object
from eaves.store.abc import ObjectStore
from eaves.tunnel.stream import TunnelStream
from eaves.wire.identifiers import AppId, DeviceId
from eaves.wire.tunnel import StreamRequest


class Workload(Struct, frozen=True):
    """An app on its node."""

    app_id: AppId
    device_id: DeviceId
    node_name: str
    app: Object
    pod_uid: str


def check_connected(tunnel: Tunnel, workload: Workload) -> None:
    """Raises ApiError 503 when the workload's node cannot be called at the moment."""
    if not tunnel.is_connected(workload.device_id):
        raise status.service_unavailable(f"node {workload.node_name} is not connected to this controller", 5)


async def open_stream(tunnel: Tunnel, workload: Workload, request: StreamRequest) -> TunnelStream:
    """A stream to the workload's node. Raises ApiError 400 when the node refuses it, 503 when the node cannot be reached."""
    try:
        return await tunnel.open(workload.device_id, request)
    except RefusedError as error:
        raise status.bad_request(f"node {workload.node_name}: {error.message}") from error
    except TunnelError as error:
        remedy = f"; {error.resolution}" if error.resolution else ""
        raise status.service_unavailable(f"node {workload.node_name}: {error.message}{remedy}") from error


async def find_workload(store: ObjectStore, target: Target) -> Workload:
    """The app that ``target`` (a pod or an app) names. Raises ApiError 404, and 400 while it has no node."""
    stored = await store.get(key_of(app.RESOURCE, target.namespace, target.name))
    if stored is None:
        raise status.not_found(target.group, target.resource, target.name)
    name = stored.fields.get("spec.nodeName", "")
    node = await store.get(key_of(edgenode.RESOURCE, "", name)) if name else None
    if node is None:
        why = f"names node {name}, which does not exist" if name else "names no node"
        raise status.bad_request(f"app {target.name} does not run anywhere: it {why}")
    obj = decode_object(stored)
    counter = (obj.get("spec") or {}).get("restartCounter", 0)
    return Workload(AppId(stored.uid), DeviceId(node.uid), name, obj, pod_uid(stored.uid, counter))
