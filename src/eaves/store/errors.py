"""Errors of the store.

StoreError
├── ConflictError           an expected revision did not hold
├── CompactedError          the asked revision is older than the kept history
├── FutureRevisionError     the asked revision is not committed yet
├── StoreUnavailableError   the engine cannot answer now (retryable)
│   └── DiskFullError       no space to commit
├── DeviceConflictError     a serial or a certificate already belongs to another device
├── UnknownDeviceError      the device is not registered (any more)
├── CorruptError            the file is damaged
└── SchemaError             the file was written by a newer, incompatible Eaves
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eaves.kit.errors import EavesError

if TYPE_CHECKING:
    from eaves.store.abc import Key, StoredObject


class StoreError(EavesError):
    code = "StoreError"


class ConflictError(StoreError):
    """``current`` is the object as it is, None if there is none."""

    code = "Conflict"
    retryable = True

    def __init__(self, key: Key, current: StoredObject | None) -> None:
        super().__init__(
            "changed since it was read", element=f"{key.resource} {key.namespace}/{key.name}".replace(" /", " ")
        )
        self.key = key
        self.current = current


class CompactedError(StoreError):
    code = "Compacted"

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {asked} ({oldest})")
        self.asked = asked
        self.oldest = oldest


class FutureRevisionError(StoreError):
    code = "FutureRevision"
    retryable = True

    def __init__(self, asked: int, current: int) -> None:
        super().__init__(f"Too large resource version: {asked}, current: {current}")
        self.asked = asked
        self.current = current


class StoreUnavailableError(StoreError):
    code = "StoreUnavailable"
    retryable = True


class DiskFullError(StoreUnavailableError):
    code = "DiskFull"


class DeviceConflictError(StoreError):
    """``device_id`` is the device that holds what was claimed."""

    code = "DeviceConflict"

    def __init__(self, device_id: str, message: str) -> None:
        super().__init__(message, element=f"device {device_id}")
        self.device_id = device_id


class UnknownDeviceError(StoreError):
    code = "UnknownDevice"

    def __init__(self, device_id: str) -> None:
        super().__init__("not registered", element=f"device {device_id}")
        self.device_id = device_id


class CorruptError(StoreError):
    code = "StoreCorrupt"


class SchemaError(StoreError):
    code = "SchemaTooNew"
