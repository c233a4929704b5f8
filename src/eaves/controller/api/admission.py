"""Rules that need other objects: ports of a node, its memory, subnets of networks that meet on it, namespaces that may not go.

Asked by the writer after an object is valid in itself and before it is stored. Writes that could clash with each other take turns by
node (:meth:`Admission.turn`), so that two apps created at the same moment cannot both get a port. Other controller processes do not
take part in that turn; what slips through so is found when the node's config is compiled, and said in the app's conditions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from eaves.controller.api import clusterrules, imagerules, memoryrules
from eaves.controller.compile.snapshots import ROOT_ANNOTATION, name_root
from eaves.controller.documents import decode_object, key_of
from eaves.kinds import (
    app,
    appsnapshot,
    datastore,
    edgenode,
    k3scluster,
    namespace,
    network,
    patchenvelope,
    subnets,
    volume,
    volumesnapshot,
)
from eaves.kinds.app_spec import DEFAULT_NETWORK, AppType
from eaves.kinds.deletion import deletion_fault
from eaves.kube import status
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.resource import Object, Resource
from eaves.store.abc import ObjectStore

PROTECTED_NAMESPACES = frozenset({"default", "kube-system", "kube-node-lease"})
_OWNERS = {
    appsnapshot.RESOURCE.gvr: (app.RESOURCE, "appName"),
    volumesnapshot.RESOURCE.gvr: (volume.RESOURCE, "volumeName"),
}
"""Whose each snapshot is, and the field of its spec that says so."""
_OWNER_VERSION = f"{app.RESOURCE.gvr.group}/{app.RESOURCE.gvr.version}"


class Admission:
    """Cross-object rules over the store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._turns: dict[str, _Turn] = {}

    @contextlib.asynccontextmanager
    async def turn(self, resource: Resource, new: Object) -> AsyncIterator[None]:
        """Held from the check of ``new`` until it is stored."""
        name = _turn_name(resource, new)
        if not name:
            yield
            return
        turn = self._turns.setdefault(name, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[name]

    async def fill(self, resource: Resource, new: Object, old: Object | None) -> None:
        """What the server decides, in place: the subnet of a network that asks for none, who holds a namespace."""
        if resource is namespace.RESOURCE and old is not None:
            # Only the finalize subresource changes it.
            new["spec"] = old.get("spec") or {}
        if owner := _OWNERS.get(resource.gvr):
            await self._fill_owner(*owner, new, old)
        if resource is appsnapshot.RESOURCE:
            await self._fill_root(new, old)
        if resource is not network.RESOURCE:
            return
        spec = new.setdefault("spec", {})
        if spec.get("type", "Local") != "Local" or spec.get("subnet"):
            return
        if old is not None and (kept := _subnet(old)):
            # An update that leaves the choice to the server must not move the network.
            spec["subnet"] = kept
        else:
            page = await self._store.list(network.RESOURCE.store_name)
            taken = [text for stored in page.items if (text := _subnet(decode_object(stored)))]
            spec["subnet"] = subnets.allocate_subnet(taken, new["metadata"]["uid"])

    async def check(self, resource: Resource, new: Object, old: Object | None) -> None:
        """Raises ApiError 422 with every fault."""
        faults: list[FieldError] = []
        if resource is app.RESOURCE:
            faults = await self._check_app(new) if _needs_check(new, old) else []
            faults += await self._check_image(new) if imagerules.has_new_image(new, old) else []
        elif resource is appsnapshot.RESOURCE and old is None:
            faults = await self._check_snapshot(new)
        elif resource is volumesnapshot.RESOURCE and old is None:
            faults = await self._check_volume_snapshot(new)
        elif resource is network.RESOURCE and (old is None or _subnet(new) != _subnet(old)):
            faults = await self._check_network(new)
        elif resource is patchenvelope.RESOURCE:
            faults = await self._check_patch(new)
        elif resource is k3scluster.RESOURCE and (old is None or new["spec"] != old["spec"]):
            faults = await self._check_cluster(new)
        if faults:
            raise status.invalid(resource.gvr.group, resource.kind, new["metadata"]["name"], faults)

    def check_delete(self, resource: Resource, obj: Object) -> None:
        """Raises ApiError 403 for what must stay."""
        name = obj["metadata"]["name"]
        gvr = resource.gvr
        if resource is namespace.RESOURCE and name in PROTECTED_NAMESPACES:
            raise status.forbidden("", "namespaces", name, "this namespace may not be deleted")
        if why := deletion_fault(resource, obj):
            raise status.forbidden(gvr.group, gvr.resource, name, why)

    async def _check_app(self, new: Object) -> list[FieldError]:
        spec = new["spec"]
        node_name = spec.get("nodeName", "")
        if not node_name:
            return []
        page = await self._store.list(app.RESOURCE.store_name, fields={"spec.nodeName": node_name})
        me = (new["metadata"]["namespace"], new["metadata"]["name"])
        others = [decode_object(stored) for stored in page.items if (stored.key.namespace, stored.key.name) != me]
        faults = list(_find_port_clashes(spec, others))
        found = await self._store.get(key_of(edgenode.RESOURCE, "", node_name))
        if found is not None:
            clusters = [
                decode_object(stored) for stored in (await self._store.list(k3scluster.RESOURCE.store_name)).items
            ]
            faults.extend(memoryrules.find_memory_faults(spec, decode_object(found), clusters))
        faults.extend(await self._find_network_clashes(new, others))
        return faults

    async def _check_image(self, new: Object) -> list[FieldError]:
        """A Datastore that comes later is judged when the config is compiled."""
        name = (new["spec"].get("datastoreRef") or {}).get("name", "")
        found = await self._store.get(key_of(datastore.RESOURCE, new["metadata"]["namespace"], name)) if name else None
        return list(imagerules.find_image_faults(new["spec"], decode_object(found))) if found is not None else []

    async def _fill_owner(self, owner: Resource, field: str, new: Object, old: Object | None) -> None:
        """A snapshot belongs to what it is of and goes with it; what a writer says of owners otherwise stays."""
        owner_name = (new.get("spec") or {}).get(field)
        found = await self._store.get(key_of(owner, new["metadata"].get("namespace", ""), owner_name or ""))
        if found is None or old is not None:
            known = [
                entry
                for entry in (old or {}).get("metadata", {}).get("ownerReferences") or ()
                if entry["kind"] == owner.kind
            ]
        else:
            known = [
                {
                    "apiVersion": _OWNER_VERSION,
                    "kind": owner.kind,
                    "name": owner_name,
                    "uid": found.uid,
                    "blockOwnerDeletion": True,
                }
            ]
        given = new["metadata"].get("ownerReferences") or []
        added = [entry for entry in known if all(other.get("uid") != entry["uid"] for other in given)]
        if added:
            new["metadata"]["ownerReferences"] = [*given, *added]

    async def _fill_root(self, new: Object, old: Object | None) -> None:
        """The root disk that a snapshot is of, noted when it is made and never changed."""
        metadata = new["metadata"]
        if old is not None:
            root = (old["metadata"].get("annotations") or {}).get(ROOT_ANNOTATION, "")
        else:
            name = (new.get("spec") or {}).get("appName") or ""
            found = await self._store.get(key_of(app.RESOURCE, metadata.get("namespace", ""), name))
            root = name_root(app.decode(decode_object(found))) if found is not None else ""
        if root:
            metadata["annotations"] = {**(metadata.get("annotations") or {}), ROOT_ANNOTATION: root}

    async def _check_snapshot(self, new: Object) -> list[FieldError]:
        """There is nothing to take a snapshot of but the disks of a machine, and volumes of a container's own."""
        name, space = new["spec"]["appName"], new["metadata"]["namespace"]
        found = await self._store.get(key_of(app.RESOURCE, space, name))
        if found is None:
            detail = f"there is no App of this name in namespace {space}; create it first"
            return [FieldError("spec.appName", CauseType.INVALID, detail, name)]
        spec = decode_object(found)["spec"]
        if spec.get("type") == AppType.VIRTUAL_MACHINE:
            return []
        if new["spec"].get("type") == appsnapshot.SnapshotContent.DISK_AND_MEMORY:
            detail = "the App is a container, whose memory is not saved; use type Disk"
            return [FieldError("spec.type", CauseType.INVALID, detail, new["spec"]["type"])]
        if not any(not volume.get("volumeName") for volume in spec.get("volumes") or ()):
            detail = "the App is a container without volumes of its own; a Volume object has VolumeSnapshots"
            return [FieldError("spec.appName", CauseType.INVALID, detail, name)]
        return []

    async def _check_volume_snapshot(self, new: Object) -> list[FieldError]:
        name, space = new["spec"]["volumeName"], new["metadata"]["namespace"]
        if await self._store.get(key_of(volume.RESOURCE, space, name)) is not None:
            return []
        detail = f"there is no Volume of this name in namespace {space}; create it first"
        return [FieldError("spec.volumeName", CauseType.INVALID, detail, name)]

    async def _check_patch(self, new: Object) -> list[FieldError]:
        """A Volume that comes later is judged when the config is compiled."""
        space, faults = new["metadata"]["namespace"], []
        for index, file in enumerate((new.get("spec") or {}).get("files") or ()):
            name = file.get("volumeName")
            found = await self._store.get(key_of(volume.RESOURCE, space, name)) if name else None
            if found is not None and decode_object(found)["spec"].get("mode") != volume.VolumeMode.FILE:
                detail = "the Volume is not of mode File; only such a one can be a file of an envelope"
                faults.append(FieldError(f"spec.files[{index}].volumeName", CauseType.INVALID, detail, name))
        return faults

    async def _check_cluster(self, new: Object) -> list[FieldError]:
        """What it refers to and is missing is said in its conditions; here is what can never be."""
        page = await self._store.list(k3scluster.RESOURCE.store_name)
        me = (new["metadata"]["namespace"], new["metadata"]["name"])
        others = [decode_object(stored) for stored in page.items if (stored.key.namespace, stored.key.name) != me]
        nodes = {}
        for name in k3scluster.named_nodes(new["spec"]):
            if (stored := await self._store.get(key_of(edgenode.RESOURCE, "", name))) is not None:
                nodes[name] = decode_object(stored)
        taken = clusterrules.find_taken_nodes(new, others)
        return [*taken, *clusterrules.find_address_faults(new, nodes)]

    async def _find_network_clashes(self, new: Object, others: Sequence[Object]) -> list[FieldError]:
        """Networks of this app whose subnets overlap those of other networks on the node."""
        mine = await self._load_subnets(_network_keys(new))
        theirs = await self._load_subnets({key for other in others for key in _network_keys(other)} - mine.keys())
        faults = []
        for index, name in enumerate(_network_names(new["spec"])):
            subnet = mine.get((new["metadata"]["namespace"], name))
            for (space, other), taken in theirs.items():
                if subnet and subnets.overlaps(subnet, taken):
                    detail = (
                        f"its subnet {subnet} overlaps {taken} of network {space}/{other}, which is on the same node; "
                        "change one of the subnets"
                    )
                    faults.append(FieldError(f"spec.networks[{index}].name", CauseType.INVALID, detail, name))
        return faults

    async def _check_network(self, new: Object) -> list[FieldError]:
        """A changed subnet against the networks that it meets on nodes."""
        subnet = _subnet(new)
        if not subnet:
            return []
        me = (new["metadata"]["namespace"], new["metadata"]["name"])
        page = await self._store.list(app.RESOURCE.store_name)
        users = [decode_object(stored) for stored in page.items if b'"nodeName"' in stored.value]
        nodes = {user["spec"].get("nodeName") for user in users if me in _network_keys(user)}
        neighbours = {key for user in users if user["spec"].get("nodeName") in nodes for key in _network_keys(user)}
        faults = []
        for (space, name), taken in (await self._load_subnets(neighbours - {me})).items():
            if subnets.overlaps(subnet, taken):
                detail = f"overlaps {taken} of network {space}/{name}, which is on the same node"
                faults.append(FieldError("spec.subnet", CauseType.INVALID, detail, subnet))
        return faults

    async def _load_subnets(self, keys: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
        loaded = {}
        for space, name in sorted(keys):
            stored = await self._store.get(key_of(network.RESOURCE, space, name))
            if stored is not None and (subnet := _subnet(decode_object(stored))):
                loaded[space, name] = subnet
        return loaded


class _Turn:
    """A lock and how many hold it or wait for it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


def _turn_name(resource: Resource, new: Object) -> str:
    if resource is app.RESOURCE:
        node_name = (new.get("spec") or {}).get("nodeName")
        return f"node {node_name}" if node_name else ""
    return {network.RESOURCE.gvr: "networks", k3scluster.RESOURCE.gvr: "clusters"}.get(resource.gvr, "")


def _needs_check(new: Object, old: Object | None) -> bool:
    """Whether anything that could clash has changed; most updates touch nothing of it."""
    if old is None:
        return True
    return any(new["spec"].get(name) != old["spec"].get(name) for name in ("nodeName", "networks", "resources"))


def _network_names(spec: Mapping[str, Any]) -> list[str]:
    return [entry["name"] for entry in spec.get("networks") or ()] or [DEFAULT_NETWORK]


def _network_keys(obj: Object) -> set[tuple[str, str]]:
    return {(obj["metadata"]["namespace"], name) for name in _network_names(obj["spec"])}


def _node_ports(spec: Mapping[str, Any]) -> Iterator[tuple[int, str, str]]:
    """(port, protocol, field path) of each port that the app takes on its node."""
    for i, entry in enumerate(spec.get("networks") or ()):
        for j, port in enumerate(entry.get("ports") or ()):
            if port.get("nodePort"):
                yield port["nodePort"], port.get("protocol", "TCP"), f"spec.networks[{i}].ports[{j}].nodePort"


def _find_port_clashes(spec: Mapping[str, Any], others: Sequence[Object]) -> Iterator[FieldError]:
    taken: dict[tuple[int, str], str] = {}
    for other in others:
        name = f"{other['metadata']['namespace']}/{other['metadata']['name']}"
        for port, protocol, _ in _node_ports(other["spec"]):
            taken[port, protocol] = name
    for port, protocol, path in _node_ports(spec):
        if (owner := taken.get((port, protocol))) is not None:
            detail = f"{protocol} port {port} of node {spec['nodeName']} is taken by app {owner}; choose another"
            yield FieldError(path, CauseType.INVALID, detail, port)


def _subnet(obj: Object) -> str:
    spec = obj.get("spec") or {}
    return str(spec.get("subnet") or "") if spec.get("type", "Local") == "Local" else ""
