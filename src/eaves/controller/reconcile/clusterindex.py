"""Which K3sClusters name which nodes in their status, so that a node's config finds its cluster, and a change of one its nodes."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from eaves.controller.compile.model import ObjectKey
from eaves.store.abc import Change, ChangeType, StoredObject


class _Member(Struct, frozen=True, eq=True):
    """What decides about a member's config; what it reports is left out."""

    nodeName: str = ""  # noqa: N815 - the object's own spelling, as all here
    id: str = ""
    role: str = ""
    address: str = ""
    want: str = ""
    version: str = ""
    stopped: bool = False
    joined: bool = False
    checksAuthority: bool = False  # noqa: N815
    labels: msgspec.Raw = msgspec.Raw()
    ordered: msgspec.Raw = msgspec.Raw()
    joinedAfter: msgspec.Raw = msgspec.Raw()  # noqa: N815


class _Status(Struct, frozen=True, eq=True):
    firstServer: str = ""  # noqa: N815
    leader: str = ""
    initialized: bool = False
    caHash: str = ""  # noqa: N815
    done: msgspec.Raw = msgspec.Raw()
    members: list[_Member] = []


class _Meta(Struct, frozen=True, eq=True):
    generation: int = 0


class _Cluster(Struct, frozen=True, eq=True):
    metadata: _Meta = _Meta()
    status: _Status = _Status()


_decode = msgspec.json.Decoder(_Cluster).decode
_NOTHING = _Cluster()


class ClusterIndex:
    """Kept by whoever follows the K3sClusters."""

    def __init__(self) -> None:
        self._clusters: dict[ObjectKey, _Cluster] = {}
        self._by_node: dict[str, set[ObjectKey]] = {}

    def clusters_of(self, node_name: str) -> list[ObjectKey]:
        return sorted(self._by_node.get(node_name, ()))

    def nodes_in(self, namespace: str) -> set[str]:
        """Members of all clusters of a namespace."""
        return {
            member.nodeName
            for key, cluster in self._clusters.items()
            if key.namespace == namespace
            for member in cluster.status.members
        }

    def replace(self, objects: Iterable[StoredObject]) -> None:
        """Everything there is."""
        self._clusters.clear()
        self._by_node.clear()
        for stored in objects:
            self._put(stored)

    def note(self, change: Change) -> set[str]:
        """Take a change; answers the nodes whose configs it may change."""
        key = _key_of(change.object)
        old = self._clusters.get(key, _NOTHING)
        if change.type is ChangeType.DELETED:
            self._drop(key)
            new = _NOTHING
        else:
            new = self._put(change.object)
        if old == new:
            return set()
        return {member.nodeName for cluster in (old, new) for member in cluster.status.members}

    def _put(self, stored: StoredObject) -> _Cluster:
        key = _key_of(stored)
        try:
            cluster = _decode(stored.value)
        except msgspec.DecodeError:
            # Of another shape than ours: it stays as it was known, so that nobody leaves by a slip.
            return self._clusters.get(key, _NOTHING)
        self._drop(key)
        self._clusters[key] = cluster
        for member in cluster.status.members:
            self._by_node.setdefault(member.nodeName, set()).add(key)
        return cluster

    def _drop(self, key: ObjectKey) -> None:
        for member in self._clusters.pop(key, _NOTHING).status.members:
            keys = self._by_node.get(member.nodeName)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._by_node[member.nodeName]


def _key_of(stored: StoredObject) -> ObjectKey:
    return ObjectKey("K3sCluster", stored.key.namespace, stored.key.name)
