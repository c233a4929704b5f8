"""What observation takes and gives: the objects of one device, and the statuses and events to write.

The observation reconciler hands in what the store holds now and writes each :class:`StatusUpdate` by
compare-and-swap; when that fails it observes again with the newer object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct

from eaves.kube.resource import Object


class EventType(StrEnum):
    NORMAL = "Normal"
    WARNING = "Warning"


class EventNote(Struct, frozen=True):
    """An event to record about the object of its update."""

    type: EventType
    reason: str
    message: str


class StatusUpdate(Struct, frozen=True):
    """The complete new ``status`` of one object; given only when it differs in meaning or there are events.

    ``status`` is None when only events are to be recorded.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    status: Mapping[str, Any] | None
    events: tuple[EventNote, ...] = ()


class DeviceObjects(Struct, frozen=True, kw_only=True):
    """The objects that one device's messages can be about: its EdgeNode, the Apps and Volumes placed on it (by nodeName or known
    to be there before), the Networks that those apps use, the AppSnapshots of their namespaces, and the VolumeSnapshots
    of those of the volumes."""

    edgenode: Object
    apps: Sequence[Object] = ()
    networks: Sequence[Object] = ()
    volumes: Sequence[Object] = ()
    snapshots: Sequence[Object] = ()
    patches: Sequence[Object] = ()
    """PatchEnvelopes of the namespaces of the apps."""
    volume_snapshots: Sequence[Object] = ()
