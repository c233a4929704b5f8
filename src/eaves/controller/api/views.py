"""The kinds that are not stored: Node, Pod and Lease, computed from EdgeNodes and Apps.

Makes their read backends; what writes to them do is in ``nodewriting`` and ``podwriting``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from eaves.controller.api.backends import View
from eaves.controller.documents import decode_object, encode_document, join_document, key_of
from eaves.kinds import app, edgenode, lease, node, pod
from eaves.kinds.node import project_node
from eaves.kinds.pod_projection import project_pod
from eaves.kube.resource import Object, Resource
from eaves.store.abc import Key, ObjectStore, StoredObject


class Contacts(Protocol):
    """When devices last called."""

    async def last_seen_s(self, device_id: str) -> float:
        """Unix seconds; 0 = never."""
        ...


def make_node_view(store: ObjectStore, clock: Callable[[], float] = time.time) -> View:
    """``v1 nodes``, one an EdgeNode."""

    async def project(stored: StoredObject) -> StoredObject:
        return store_view(node.RESOURCE, project_node(decode_object(stored), clock()), stored)

    return View(node.RESOURCE, edgenode.RESOURCE, store, project)


def make_pod_view(store: ObjectStore) -> View:
    """``v1 pods``, one an App."""

    async def project(stored: StoredObject) -> StoredObject:
        name = stored.fields.get("spec.nodeName", "")
        found = await store.get(key_of(edgenode.RESOURCE, "", name)) if name else None
        host = None if found is None else decode_object(found)
        return store_view(pod.RESOURCE, project_pod(decode_object(stored), host), stored)

    return View(pod.RESOURCE, app.RESOURCE, store, project, fields={"spec.nodeName": "spec.nodeName"})


def make_lease_view(store: ObjectStore, contacts: Contacts) -> View:
    """``coordination.k8s.io/v1 leases`` in ``kube-node-lease``, one an EdgeNode."""

    async def project(stored: StoredObject) -> StoredObject:
        seen = await contacts.last_seen_s(stored.uid)
        return store_view(lease.RESOURCE, lease.project_lease(decode_object(stored), seen), stored)

    return View(lease.RESOURCE, edgenode.RESOURCE, store, project, namespace=lease.NAMESPACE)


def store_view(resource: Resource, obj: Object, source: StoredObject) -> StoredObject:
    """A computed object in the shape of a stored one, under its source's revision."""
    document = encode_document(resource, obj)
    metadata = obj["metadata"]
    key = Key(resource.store_name, metadata.get("namespace", ""), metadata["name"], source.key.tenant)
    value = join_document(document, source.revision)
    return StoredObject(key, document.uid, source.revision, value, document.labels, document.fields)
