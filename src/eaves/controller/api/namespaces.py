"""What namespaces say to creates: missing, terminating, or fine under the condition that they stay as they are."""

from __future__ import annotations

from collections.abc import Sequence

from eaves.kinds import namespace as namespaces
from eaves.kube import status
from eaves.kube.resource import Resource
from eaves.store.abc import Check, Key, ObjectStore


class NamespaceGate:
    """Admits objects to namespaces."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def check(self, resource: Resource, namespace: str, name: str) -> Sequence[Check]:
        """Guards for the commit of a create. Raises ApiError 404 and 403.

        A namespace that begins to terminate gets a new revision, so with the guard no object can slip in behind its deletion.
        """
        if not resource.namespaced:
            return ()
        key = Key(namespaces.RESOURCE.store_name, "", namespace)
        stored = await self._store.get(key)
        if stored is None:
            raise status.not_found("", "namespaces", namespace)
        if stored.fields.get("status.phase") == "Terminating":
            raise status.namespace_terminating(resource.gvr.group, resource.gvr.resource, name, namespace)
        return (Check(key, stored.revision),)
