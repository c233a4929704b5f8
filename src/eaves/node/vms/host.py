"""What this node offers to virtual machines: QEMU, its accelerator, firmware, the TPM emulator. Looked up when the first one is wanted."""

from __future__ import annotations

import asyncio
import platform
import re
import shutil
from pathlib import Path

from eaves.kit import process
from eaves.node.errors import HostError
from eaves.node.instance import Instance
from eaves.node.observed_vm import Accelerator
from eaves.node.statefile import StateFile
from eaves.node.vms import probe
from eaves.node.vms.model import Architecture, VmHost

OLDEST_QEMU = (7, 2)
_PACKAGES = {
    Architecture.X86_64: "qemu-system-x86 qemu-utils ovmf swtpm",
    Architecture.AARCH64: "qemu-system-arm qemu-utils qemu-efi-aarch64 swtpm",
}
_UEFI = {
    Architecture.X86_64: (
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
        ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ),
    Architecture.AARCH64: (
        ("/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
        ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
    ),
}


async def observe_vm_host(instance: Instance) -> VmHost:
    """Raises HostError when QEMU is missing, with the packages that bring what machines need."""
    architecture = find_architecture()
    qemu = await _find_program(f"qemu-system-{architecture}")
    if not qemu or not await _find_program("qemu-img"):
        raise HostError(
            "this node cannot run virtual machines: QEMU is not installed",
            code="ProgramMissing",
            element="node",
            resolution=f"apt-get install --no-install-recommends {_PACKAGES[architecture]}",
        )
    version = parse_qemu_version((await process.run([qemu, "--version"])).text)
    file = StateFile(instance.state_dir / "kvm.json", probe.KvmVerdict)
    verdict = await probe.want_verdict(qemu, architecture, file, instance.scratch_dir)
    code, variables = await asyncio.to_thread(_find_uefi, architecture)
    return VmHost(
        architecture=architecture,
        qemu=qemu,
        qemu_version=version,
        accelerator=Accelerator.KVM if verdict.is_usable else Accelerator.TCG,
        note=verdict.note,
        uefi_code=code,
        uefi_vars=variables,
        swtpm=await _find_program("swtpm"),
    )


async def _find_program(name: str) -> str:
    """Its path, empty = it is not installed."""
    return await asyncio.to_thread(lambda: shutil.which(name) or "")


def parse_qemu_version(text: str) -> tuple[int, ...]:
    """``QEMU emulator version 7.2.22 (Debian …)`` → (7, 2, 22). Raises HostError for one that is too old."""
    match = re.search(r"version (\d+)\.(\d+)(?:\.(\d+))?", text)
    if match is None:
        raise HostError(f"QEMU does not tell its version: {text.strip()[:80]!r}", element="qemu")
    version = tuple(int(part) for part in match.groups(default="0"))
    if version < OLDEST_QEMU:
        raise HostError(
            f"QEMU {'.'.join(map(str, version))} is too old, 7.2 or newer is needed",
            element="qemu",
            resolution="use Debian 12 or newer",
        )
    return version


def find_architecture() -> Architecture:
    """Raises HostError for a machine of another kind."""
    machine = platform.machine().lower()
    names = {"amd64": Architecture.X86_64, "arm64": Architecture.AARCH64}
    try:
        return names.get(machine) or Architecture(machine)
    except ValueError:
        raise HostError(f"machines of kind {machine} run no virtual machines here", element="node") from None


def _find_uefi(architecture: Architecture) -> tuple[str, str]:
    for code, variables in _UEFI[architecture]:
        if Path(code).exists() and Path(variables).exists():
            return code, variables
    return "", ""
