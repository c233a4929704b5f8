"""Between decoded objects of a resource and what the store keeps of them.

Kinds are given as their Resource, since the API's handlers and garbage collection serve any, views among them;
:mod:`eaves.controller.objects` does the same by the name of a kind.
"""

from __future__ import annotations

from typing import Any

import msgspec

from eaves.kube.encode import encode_object
from eaves.kube.resource import Object, Resource
from eaves.store.abc import Document, Key, StoredObject

decode_bytes = msgspec.json.Decoder(dict[str, Any]).decode


def key_of(resource: Resource, namespace: str, name: str) -> Key:
    return Key(resource.store_name, namespace if resource.namespaced else "", name)


def decode_object(stored: StoredObject) -> Object:
    """The object with its resourceVersion; a fresh one that the caller may change."""
    return decode_bytes(stored.value)


def decode_given(resource: Resource, stored: StoredObject) -> Object:
    """The object without the fields that are written though they are empty: what a writer compares and changes."""
    obj = decode_object(stored)
    for name, zero in resource.zero_fields.items():
        if name in obj and obj[name] == zero:
            del obj[name]
    return obj


def encode_document(resource: Resource, obj: Object) -> Document:
    """What the store keeps of ``obj``; its resourceVersion is the store's to put in."""
    missing = {name: value for name, value in resource.zero_fields.items() if name not in obj}
    encoded = encode_object({**obj, **missing} if missing else obj)
    metadata = obj["metadata"]
    fields = {name: value(obj) for name, value in resource.selectable_fields.items()}
    return Document(metadata.get("uid", ""), encoded.head, encoded.tail, metadata.get("labels") or {}, fields)


def join_document(document: Document, revision: int) -> bytes:
    """The object's bytes under a revision; 0 is none, as what a dry run would make has."""
    value = document.join(revision)
    if revision:
        return value
    return value.replace(b'"resourceVersion":"0",', b"", 1).replace(b',"resourceVersion":"0"', b"", 1)
