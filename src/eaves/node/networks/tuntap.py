"""The kernel's module of interfaces for machines, which a host without udev may not have loaded."""

from __future__ import annotations

import asyncio
from pathlib import Path

from eaves.kit import process
from eaves.node.networks.errors import NetworkError

DEVICE = Path("/dev/net/tun")
"""Where udev runs it is there from the start, and the kernel loads the module at its first use."""


async def load_tun(device: Path = DEVICE) -> None:
    """Raises NetworkError when the kernel has none."""
    if await asyncio.to_thread(device.exists):
        return
    details = ""
    try:
        await process.run(["modprobe", "tun"])
    except (process.ProcessError, process.ProgramMissingError) as error:
        details = error.details or str(error)
    if not await asyncio.to_thread(device.exists):
        raise NetworkError(
            f"machines cannot have network interfaces: {device} is missing and the kernel's module tun cannot be loaded",
            details=details,
            resolution="boot a kernel that has it, such as Debian's linux-image-amd64, and try: modprobe tun (package kmod)",
        )
