"""Tests on a machine that is itself a chroot.

Whoever joins a mount namespace starts at the root of that namespace, not at the one of a process in it. An OCI runtime's exec does so,
and would see the files of the machine around the chroot. A mount namespace of our own, whose root is the chroot, makes it right for
all that is started from here.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_MS_MOVE = 0x2000
_MS_REC = 0x4000
_MS_PRIVATE = 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def is_chroot() -> bool:
    """Whether the root of this process is another than that of its mount namespace; False where one may not look."""
    argv = ["nsenter", "--mount=/proc/self/ns/mnt", "--", "stat", "--format=%d:%i", "/"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return False
    here = Path("/").stat()
    return done.returncode == 0 and done.stdout.strip() != f"{here.st_dev}:{here.st_ino}"


def enter_root() -> None:
    """Give this process a mount namespace whose root is its own. Single-threaded callers only, as it changes what threads share.

    Raises OSError when the kernel does not allow it, as where the root is no mount point.
    """
    here = Path.cwd()
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)  # only now is it of the new namespace
    try:
        _move_to_top(root)
    finally:
        os.fchdir(root)
        os.chroot(".")
        os.close(root)
        os.chdir(here)


def _move_to_top(root: int) -> None:
    namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    try:
        # Puts this process at the root of the namespace, outside of the chroot.
        _check(_libc.setns(namespace, _CLONE_NEWNS), "setns")
    finally:
        os.close(namespace)
    _check(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "mount --make-rprivate /")
    os.fchdir(root)
    _check(_libc.mount(b".", b"/", None, _MS_MOVE, None), "mount --move")


REASON = "this machine is a chroot that cannot be made the root of a mount namespace: an OCI runtime's exec sees the files around it"


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
