"""A whole Debian on a disk, as clouds offer it: systemd, cloud-init, the QEMU guest agent, SSH; built by mmdebstrap from Debian's packages.

It takes a minute, a network and mmdebstrap; then it is kept under ``~/.cache/eaves``. Its kernel is Debian's stock one, which has the
drivers of old hardware too. The disk boots by BIOS and UEFI; the root file system is on the last partition, so that cloud-init makes it as
large as the disk that the machine gets.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import tempfile
from pathlib import Path

from eaves.testing.guest.packages import run_tool
from eaves.testing.guest_image import CACHE, DISK_ID, lock_cache, make_boot_disk

_PACKAGES = (
    *("linux-image-amd64", "systemd-sysv", "udev", "dbus", "kmod", "iproute2", "login", "e2fsprogs", "fdisk"),
    *("cloud-init", "cloud-guest-utils", "netplan.io", "systemd-resolved", "qemu-guest-agent", "openssh-server"),
)
_ROOT_MIB = 1100
_BOOT_MIB = 80
_OPTIONS = f"root=PARTUUID={DISK_ID:08x}-02 rw console=ttyS0 no_timer_check tsc=unstable systemd.show_status=1"


def want_debian_disk() -> Path:
    """The image as qcow2; made if it is not there yet. Copy it, for it is shared. Blocking. Raises GuestError."""
    made = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    folder = CACHE / f"debian-{_release()}-{made}"
    # Who wants the tiny guest does not wait for this one.
    with lock_cache("debian.lock"):
        if not (folder / "disk.qcow2").exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                _make(Path(scratch))
                (Path(scratch) / "out").rename(folder)
    return folder / "disk.qcow2"


def _release() -> str:
    return platform.freedesktop_os_release()["VERSION_CODENAME"]


def _make(scratch: Path) -> None:
    root, image, disk, out = scratch / "root", scratch / "root.ext4", scratch / "disk.raw", scratch / "out"
    out.mkdir()
    run_tool(
        "mmdebstrap",
        "--mode=root",
        "--variant=apt",
        f"--include={','.join(_PACKAGES)}",
        "--aptopt=APT::Install-Recommends false",
        "--customize-hook=rm -f $1/etc/machine-id $1/etc/hostname $1/etc/ssh/ssh_host_*",
        "--customize-hook=: > $1/etc/machine-id",
        _release(),
        str(root),
    )
    kernel, initrd = (next((root / "boot").glob(f"{name}-*")) for name in ("vmlinuz", "initrd.img"))
    with image.open("wb") as file:
        file.truncate(_ROOT_MIB << 20)
    run_tool("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", str(root), str(image))
    make_boot_disk(disk, kernel, initrd, _OPTIONS, scratch, boot_mib=_BOOT_MIB, root=image)
    run_tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", str(disk), str(out / "disk.qcow2"))
    subprocess.run(["rm", "-rf", "--one-file-system", str(root)], check=True)
