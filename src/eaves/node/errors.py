"""Errors of the node's engine.

::

    EavesError
    └── EngineError                something the engine could not do
        ├── HostError              the machine lacks what a node needs
        ├── StorageFullError       no space left; tried again when there is
        ├── images.errors.ImageError …
        ├── volumes.errors.VolumeError …
        ├── networks.errors.NetworkError …
        └── workloads.errors.WorkloadError …
"""

from __future__ import annotations

import errno

from eaves.kit import process
from eaves.kit.errors import EavesError
from eaves.node.observed import Fault

_FULL = b"no space left on device"


class EngineError(EavesError):
    code = "EngineError"
    retryable = True


class HostError(EngineError):
    code = "HostUnsuitable"
    retryable = False


class StorageFullError(EngineError):
    code = "StorageFull"
    retryable = True


def is_storage_full(error: BaseException) -> bool:
    """Whether ``error`` comes from a full disk, ours or as told by a program."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, process.ProcessError):
        return _FULL in error.stderr.lower()
    return isinstance(error, StorageFullError)


def as_fault(error: BaseException, *, since: float, retry_at: float = 0.0) -> Fault:
    """The fault that a status shows for ``error``."""
    if is_storage_full(error):
        resolution = "free space on the node's disk or remove apps, volumes or images"
        return Fault("StorageFull", "no space left on the node's disk", resolution, since, retry_at)
    if isinstance(error, EavesError):
        details = f" ({error.details.splitlines()[-1]})" if error.details and error.details not in error.message else ""
        return Fault(error.code, f"{error.message}{details}"[:1000], error.resolution, since, retry_at)
    return Fault("InternalError", f"{type(error).__name__}: {error}"[:1000], "see the node's log", since, retry_at)
