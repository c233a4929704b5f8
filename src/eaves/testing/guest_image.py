"""A tiny bootable guest for tests: Debian's cloud kernel and a busybox root in memory, on a disk that BIOS and UEFI boot alike.

Made once from Debian packages and kept under ``~/.cache/eaves``; tests copy the disk (it is sparse and small). On the serial line the
guest says ``guest is ready`` and offers a shell; it obeys the power button, gets addresses by DHCP, serves ``/www`` on port 80, and runs
the real QEMU guest agent when there is a channel for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import lzma
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

CACHE = Path.home() / ".cache" / "eaves" / "guests"
READY = "guest is ready"
PROMPT = "guest# "
_KERNEL_PACKAGE = "linux-image-cloud-amd64"
_AGENT_PACKAGE = "qemu-guest-agent"
_MODULES = (
    *("virtio_pci", "virtio_blk", "virtio_scsi", "virtio_net", "virtio_console", "virtio_balloon", "virtio-rng"),
    *("ata_piix", "sd_mod", "sr_mod", "isofs", "vfat", "nls_ascii", "nls_cp437", "crc32c_generic", "ext4"),
    *("button", "evdev", "pvpanic-pci"),
)
_PARTITION_START = 2048
_PARTITION = "<B3sB3sII"
DISK_ID = 0xEA5E5D15
"""Of the disk's partition table: its partitions are ``PARTUUID=ea5e5d15-01`` and ``-02``."""

_INIT = f"""#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts
for module in $(cat /modules); do insmod $module; done
echo 8 > /proc/sys/kernel/printk; echo 1 > /proc/sys/kernel/sysrq
acpid -c /etc/acpi -l /dev/null -p /acpid.pid
ip link set lo up
for link in /sys/class/net/eth*; do
  [ -e $link ] && ip link set ${{link##*/}} up && udhcpc -q -b -i ${{link##*/}} -s /dhcp >/dev/null 2>&1 &
done
httpd -h /www
for port in /sys/class/virtio-ports/*; do
  [ -e $port ] && [ "$(cat $port/name)" = org.qemu.guest_agent.0 ] && /agent/qemu-ga -p /dev/${{port##*/}} -t /run >/dev/null 2>&1 &
done
echo "{READY}"
while :; do setsid cttyhack sh /shell; done
"""
# Without line editing, which would break long lines and ask the terminal for its size.
_SHELL = f"""#!/bin/sh
stty -echo
while printf '{PROMPT}' && read -r line; do eval "$line"; done
"""
_DHCP = """#!/bin/sh
case "$1" in bound|renew)
  ip addr flush dev $interface; ip addr add $ip/$mask dev $interface
  for gateway in $router; do ip route replace default via $gateway; done
  for server in $dns; do echo nameserver $server; done > /etc/resolv.conf
  echo "$interface has $ip" > /dev/console;;
esac
"""
_POWER = """#!/bin/sh
echo power button > /dev/console
sync
poweroff -f
"""
_SYSLINUX = "DEFAULT linux\nPROMPT 0\nTIMEOUT 0\nLABEL linux\n  KERNEL /vmlinuz\n  INITRD /initrd\n  APPEND {options}\n"
_ENTRY = "title guest\nlinux /vmlinuz\ninitrd /initrd\noptions {options}\n"
_OPTIONS = "console=ttyS0 quiet loglevel=4 panic=0 rdinit=/init tsc=unstable no_timer_check"


def want_guest_disk() -> Path:
    """The raw disk image; made if it is not there yet. Copy it, for it is shared."""
    return _want("disk.raw")


def want_guest_kernel() -> tuple[Path, Path]:
    """Kernel and initrd of the same guest, for who boots them without a disk."""
    return _want("vmlinuz"), _want("initrd")


def _want(name: str) -> Path:
    made = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    folder = CACHE / made
    with lock_cache():
        if not (folder / "disk.raw").exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                _make(Path(scratch))
                shutil.rmtree(folder, ignore_errors=True)
                (Path(scratch) / "out").rename(folder)
    return folder / name


