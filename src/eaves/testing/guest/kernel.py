"""Debian's stock kernel for a guest: fetched and unpacked once, kept in the user's cache."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from msgspec import Struct

from eaves.testing.guest.packages import GuestError, fetch_package, open_cache, run_tool

_PACKAGES = {"x86_64": "linux-image-amd64", "aarch64": "linux-image-arm64"}

EARLY_MODULES = (
    "virtio_pci",
    "9p",
    "9pnet_virtio",
    "overlay",
)
"""What is needed before the host's files can be seen."""


class Kernel(Struct, frozen=True):
    """``image`` boots with ``initrd``; ``modules`` is the folder that holds ``lib/modules/RELEASE``."""

    release: str
    image: Path
    initrd: Path
    modules: Path


def want_kernel() -> Kernel:
    """The kernel of this machine's Debian release; fetched at the first call. Blocking; safe between processes.

    Raises GuestError when the package cannot be had.
    """
    with open_cache() as folder:
        package = _resolve_package()
        made = folder / package
        if not made.exists():
            with tempfile.TemporaryDirectory(dir=folder, prefix="part.") as part:
                _unpack(package, Path(part) / "tree")
                (Path(part) / "tree").rename(made)
    image = next((made / "boot").glob("vmlinuz-*"))
    release = image.name.removeprefix("vmlinuz-")
    return Kernel(release, image, made / "initrd", made)


def offer_kernel(data_dir: Path) -> None:
    """As if Debian's kernel package were installed on the node with this data folder. Blocking. Raises GuestError."""
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / "guest-kernel").symlink_to(want_kernel().modules)


def _resolve_package() -> str:
    """The versioned package that the release's kernel package depends on."""
    machine = platform.machine()
    if machine not in _PACKAGES:
        raise GuestError(f"no stock kernel is known for {machine}", resolution="run on x86_64 or aarch64")
    shown = run_tool("apt-cache", "depends", "--no-recommends", "--no-suggests", _PACKAGES[machine])
    found = re.search(r"Depends: (linux-image-[0-9]\S+)", shown)
    if found is None:
        raise GuestError("the stock kernel's package is not known", resolution="apt-get update")
    return found.group(1)


def _unpack(package: str, tree: Path) -> None:
    tree.mkdir()
    work = tree.parent
    run_tool("dpkg-deb", "--extract", str(fetch_package(package, work)), str(tree))
    if not (tree / "lib").exists():
        (tree / "lib").symlink_to("usr/lib")
    release = next((tree / "boot").glob("vmlinuz-*")).name.removeprefix("vmlinuz-")
    run_tool("depmod", "--basedir", str(tree), release)
    _pack_initrd(tree, release)


def _pack_initrd(tree: Path, release: str) -> None:
    """busybox, the early modules in the order to load, and the first half of the way up."""
    root = tree.parent / "initrd"
    for name in ("bin", "proc", "sys", "dev", "lower", "upper", "new", "modules"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    shutil.copy(Path(__file__).parent / "init-early.sh", root / "init")
    (root / "init").chmod(0o755)
    order = []
    for name in EARLY_MODULES:
        shown = run_tool(
            "modprobe", "--dirname", str(tree), "--set-version", release, "--show-depends", "--ignore-install", name
        )
        for line in shown.splitlines():
            word, _, path = line.strip().partition(" ")
            source = Path(path.split()[0]) if path else None
            if word == "insmod" and source is not None and source.name not in order:
                shutil.copy(source, root / "modules" / source.name)
                order.append(source.name)
    (root / "modules" / "order").write_text("".join(f"{name}\n" for name in order))
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    packed = subprocess.run(
        ["cpio", "--create", "--format=newc", "--quiet"],
        cwd=root,
        input=names.encode(),
        capture_output=True,
        check=True,
    )
    (tree / "initrd").write_bytes(packed.stdout)
