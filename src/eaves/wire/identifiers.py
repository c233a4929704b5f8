"""Identities of the device API as types of their own, and the check of text that comes from outside.

The device API writes UUIDs as text with dashes in lower case; anything else from a peer is refused before it becomes a
key or a path.
"""

from __future__ import annotations

import re
import uuid
from typing import NewType

from eaves.wire.errors import IdentifierError

DeviceId = NewType("DeviceId", str)
AppId = NewType("AppId", str)
VolumeId = NewType("VolumeId", str)
ContentTreeId = NewType("ContentTreeId", str)
DatastoreId = NewType("DatastoreId", str)
NetworkInstanceId = NewType("NetworkInstanceId", str)
CipherContextId = NewType("CipherContextId", str)

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)


def is_uuid(text: str) -> bool:
    """Whether ``text`` is a UUID exactly as the device API writes it."""
    return _UUID.fullmatch(text) is not None


def parse_uuid(text: str, element: str) -> str:
    """``text`` in the form of the device API. Capital letters are accepted since some controllers send them."""
    lower = text.lower()
    if not is_uuid(lower):
        raise IdentifierError(f"not a UUID: {text[:64]!r}", element=element)
    return lower


def parse_device_id(text: str) -> DeviceId:
    return DeviceId(parse_uuid(text, "device"))


def parse_app_id(text: str) -> AppId:
    return AppId(parse_uuid(text, "app"))


def derive_uuid(namespace: str, *parts: str) -> str:
    """A UUID (version 5) that is the same for the same words; ``namespace`` is a UUID that the caller's kind of thing owns."""
    # The unit separator cannot be in names of objects, so ("a", "bc") and ("ab", "c") differ.
    return str(uuid.uuid5(uuid.UUID(namespace), "\x1f".join(parts)))
