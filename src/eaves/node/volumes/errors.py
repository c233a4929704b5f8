"""Errors of volumes.

::

    EngineError
    └── VolumeError                    something went wrong with one volume; tried again
        ├── VolumeImageUnsuitableError  the image cannot fill a volume, and trying again is of no use
        ├── VolumeTooSmallError         the content does not fit into the size that is asked for
        ├── VolumeMissingError          what is asked of a volume cannot be, for it or its snapshot is not there
        ├── MachineGoneError            the machine whose memory was to be saved does not run any more
        └── VolumeDamagedError          its file system or disk file is broken beyond what its tools mend
"""

from __future__ import annotations

from eaves.node.errors import EngineError


class VolumeError(EngineError):
    code = "VolumeError"
    retryable = True


class VolumeImageUnsuitableError(VolumeError):
    code = "VolumeImageUnsuitable"
    retryable = False


class VolumeTooSmallError(VolumeError):
    code = "VolumeTooSmall"
    retryable = False


class VolumeMissingError(VolumeError):
    code = "VolumeMissing"
    retryable = False


class MachineGoneError(VolumeError):
    code = "MachineGone"


class VolumeDamagedError(VolumeError):
    code = "VolumeDamaged"
    retryable = False
