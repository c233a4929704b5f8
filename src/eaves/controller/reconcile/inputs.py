"""Gathers what the config of one node depends on, from the store, with little reading.

Networks and datastores are read by namespace and kept until one of them changes, since many nodes share them. Secrets,
ConfigMaps and hardware models are read one by one, those alone that are named: which ones compilation itself tells.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence

from msgspec import Struct

from eaves.controller.compile.model import NodeCipher, NodeInputs, ObjectKey, token_name
from eaves.controller.objects import Objects
from eaves.kinds.app_spec import AppType
from eaves.kube.resource import Object
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig

BY_NAMESPACE = ("Network", "Datastore", "PatchEnvelope")
OF_APPS = "AppSnapshot"
"""Read for the namespaces of apps alone that may have some."""
OF_CLUSTERS = "K3sRelease"
"""Read for the namespaces of K3sClusters alone."""
OF_VOLUMES = "VolumeSnapshot"
"""Read for the namespaces of Volumes alone."""
BY_NAME = ("Secret", "ConfigMap", "HardwareModel")
FindToken = Callable[[str, int], Awaitable[str | None]]
"""A cluster's join token by the cluster's UUID and the token's generation."""
_MAX_OBJECTS = 8192
_MAX_NAMESPACES = 1024


class InputCache:
    """Objects that several nodes' configs need, until :meth:`forget`."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._namespaces: OrderedDict[tuple[str, str], Sequence[Object]] = OrderedDict()
        self._by_key: OrderedDict[ObjectKey, Object | None] = OrderedDict()
        self._changes = 0

    def forget(self, key: ObjectKey) -> None:
        """The object changed."""
        self._changes += 1
        self._namespaces.pop((key.kind, key.namespace), None)
        self._by_key.pop(key, None)

    def clear(self) -> None:
        self._changes += 1
        self._namespaces.clear()
        self._by_key.clear()

    async def list(self, kind: str, namespace: str) -> Sequence[Object]:
        found = self._namespaces.get((kind, namespace))
        if found is None:
            changes = self._changes
            found = await self._objects.list(kind, namespace)
            # What changed while it was read must not be kept: its news has come already.
            if changes == self._changes:
                _keep(self._namespaces, (kind, namespace), found, _MAX_NAMESPACES)
        return found

    async def get(self, key: ObjectKey) -> Object | None:
        if key in self._by_key:
            return self._by_key[key]
        changes = self._changes
        found = await self._objects.get(key.kind, key.namespace, key.name)
        if changes == self._changes:
            _keep(self._by_key, key, found, _MAX_OBJECTS)
        return found


class Surroundings(Struct, frozen=True):
    """What does not come from objects, and which of those concern the node that do not name it in their spec."""

    controller_certs_hash: str
    cipher: NodeCipher | None
    previous: EdgeDevConfig | None
    clusters: Sequence[ObjectKey] = ()
    """K3sClusters whose status names the node."""
    tokens: FindToken | None = None
    epoch: int = 0


async def load_inputs(
    objects: Objects, cache: InputCache, edgenode: Object, named: Iterable[ObjectKey], around: Surroundings
) -> NodeInputs:
    """Inputs of the node; ``named`` are the objects of the kinds ``BY_NAME`` to bring."""
    fields = {"spec.nodeName": edgenode["metadata"]["name"]}
    apps, volumes = await asyncio.gather(objects.list("App", fields=fields), objects.list("Volume", fields=fields))
    clusters = [found for key in around.clusters if (found := await cache.get(key)) is not None]
    namespaces = sorted({obj["metadata"]["namespace"] for obj in (*apps, *volumes, *clusters)})
    shared: dict[str, list[Object]] = {kind: [] for kind in BY_NAMESPACE}
    for kind in BY_NAMESPACE:
        for namespace in namespaces:
            shared[kind].extend(await cache.list(kind, namespace))
    snapshots: list[Object] = []
    for namespace in sorted({obj["metadata"]["namespace"] for obj in apps if may_have_snapshots(obj)}):
        snapshots.extend(await cache.list(OF_APPS, namespace))
    volume_snapshots: list[Object] = []
    for namespace in sorted({obj["metadata"]["namespace"] for obj in volumes}):
        volume_snapshots.extend(await cache.list(OF_VOLUMES, namespace))
    releases: list[Object] = []
    for namespace in sorted({obj["metadata"]["namespace"] for obj in clusters}):
        releases.extend(await cache.list(OF_CLUSTERS, namespace))
    single: dict[str, list[Object]] = {kind: [] for kind in BY_NAME}
    for key in sorted(named):
        if (obj := await cache.get(key)) is not None:
            single[key.kind].append(obj)
    return NodeInputs(
        edgenode=edgenode,
        apps=apps,
        volumes=volumes,
        networks=shared["Network"],
        datastores=shared["Datastore"],
        patches=shared["PatchEnvelope"],
        snapshots=snapshots,
        volume_snapshots=volume_snapshots,
        clusters=clusters,
        releases=releases,
        cluster_tokens=await _load_tokens(clusters, around.tokens),
        secrets=single["Secret"],
        configmaps=single["ConfigMap"],
        hardware_models=single["HardwareModel"],
        controller_certs_hash=around.controller_certs_hash,
        cipher=around.cipher,
        previous=around.previous,
        controller_epoch=around.epoch,
    )


async def _load_tokens(clusters: Iterable[Object], find: FindToken | None) -> dict[str, str]:
    """The join tokens that members of the clusters may have: the current one and the one that is being made known."""
    tokens = {}
    for obj in clusters if find is not None else ():
        uid = obj["metadata"]["uid"]
        done = ((obj.get("status") or {}).get("done") or {}).get("rotateToken", 0)
        wanted = ((obj.get("spec") or {}).get("operations") or {}).get("rotateToken", 0)
        for generation in {done, wanted}:
            if find is not None and (token := await find(uid, generation)) is not None:
                tokens[token_name(uid, generation)] = token
    return tokens


def may_have_snapshots(app: Object) -> bool:
    """A virtual machine, or a container with volumes of its own."""
    spec = app.get("spec") or {}
    return spec.get("type") == AppType.VIRTUAL_MACHINE or any(
        not volume.get("volumeName") for volume in spec.get("volumes") or ()
    )


def _keep(entries: OrderedDict, key: object, value: object, limit: int) -> None:  # type: ignore[type-arg]  # both caches
    entries[key] = value
    while len(entries) > limit:
        entries.popitem(last=False)
