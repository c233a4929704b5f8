"""What a small guest runs, as part of its machine's spec. Pure data."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from eaves.node.desired.model import FileToWrite
from eaves.node.desired.secret import Secret

OVERHEAD_BYTES = 128 << 20
"""For the guest's kernel and its shared files, beside what the app asked for."""
EXIT = "exit"
"""File in the share: the command's exit code, written by the guest."""
SHARE = "share"
"""Folder below the machine's run folder that the guest reads its orders from."""


IDENTITY = "identity"
"""File in the share: who the command is, for the agent."""
EXEC_PORT = "dev.eaves.exec"
"""Name of the virtio port that the agent listens on."""


class Share(Struct, frozen=True):
    """A folder of the host at ``target`` of the guest."""

    source: str
    target: str
    read_only: bool = False


class ContainerGuest(Struct, frozen=True):
    """``image`` is podman's id of it. ``hosts`` and ``resolv_conf`` are texts; they are as they were at the start."""

    image: str
    hostname: str
    env: Mapping[str, Secret] = {}
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    shares: tuple[Share, ...] = ()
    files: tuple[FileToWrite, ...] = ()


class ImageConfig(Struct, frozen=True):
    """What an image says of its command."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""


class Owner(Struct, frozen=True):
    """Who a command is."""

    uid: int = 0
    gid: int = 0
    home: str = "/root"


class GuestBoot(Struct, frozen=True):
    """What QEMU boots a small guest from. ``root`` is the mounted image with the app's own changes; ``share`` goes both ways."""

    kernel: str
    initrd: str
    root: str
    share: str
