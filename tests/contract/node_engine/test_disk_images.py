"""Disk images of every format and layout, until volumes can be made from them."""

from __future__ import annotations

import asyncio
import gzip
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from eaves.kit import process
from eaves.node.desired.model import DesiredImage, ImageFormat
from eaves.node.images.model import PartFormat, PartRole
from eaves.node.images.plan import Pin
from eaves.node.manager import EngineOptions
from eaves.node.observed import ImageState, ImageStatus
from eaves.testing.disk_images import load_disk, make_disk, make_tar, wait_fault, wait_loaded, want_files, want_raw
from eaves.testing.engine_host import EngineHost
from eaves.testing.file_server import FileServer
from eaves.testing.registry import Registry

pytestmark = pytest.mark.contract

CONTENT = os.urandom(3 << 20)
TAR = "application/vnd.oci.image.layer.v1.tar"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as found:
        yield found


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[EngineHost]:
    options = EngineOptions(first_retry_s=0.3, stalled_after_s=20.0)
    async with EngineHost(tmp_path, options) as found:
        yield found


async def bring(host: EngineHost, server: FileServer, content: bytes, fmt: ImageFormat) -> Pin:
    digest = server.add("/disk.raw", content)
    await host.apply(images=(want_raw(host, want_files(server), digest=digest, format=fmt),))
    return await wait_loaded(host)