@contextlib.contextmanager
def lock_cache(name: str = "lock") -> Iterator[None]:
    """For one process at a time. Blocking."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(scratch: Path) -> None:
    out = scratch / "out"
    out.mkdir()
    kernel = _unpack(scratch, _find_kernel_package())
    shutil.copy(next((kernel / "boot").glob("vmlinuz-*")), out / "vmlinuz")
    root = scratch / "root"
    _fill_root(root, next(kernel.glob("**/lib/modules/*")), _unpack(scratch, _AGENT_PACKAGE))
    names = _run("find", ".", folder=root)
    archive = subprocess.run(
        ["busybox", "cpio", "-o", "-H", "newc"], check=True, capture_output=True, cwd=root, input=names.encode()
    )
    (out / "initrd").write_bytes(gzip.compress(archive.stdout, 1))
    _make_disk(scratch, out)


def _find_kernel_package() -> str:
    text = _run("apt-cache", "depends", _KERNEL_PACKAGE)
    found = re.search(r"Depends: (linux-image-\S+)", text)
    assert found, f"{_KERNEL_PACKAGE} depends on no kernel; run apt-get update"
    return found.group(1)


def _unpack(scratch: Path, package: str) -> Path:
    folder = scratch / package
    folder.mkdir()
    folder.chmod(0o755)
    _run("apt-get", "download", "-q", package, folder=folder)
    _run("dpkg-deb", "-x", str(next(folder.glob("*.deb"))), str(folder))
    return folder


def _fill_root(root: Path, modules: Path, agent: Path) -> None:
    for name in (
        "bin",
        "sbin",
        "proc",
        "sys",
        "dev",
        "run",
        "etc/acpi/PWRF",
        "www",
        "mnt",
        "tmp",
        "modules.d",
        "agent",
    ):
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    _run("depmod", "--basedir", str(modules.parents[2]), modules.name)
    order = _resolve_modules((modules / "modules.dep").read_text())
    for number, path in enumerate(order):
        source = modules / path
        target = root / "modules.d" / f"{number:03}.ko"
        if source.suffix == ".xz":
            target.write_bytes(lzma.decompress(source.read_bytes()))
        else:
            shutil.copy(source, target)
    (root / "modules").write_text("".join(f"/modules.d/{number:03}.ko\n" for number in range(len(order))))
    _fill_agent(root, agent)
    scripts = {"init": _INIT, "dhcp": _DHCP, "shell": _SHELL, "etc/acpi/PWRF/00000080": _POWER, "sbin/shutdown": _POWER}
    for name, text in scripts.items():
        (root / name).write_text(text)
        (root / name).chmod(0o755)
    (root / "www/index.html").write_text("hello from a guest\n")


def _fill_agent(root: Path, agent: Path) -> None:
    program = agent / "usr/sbin/qemu-ga"
    shutil.copy(program, root / "agent/qemu-ga")
    for line in _run("ldd", str(program)).splitlines():
        found = re.search(r"(/\S+\.so\S*)", line)
        if found:
            target = root / found.group(1).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found.group(1), target)


def _resolve_modules(dependencies: str) -> list[str]:
    """Files of the wanted modules, what each needs before it."""
    needs = {}
    for line in dependencies.splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {re.sub(r"\.ko.*", "", path.rsplit("/", 1)[-1]).replace("-", "_"): path for path in needs}
    order: list[str] = []

    def add(paths: Iterable[str]) -> None:
        for path in paths:
            # Each line names all that a module needs, the deepest last.
            add(reversed(needs[path]))
            if path not in order:
                order.append(path)

    add(by_name[name.replace("-", "_")] for name in _MODULES if name.replace("-", "_") in by_name)
    return order


def _make_disk(scratch: Path, out: Path) -> None:
    disk = scratch / "disk.raw"
    make_boot_disk(disk, out / "vmlinuz", out / "initrd", _OPTIONS, scratch)
    disk.rename(out / "disk.raw")


def make_boot_disk(
    disk: Path, kernel: Path, initrd: Path, options: str, scratch: Path, *, boot_mib: int = 63, root: Path | None = None
) -> None:
    """A raw disk that BIOS and UEFI boot alike; ``root`` is the file system of a second and last partition."""
    start, sectors = _PARTITION_START, boot_mib << 11
    # One partition, active, of the type that UEFI looks for.
    table = struct.pack(_PARTITION, 0x80, b"\xfe\xff\xff", 0xEF, b"\xfe\xff\xff", start, sectors)
    end = start + sectors
    if root is not None:
        root_sectors = root.stat().st_size // 512
        table += struct.pack(_PARTITION, 0, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", end, root_sectors)
        end += root_sectors
    code = Path("/usr/lib/syslinux/mbr/mbr.bin").read_bytes()[:440]
    with disk.open("wb") as file:
        file.truncate(end * 512)
        file.write(
            code.ljust(440, b"\0") + DISK_ID.to_bytes(4, "little") + bytes(2) + table.ljust(64, b"\0") + b"\x55\xaa"
        )
    if root is not None:
        _run("dd", f"if={root}", f"of={disk}", "bs=1M", f"seek={boot_mib + 1}", "conv=notrunc,sparse", "status=none")
    offset = start * 512
    drive = f"{disk}@@{offset}"
    _run("mformat", "-i", drive, "-F", "-T", str(sectors), "-H", str(start), "-v", "GUEST", "::")
    _run("syslinux", "--offset", str(offset), "--install", str(disk))
    _run("mmd", "-i", drive, "::/EFI", "::/EFI/BOOT", "::/loader", "::/loader/entries")
    texts = {
        "syslinux.cfg": _SYSLINUX.format(options=options),
        "loader/entries/guest.conf": _ENTRY.format(options=options),
        "loader/loader.conf": "timeout 0\n",
    }
    for name, text in texts.items():
        (scratch / "text").write_text(text)
        _run("mcopy", "-i", drive, str(scratch / "text"), f"::/{name}")
    loader = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"
    for source, target in ((str(kernel), "vmlinuz"), (str(initrd), "initrd"), (loader, "EFI/BOOT/BOOTX64.EFI")):
        _run("mcopy", "-i", drive, source, f"::/{target}")


def _run(*argv: str, folder: Path | None = None, stdin: str = "") -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, cwd=folder, input=stdin, timeout=300)
    if done.returncode:
        raise AssertionError(f"{' '.join(argv)}: {done.stdout}{done.stderr}")
    return done.stdout
