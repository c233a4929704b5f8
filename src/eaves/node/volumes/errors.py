"""Errors of volumes.

::

    EngineError
    └── VolumeError
        └── VolumeUnsupportedError    this node cannot make such a volume
"""

from __future__ import annotations

from eaves.node.errors import EngineError


class VolumeError(EngineError):
    code = "VolumeError"
    retryable = True


class VolumeUnsupportedError(VolumeError):
    code = "VolumeUnsupported"
    retryable = False
