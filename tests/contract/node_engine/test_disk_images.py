"""Disk images from web servers, good and bad, until volumes can be made from them."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from eaves.node.desired.model import DatastoreKind, DesiredDatastore, DesiredImage, ImageFormat, Secret
from eaves.node.images.plan import Pin
from eaves.node.manager import EngineOptions
from eaves.node.observed import ImageState, ImageStatus
from eaves.testing.engine_host import EngineHost
from eaves.testing.file_server import FileServer

pytestmark = pytest.mark.contract

DISK_BYTES = 3 << 20
CONTENT = os.urandom(DISK_BYTES)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as found:
        yield found


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[EngineHost]:
    options = EngineOptions(first_retry_s=0.3, stalled_after_s=3.0)
    async with EngineHost(tmp_path, options) as found:
        yield found


def web(server: FileServer, **changes: object) -> DesiredDatastore:
    values: dict[str, object] = {
        "id": "files",
        "kind": DatastoreKind.HTTP,
        "server": server.url,
        "ca_pems": (server.ca_pem,) if server.ca_pem else (),
    }
    return DesiredDatastore(**(values | changes))  # type: ignore[arg-type]


def serve(host: EngineHost, server: FileServer, content: bytes = CONTENT, **changes: object) -> DesiredImage:
    """A raw disk on ``server``."""
    digest = server.add("/disks/one.raw", content)
    values = {"format": ImageFormat.RAW, "digest": digest, "id": "disk"} | changes
    return host.image(web(server, path="disks"), "one.raw", **values)


async def wait_loaded(host: EngineHost, image_id: str = "disk") -> Pin:
    await host.wait(ImageStatus, image_id, lambda status: status.state is ImageState.LOADED)
    assert host.manager is not None
    pin = host.manager.images.loaded(image_id)
    assert pin is not None
    return pin


async def wait_fault(host: EngineHost, image_id: str = "disk") -> str:
    status = await host.wait(ImageStatus, image_id, lambda found: found.fault is not None)
    assert status.fault is not None
    return status.fault.code


def make_disk(folder: Path, fmt: str, name: str, *options: str, content: bytes = CONTENT) -> bytes:
    """``content`` as a disk of ``fmt``, by qemu-img."""
    raw = folder / "raw"
    raw.write_bytes(content)
    made = folder / name
    subprocess.run(["qemu-img", "convert", "-O", fmt, *options, raw, made], check=True)
    return made.read_bytes()


def read_disk(pin: Pin, folder: Path) -> bytes:
    """What a guest would read from the image."""
    raw = folder / "read.raw"
    subprocess.run(["qemu-img", "convert", "-f", pin.format, "-O", "raw", pin.path, raw], check=True)
    return raw.read_bytes()


async def test_a_raw_disk_from_a_web_server(host: EngineHost, server: FileServer) -> None:
    server.manners.username, server.manners.password = "me", "secret"
    image = serve(host, server)
    store = web(server, path="disks", username="me", password=Secret("secret"))
    await host.apply(images=(host.image(store, "one.raw", format=ImageFormat.RAW, digest=image.digest, id="disk"),))
    pin = await wait_loaded(host)
    assert (pin.format, pin.virtual_size_bytes, pin.digest) == ("raw", DISK_BYTES, image.digest)
    assert await asyncio.to_thread(Path(pin.path).read_bytes) == CONTENT


@pytest.mark.parametrize(
    ("fmt", "options"),
    [
        ("qcow2", ()),
        ("vmdk", ()),
        ("vmdk", ("-o", "subformat=streamOptimized")),
        ("vhdx", ()),
        ("vpc", ("-o", "subformat=dynamic,force_size=on")),
    ],
)
async def test_formats_become_what_a_machine_runs_from(
    host: EngineHost, server: FileServer, tmp_path: Path, fmt: str, options: tuple[str, ...]
) -> None:
    content = make_disk(tmp_path, fmt, "disk", *options)
    image = serve(host, server, content, format=ImageFormat("vhd" if fmt == "vpc" else fmt))
    await host.apply(images=(image,))
    pin = await wait_loaded(host)
    assert pin.format == "qcow2"
    assert pin.virtual_size_bytes >= DISK_BYTES
    assert read_disk(pin, tmp_path)[:DISK_BYTES] == CONTENT