def wait_until(is_so: Callable[[], bool], limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def blobs(host: EngineHost) -> list[str]:
    """All files of the content store."""
    return sorted(path.name for path in host.instance.blobs_dir.rglob("*") if path.is_file())


@pytest.mark.parametrize("fmt", [ImageFormat.RAW, ImageFormat.ISO])
async def test_raw_disks_stay_as_they_are(host: EngineHost, server: FileServer, fmt: ImageFormat) -> None:
    content = CONTENT[:1000] + bytes(4 << 20) + CONTENT
    pin = await bring(host, server, content, fmt)
    assert (pin.format, pin.virtual_size_bytes) == ("raw", -(-len(content) // 512) * 512)
    assert [(blob.digest, blob.size_bytes) for blob in pin.content] == [(pin.digest, len(content))]
    path = Path(pin.path)
    assert await asyncio.to_thread(path.read_bytes) == content
    # Its zeros take no room, and nothing else is kept of it.
    assert (await asyncio.to_thread(path.stat)).st_blocks * 512 < len(content)
    async with asyncio.timeout(40):
        # What it came as goes after it is there.
        while await asyncio.to_thread(blobs, host) != ["parts.json", path.name]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("fmt", "tool", "options"),
    [
        (ImageFormat.QCOW2, "qcow2", ()),
        (ImageFormat.QCOW, "qcow", ()),
        (ImageFormat.VMDK, "vmdk", ()),
        (ImageFormat.VMDK, "vmdk", ("-o", "subformat=streamOptimized")),
        (ImageFormat.VHDX, "vhdx", ()),
        (ImageFormat.VHD, "vpc", ("-o", "subformat=dynamic,force_size=on")),
        (ImageFormat.VHD, "vpc", ("-o", "subformat=fixed,force_size=on")),
    ],
)
async def test_other_formats_become_qcow2(
    host: EngineHost, server: FileServer, tmp_path: Path, fmt: ImageFormat, tool: str, options: tuple[str, ...]
) -> None:
    content = await asyncio.to_thread(make_disk, tmp_path, tool, CONTENT, *options)
    pin = await bring(host, server, content, fmt)
    assert pin.format == "qcow2"
    read = await asyncio.to_thread(load_disk, pin.path, pin.format, tmp_path)
    assert (len(read), read[: len(CONTENT)]) == (pin.virtual_size_bytes, CONTENT)


async def test_the_disk_of_an_ova(host: EngineHost, server: FileServer, tmp_path: Path) -> None:
    disk = await asyncio.to_thread(make_disk, tmp_path, "vmdk", CONTENT, "-o", "subformat=streamOptimized")
    pin = await bring(host, server, make_tar(vm_ovf=b"<Envelope/>", disk1_vmdk=disk), ImageFormat.OVA)
    read = await asyncio.to_thread(load_disk, pin.path, pin.format, tmp_path)
    assert read[: len(CONTENT)] == CONTENT


async def test_a_disk_that_names_a_file_of_the_node_is_refused(
    host: EngineHost, server: FileServer, tmp_path: Path
) -> None:
    """Made by the real tool, since that is what an attacker would use."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 1000)
    made = tmp_path / "hostile.qcow2"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(secret), "-F", "raw", str(made), "1M"]
    await asyncio.to_thread(subprocess.run, argv, check=True)
    images: list[DesiredImage] = []
    for number, (content, fmt) in enumerate(
        [
            (made.read_bytes(), ImageFormat.QCOW2),
            (
                b'# Disk DescriptorFile\ncreateType="monolithicFlat"\nRW 8 FLAT "%s" 0\n' % bytes(secret),
                ImageFormat.VMDK,
            ),
            (make_tar(a_vmdk=b"# Disk DescriptorFile\n"), ImageFormat.OVA),
            (make_tar(a_vmdk=b"1", b_vmdk=b"2"), ImageFormat.OVA),
            (b"no disk" * 1000, ImageFormat.QCOW2),
        ]
    ):
        digest = server.add(f"/{number}/disk.raw", content)
        store = want_files(server, path=str(number))
        images.append(want_raw(host, store, digest=digest, format=fmt, id=f"bad-{number}"))
    await host.apply(images=tuple(images))
    codes = [(await wait_fault(host, image.id)).code for image in images]
    assert codes == ["ImageRefused", "ImageRefused", "ImageRefused", "ImageRefused", "ImageFormatMismatch"]


async def test_a_damaged_disk_is_told_with_the_tools_reason(
    host: EngineHost, server: FileServer, tmp_path: Path
) -> None:
    content = await asyncio.to_thread(make_disk, tmp_path, "vhdx", CONTENT)
    digest = server.add("/disk.raw", content[: 1 << 19])
    await host.apply(images=(want_raw(host, want_files(server), digest=digest, format=ImageFormat.VHDX),))
    fault = await wait_fault(host)
    assert fault.code == "ConversionFailed"
    assert "qemu-img" in fault.message
    assert str(tmp_path) not in fault.message


async def test_disks_in_registries(host: EngineHost, registry: Registry, tmp_path: Path) -> None:
    qcow2 = await asyncio.to_thread(make_disk, tmp_path, "qcow2", CONTENT)
    vmdk = await asyncio.to_thread(make_disk, tmp_path, "vmdk", CONTENT)
    role, title = "org.lfedge.eci.role", "org.opencontainers.image.title"
    kind = "org.lfedge.eci.mediaType"
    eci_disk = "application/vnd.lfedge.disk.layer.v1+"
    start = "org.lfedge.eci.artifact."
    root = {role: "disk-root", title: "root.raw", kind: f"{eci_disk}raw"}
    pushes: dict[str, tuple[list[tuple[bytes, str, dict[str, str]]], dict[str, str]]] = {
        "oras": ([(qcow2, "application/octet-stream", {title: "vm.qcow2"})], {}),
        "containerdisk": ([(gzip.compress(make_tar(disk__vm_img=qcow2)), f"{TAR}+gzip", {})], {}),
        "eci": (
            [
                (vmdk, f"{eci_disk}vmdk", {role: "disk-root"}),
                (CONTENT, f"{eci_disk}raw", {role: "disk-additional"}),
                (b"kernel", "application/vnd.lfedge.eci.kernel.layer.v1+kernel", {role: "kernel"}),
                (b"initrd", "application/vnd.lfedge.eci.initrd.layer.v1+cpio", {role: "initrd"}),
            ],
            {},
        ),
        "legacy": ([(make_tar(root_raw=CONTENT), TAR, root)], {}),
        "labels": (
            [(make_tar(boot__kernel=b"old"), TAR, {}), (make_tar(root_raw=CONTENT, boot__kernel=b"kernel"), TAR, {})],
            {f"{start}root": "/root.raw", f"{start}kernel": "/boot/kernel"},
        ),
    }
    images = []
    for name, (layers, labels) in pushes.items():
        await asyncio.to_thread(registry.push_artifact, f"disks/{name}:1", layers, labels)
        image = host.image(registry.datastore(), f"disks/{name}:1", id=name, format=ImageFormat.QCOW2)
        images.append(image)
    await host.apply(images=tuple(images))
    pins = {name: await wait_loaded(host, name) for name in pushes}
    assert {name: len(pin.content) for name, pin in pins.items()} == {
        name: 1 + len(layers) for name, (layers, _) in pushes.items()
    }
    assert all(pin.content[0].digest == pin.digest for pin in pins.values())
    parts = {name: pin.disk for name, pin in pins.items()}
    formats = {
        name: [(part.role, part.format) for part in disk.parts] for name, disk in parts.items() if disk is not None
    }
    root_qcow2, root_raw = (PartRole.ROOT, PartFormat.QCOW2), (PartRole.ROOT, PartFormat.RAW)
    kernel, initrd = (PartRole.KERNEL, PartFormat.FILE), (PartRole.INITRD, PartFormat.FILE)
    assert formats == {
        "oras": [root_qcow2],
        "containerdisk": [root_qcow2],
        "eci": [root_qcow2, (PartRole.DISK, PartFormat.RAW), kernel, initrd],
        "legacy": [root_raw],
        "labels": [kernel, root_raw],
    }
    for disk in parts.values():
        assert disk is not None
        assert disk.root is not None
        read = await asyncio.to_thread(load_disk, disk.root.path, disk.root.format, tmp_path)
        assert read[: len(CONTENT)] == CONTENT
        for part in disk.parts:
            if part.role is PartRole.KERNEL:
                assert await asyncio.to_thread(Path(part.path).read_bytes) == b"kernel"


async def test_two_images_of_one_digest_are_fetched_once_and_go_with_the_last(
    host: EngineHost, server: FileServer
) -> None:
    digest = server.add("/disk.raw", CONTENT)
    images = tuple(want_raw(host, want_files(server), digest=digest, id=f"disk-{number}") for number in range(3))
    await host.apply(images=images)
    pins = [await wait_loaded(host, image.id) for image in images]
    assert len({pin.path for pin in pins}) == 1
    assert len(server.asked) == 1
    await host.stop()
    await host.start()
    await host.apply(images=images[:1], maintenance_mode=True)
    assert (await wait_loaded(host, "disk-0")).path == pins[0].path
    await host.wait_gone(ImageStatus, "disk-2")
    assert await asyncio.to_thread(Path(pins[0].path).exists)
    await host.apply(images=())
    # Removing has no event that the board would show.
    await asyncio.to_thread(wait_until, lambda: blobs(host) == [])
    assert len(server.asked) == 1


async def test_conversion_shows_its_progress_and_survives_a_power_cut(
    host: EngineHost, server: FileServer, tmp_path: Path
) -> None:
    content = await asyncio.to_thread(make_disk, tmp_path, "vmdk", CONTENT * 20)
    digest = server.add("/disk.raw", content)
    image = want_raw(host, want_files(server), digest=digest, format=ImageFormat.VMDK)
    await host.apply(images=(image,))
    await host.wait(ImageStatus, "disk", lambda status: status.state in (ImageState.CONVERTING, ImageState.LOADED))
    await host.cut_power()
    work = host.instance.blobs_dir / "disks" / f".making-{digest.removeprefix('sha256:')}-vmdk"
    # However far it was: what a cut leaves is half a file.
    await asyncio.to_thread(work.mkdir, exist_ok=True)
    await asyncio.to_thread((work / "root.qcow2").write_bytes, b"QFI\xfbhalf")
    await host.start()
    await host.apply()
    pin = await wait_loaded(host)
    read = await asyncio.to_thread(load_disk, pin.path, pin.format, tmp_path)
    assert read == CONTENT * 20
    assert len(server.asked) == 1, "what was downloaded is not fetched again"


async def test_a_disk_too_full_for_the_conversion_is_told_and_overcome(tmp_path: Path, server: FileServer) -> None:
    """The file is small and what becomes of it is not."""
    pattern = os.urandom(4096) * (40 << 8)
    content = await asyncio.to_thread(make_disk, tmp_path, "vmdk", pattern, "-o", "subformat=streamOptimized")
    assert len(content) < 20 << 20
    disk = tmp_path / "disk"
    await asyncio.to_thread(disk.mkdir)
    await process.run(["mount", "-t", "tmpfs", "-o", "size=98m", "tmpfs", str(disk)])
    try:
        async with EngineHost(disk, EngineOptions(first_retry_s=0.3)) as host:
            digest = server.add("/disk.raw", content)
            await host.apply(images=(want_raw(host, want_files(server), digest=digest, format=ImageFormat.VMDK),))
            fault = await wait_fault(host)
            assert fault.code == "StorageFull"
            assert "free space" in fault.resolution
            await process.run(["mount", "-o", "remount,size=256m", str(disk)])
            pin = await wait_loaded(host)
            assert await asyncio.to_thread(load_disk, pin.path, pin.format, tmp_path) == pattern
            assert len(server.asked) == 1, "the download was kept"
    finally:
        await process.run(["umount", "--lazy", str(disk)])
