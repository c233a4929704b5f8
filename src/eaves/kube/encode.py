"""Objects to bytes around their resourceVersion, so that the store can put in the version it commits them with."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from eaves.kube.resource import Object

_PLACEHOLDER = uuid.uuid4().hex
"""Random, so that no client can write it into an object."""
_MARK = f'"{_PLACEHOLDER}"'.encode()
_encoder = msgspec.json.Encoder()

_META_ORDER = ("name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp")


class Encoded(Struct, frozen=True):
    """An object's JSON in two parts; its resourceVersion is the decimal number put between them."""

    head: bytes
    tail: bytes

    def join(self, version: int) -> bytes:
        return self.head + str(version).encode() + self.tail


def encode_object(obj: Object) -> Encoded:
    """apiVersion and kind first, metadata in the usual order, the rest as it stands."""
    ordered: Object = {}
    for key in ("apiVersion", "kind"):
        if key in obj:
            ordered[key] = obj[key]
    meta = obj.get("metadata") or {}
    ordered_meta: Object = {key: meta[key] for key in _META_ORDER if key in meta and key != "resourceVersion"}
    ordered_meta["resourceVersion"] = _PLACEHOLDER
    for key, value in meta.items():
        if key not in ordered_meta:
            ordered_meta[key] = value
    ordered["metadata"] = ordered_meta
    for key, value in obj.items():
        if key not in ordered:
            ordered[key] = value
    head, tail = _encoder.encode(ordered).split(_MARK, 1)
    return Encoded(head + b'"', b'"' + tail)


def encode_json(value: object) -> bytes:
    return _encoder.encode(value)


def encode_list(
    api_version: str,
    kind: str,
    items: Iterable[bytes],
    version: int,
    *,
    next_token: str = "",
    remaining: int | None = None,
    says_end: bool = False,
) -> bytes:
    """A list document from the bytes of its items. ``says_end``: the end is an empty ``continue`` and not an absent one."""
    meta: dict[str, str | int] = {"resourceVersion": str(version)}
    if next_token or says_end:
        meta["continue"] = next_token
    if remaining is not None:
        meta["remainingItemCount"] = remaining
    start = {"apiVersion": api_version, "kind": kind, "metadata": meta}
    return _encoder.encode(start)[:-1] + b',"items":[' + b",".join(items) + b"]}"


def strip_kind(documents: Sequence[bytes], api_version: str, kind: str) -> list[bytes]:
    """Items of core lists carry no apiVersion and kind. Relies on :func:`encode_object`, which puts both first."""
    prefix = f'{{"apiVersion":"{api_version}","kind":"{kind}",'.encode()
    return [b"{" + d[len(prefix) :] if d.startswith(prefix) else d for d in documents]
