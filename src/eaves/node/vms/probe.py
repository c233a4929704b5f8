"""Whether KVM truly works here: boots a tiny guest on it. A device that can be opened says little; nested and odd hosts often fail
only when a guest leaves the beaten track. The answer is kept for this boot and kernel.
"""

from __future__ import annotations

import asyncio
import logging
import platform
from pathlib import Path

from msgspec import Struct

from eaves.kit import process
from eaves.kit.errors import EavesError
from eaves.node.statefile import StateFile
from eaves.node.vms.model import Architecture

log = logging.getLogger(__name__)

_LIMIT_S = 10.0
_DEVICE = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SIGN = 0x2A
_EXIT_CODE = _SIGN << 1 | 1
"""How QEMU's ``isa-debug-exit`` turns what the guest says into an exit status."""

_BOOT_SECTOR = bytes.fromhex(
    "fa31c08ed88ec08ed0bc007c66bf001000006631c066b9000c0000fc66f3ab66c70600100320000066c70600200330000066"
    "c7060030830000000f0116e07c0f20c00c010f22c066ea4f7c0000080066b810008ed88ec08ed0bc007c00009c6a0868677c"
    "0000cf0f20e00c200f22e0b8001000000f22d8b9800000c00f3280cc010f300f20c00d000000800f22c0ea957c0000180031"
    "c00fa248c7c4007c00004889e06a10509c6a1868b07c000048cfb900001000ffc975fcb02ae6f4f466900000000000000000"
    "ffff0000009acf00ffff00000092cf00ffff0000009aaf001f00c07c"
)
"""Loaded by the BIOS: from real to protected mode, an interrupt return there, page tables, long mode, CPUID, an interrupt return, a
million rounds of a loop, and 0x2a to port 0xf4."""

_ARM_POWER_OFF = bytes.fromhex("0080b05200018072020000d400000014")
"""At address 0 of the machine ``virt``: PSCI SYSTEM_OFF (0x84000008) by a hypervisor call."""


class KvmVerdict(Struct, frozen=True):
    """``note`` says for people why KVM is not used; ``mark`` is the boot and kernel that it was tried on."""

    mark: str = ""
    is_usable: bool = False
    note: str = ""


async def want_verdict(qemu: str, architecture: Architecture, file: StateFile[KvmVerdict], scratch: Path) -> KvmVerdict:
    """The verdict of this boot; tried once. ``scratch`` is a folder for the guest's disk."""
    boot_id = await asyncio.to_thread(_BOOT_ID.read_text, encoding="ascii")
    mark = f"{boot_id.strip()} {platform.release()} {qemu}"
    known = await file.load()
    if known.mark == mark:
        return known
    note = await _try(qemu, architecture, scratch)
    verdict = KvmVerdict(mark, not note, note)
    log.info("KVM was tried: usable=%s note=%s", verdict.is_usable, note)
    await file.save(verdict)
    return verdict


async def _try(qemu: str, architecture: Architecture, scratch: Path) -> str:
    """Boot the tiny guest; answers why it did not work, empty = it did."""
    if not await asyncio.to_thread(_DEVICE.exists):
        return "this machine offers no KVM: virtualisation is off in its firmware, or it is a virtual machine without nesting"
    image = scratch / "kvm-probe.img"
    is_arm = architecture is Architecture.AARCH64
    await asyncio.to_thread(
        image.write_bytes, _ARM_POWER_OFF if is_arm else _BOOT_SECTOR.ljust(510, b"\0") + b"\x55\xaa"
    )
    try:
        done = await process.run([qemu, *_render_probe(image, is_arm=is_arm)], timeout_s=_LIMIT_S, check=False)
    except process.ProcessTimeoutError:
        return "KVM is there but a guest on it stands still"
    except EavesError as error:
        return f"KVM could not be tried: {error.message}"
    finally:
        await asyncio.to_thread(image.unlink, missing_ok=True)
    if done.returncode == (0 if is_arm else _EXIT_CODE):
        return ""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return f"KVM is there but no guest runs on it: {lines[-1][:200] if lines else f'exit status {done.returncode}'}"


def _render_probe(image: Path, *, is_arm: bool) -> list[str]:
    base = [
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-accel",
        "kvm",
        "-cpu",
        "host",
        "-m",
        "64",
        "-no-reboot",
    ]
    if is_arm:
        return [*base, "-machine", "virt,gic-version=host", "-bios", str(image)]
    disk = f"if=floppy,format=raw,readonly=on,file={image}"
    return [*base, "-machine", "pc", "-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-drive", disk]
