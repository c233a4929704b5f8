"""Which node's config looked at which objects, so that a change compiles what it touches and nothing else. Pure bookkeeping."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Set

import msgspec
from msgspec import Struct

from eaves.controller.compile.model import ObjectKey
from eaves.store.abc import Change, ChangeType, StoredObject

_MAX_RECENT = 100_000
_NOTHING: frozenset[ObjectKey] = frozenset()


class TouchIndex:
    """Object → names of EdgeNodes, and what changed while a compilation was under way."""

    def __init__(self) -> None:
        self._nodes: dict[ObjectKey, set[str]] = {}
        self._keys: dict[str, frozenset[ObjectKey]] = {}
        self._tick = 0
        self._recent: OrderedDict[ObjectKey, int] = OrderedDict()
        self._running: dict[int, int] = {}

    def of(self, name: str) -> frozenset[ObjectKey]:
        """What the last compilation of the node looked at."""
        return self._keys.get(name, _NOTHING)

    def note_change(self, key: ObjectKey) -> set[str]:
        """Names of the nodes whose config looked at ``key``."""
        self._tick += 1
        if self._running:
            self._recent[key] = self._tick
            self._recent.move_to_end(key)
            while len(self._recent) > _MAX_RECENT:
                self._recent.popitem(last=False)
        return set(self._nodes.get(key, ()))

    def start(self) -> int:
        """A compilation begins; give the answer to :meth:`finish` and :meth:`end`."""
        self._running[self._tick] = self._running.get(self._tick, 0) + 1
        return self._tick

    def finish(self, name: str, touched: frozenset[ObjectKey], started: int) -> bool:
        """Take what the compilation looked at; True when some of it changed since ``started``."""
        self._replace(name, touched)
        return any(self._recent.get(key, 0) > started for key in touched) if self._recent else False

    def end(self, started: int) -> None:
        """The compilation is over, however it ended."""
        left = self._running[started] - 1
        if left:
            self._running[started] = left
        else:
            del self._running[started]
        if not self._running:
            self._recent.clear()

    def drop(self, name: str) -> None:
        """There is no such node any more."""
        self._replace(name, _NOTHING)

    def _replace(self, name: str, touched: Set[ObjectKey]) -> None:
        before = self._keys.pop(name, _NOTHING)
        for key in before - touched:
            users = self._nodes[key]
            users.discard(name)
            if not users:
                del self._nodes[key]
        for key in touched - before:
            self._nodes.setdefault(key, set()).add(name)
        if touched:
            self._keys[name] = frozenset(touched)


class _Meta(Struct):
    generation: int = 0
    deletionTimestamp: str = ""  # noqa: N815 - the object's own spelling


class _NodeStatus(Struct):
    ports: msgspec.Raw = msgspec.Raw()
    versions: msgspec.Raw = msgspec.Raw()
    inventory: msgspec.Raw = msgspec.Raw()


class _Inputs(Struct):
    metadata: _Meta
    status: _NodeStatus | None = None


_decode = msgspec.json.Decoder(_Inputs).decode


_WITH_STATUS = ("EdgeNode", "App", "Volume", "AppSnapshot", "VolumeSnapshot", "PatchEnvelope")
"""Kinds of which a change may be one of the status alone."""


class _PatchSpec(Struct, frozen=True):
    apps: list[str] = []


class _Patch(Struct):
    spec: _PatchSpec = _PatchSpec()


_decode_patch = msgspec.json.Decoder(_Patch).decode


def apps_of_patch(stored: StoredObject) -> list[str]:
    """Names of the apps that a stored PatchEnvelope is for."""
    try:
        return _decode_patch(stored.value).spec.apps
    except msgspec.DecodeError:
        return []


def has_new_inputs(kind: str, change: Change) -> bool:
    """Whether a change can change a config. Statuses cannot, but for the ports, versions and hardware that a node reports."""
    if change.type is not ChangeType.MODIFIED or change.previous is None or kind not in _WITH_STATUS:
        return True
    try:
        new, old = _decode(change.object.value), _decode(change.previous.value)
    except msgspec.DecodeError:
        # An object of another shape than ours: compilation says what is wrong with it.
        return True
    if (new.metadata.generation, new.metadata.deletionTimestamp) != (
        old.metadata.generation,
        old.metadata.deletionTimestamp,
    ):
        return True
    return kind == "EdgeNode" and _reported(new) != _reported(old)


def _reported(inputs: _Inputs) -> tuple[bytes, bytes, bytes]:
    status = inputs.status or _NodeStatus()
    return bytes(status.ports), bytes(status.versions), bytes(status.inventory)
