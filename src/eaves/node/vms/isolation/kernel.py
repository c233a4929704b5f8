"""The kernel of small guests: found among the Debian kernels that are installed, with an initrd made for it once. Blocking."""

from __future__ import annotations

import hashlib
import lzma
import re
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from eaves.kit import files
from eaves.node.vms.isolation import packing
from eaves.node.vms.isolation.archive import pack_archive
from eaves.node.workloads.errors import SpecImpossibleError

MODULES = (
    *("virtio_pci", "9p", "9pnet_virtio", "virtio_net", "virtio_balloon", "virtio_rng"),
    *("virtio_console", "button", "evdev", "pvpanic_pci", "af_packet"),
)
"""What a guest needs; those that the kernel has built in are no files."""
_BUSYBOX = Path("/bin/busybox")
_INIT = """#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 share /share
. /share/run.sh
"""


class GuestKernel(Struct, frozen=True):
    image: Path
    modules: Path
    release: str


def want_boot_files(trees: Iterable[Path], cache: Path) -> tuple[str, str]:
    """Paths of kernel and initrd; the initrd is made in ``cache`` if it is not there.

    ``trees`` are searched in order for ``boot/vmlinuz-RELEASE`` with ``lib/modules/RELEASE``. Raises SpecImpossibleError.
    """
    kernel = find_kernel(trees)
    if kernel is None or not _BUSYBOX.exists():
        raise SpecImpossibleError(
            "this node has no kernel for containers with isolation: VM",
            resolution="apt-get install linux-image-amd64 busybox-static (linux-image-arm64 on Arm), or use isolation: Process",
        )
    stat = kernel.image.stat()
    text = f"{kernel.image} {stat.st_mtime_ns} {stat.st_size} {_INIT} {MODULES} {packing.mark_agent()}"
    mark = hashlib.sha256(text.encode()).hexdigest()[:12]
    path = cache / f"guest-{mark}.initrd"
    if not path.exists():
        files.save_file(path, _make_initrd(kernel))
    return str(kernel.image), str(path)


def find_kernel(trees: Iterable[Path]) -> GuestKernel | None:
    """The newest one whose modules are there and can share files."""
    for tree in trees:
        found = sorted((tree / "boot").glob("vmlinuz-*"), key=lambda path: _order(path.name), reverse=True)
        for image in found:
            release = image.name.removeprefix("vmlinuz-")
            modules = tree / "lib" / "modules" / release
            if next(modules.glob("kernel/fs/9p/9p.ko*"), None) is not None and (modules / "modules.dep").exists():
                return GuestKernel(image, modules, release)
    return None


def resolve_modules(dependencies: str, names: Iterable[str]) -> list[str]:
    """``modules.dep`` → files of the named modules, each after what it needs. Unknown names are left out."""
    needs = {}
    for line in dependencies.splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {re.sub(r"\.ko.*", "", path.rpartition("/")[2]).replace("-", "_"): path for path in needs}
    order: list[str] = []

    def add(path: str) -> None:
        # A line names all that a module needs, the deepest last.
        for needed in reversed(needs.get(path, [])):
            add(needed)
        if path not in order:
            order.append(path)

    for name in names:
        if name in by_name:
            add(by_name[name])
    return order


def _make_initrd(kernel: GuestKernel) -> bytes:
    order = resolve_modules((kernel.modules / "modules.dep").read_text(encoding="utf-8"), MODULES)
    found = [("bin/busybox", _BUSYBOX.read_bytes()), ("init", _INIT.encode()), *packing.pack_agent()]
    names = []
    for number, path in enumerate(order):
        name = f"{number:03}.ko"
        raw = (kernel.modules / path).read_bytes()
        found.append((f"modules/{name}", lzma.decompress(raw) if path.endswith(".xz") else raw))
        names.append(f"{name}\n")
    found.append(("modules/order", "".join(names).encode()))
    # Folders to mount at.
    found += [(f"{folder}/.keep", b"") for folder in ("proc", "sys", "dev", "share", "new", "tmp", "etc/acpi/PWRF")]
    return pack_archive(found)


def _order(name: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", name)]
