"""Whether this machine is itself a chroot, where what joins a container's mount namespace sees another root than the container."""

from __future__ import annotations

from pathlib import Path


def is_chroot() -> bool:
    """Whether the root of this process is another than that of the first one."""
    try:
        return not Path("/").samefile("/proc/1/root/.")
    except OSError:
        return False


REASON = "this machine is a chroot: an OCI runtime's exec sees the root of the namespace there"
