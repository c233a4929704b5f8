"""Reads and writes operator API objects for the controller's own parts, as decoded JSON by kind.

The operator API's handlers have their own, stricter path (admission, managed fields); gateway and reconcilers write statuses and the
few objects that they make themselves. Every write is a compare-and-swap on the revision that was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from eaves.kinds.registry import BY_KIND
from eaves.kube.encode import encode_object
from eaves.kube.resource import Object, Resource
from eaves.store.abc import Document, Key, ObjectStore, Put, StoredObject
from eaves.store.errors import ConflictError

MANAGER = "eaves-controller"

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def key_of(kind: str, namespace: str, name: str) -> Key:
    return Key(BY_KIND[kind].store_name, namespace, name)


def decode_stored(stored: StoredObject) -> Object:
    return _decode(stored.value)


def encode_document(obj: Object) -> Document:
    """What the store keeps of an object: its bytes, labels and selectable fields."""
    resource = BY_KIND[obj["kind"]]
    encoded = encode_object(obj)
    meta = obj["metadata"]
    fields = {name: value(obj) for name, value in resource.selectable_fields.items()}
    return Document(meta["uid"], encoded.head, encoded.tail, meta.get("labels") or {}, fields)


def want_put(obj: Object, expected: int | None) -> Put:
    """The write that stores ``obj``; ``expected`` 0 = it must be new."""
    meta = obj["metadata"]
    return Put(key_of(obj["kind"], meta.get("namespace", ""), meta["name"]), encode_document(obj), expected)


def revision_of(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])


class Objects:
    """Access to the store by kind."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        stored = await self.store.get(key_of(kind, namespace, name))
        return None if stored is None else decode_stored(stored)

    async def list(
        self, kind: str, namespace: str | None = None, *, fields: Mapping[str, str] | None = None
    ) -> list[Object]:
        page = await self.store.list(_resource(kind).store_name, namespace, fields=fields)
        return [decode_stored(stored) for stored in page.items]

    async def create(self, obj: Object) -> bool:
        """Store a new object; False when one of its name is there."""
        try:
            await self.store.commit([want_put(obj, 0)])
        except ConflictError:
            return False
        return True

    async def replace(self, obj: Object) -> None:
        """Store a changed object that was read before. Raises ConflictError when it changed since."""
        await self.store.commit([want_put(obj, revision_of(obj))])


def _resource(kind: str) -> Resource:
    return BY_KIND[kind]
