"""Desired disk images, disks of every format, and how to wait for them: for contract tests of images."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from eaves.node.desired.model import DatastoreKind, DesiredDatastore, DesiredImage, ImageFormat
from eaves.node.images.plan import Pin
from eaves.node.observed import Fault, ImageState, ImageStatus
from eaves.testing.engine_host import EngineHost
from eaves.testing.file_server import FileServer


def want_files(server: FileServer, **changes: object) -> DesiredDatastore:
    """``server`` as a datastore."""
    values: dict[str, object] = {
        "id": "files",
        "kind": DatastoreKind.HTTP,
        "server": server.url,
        "ca_pems": (server.ca_pem,) if server.ca_pem else (),
    }
    return DesiredDatastore(**(values | changes))  # type: ignore[arg-type]


def want_raw(host: EngineHost, *stores: DesiredDatastore, digest: str, **changes: object) -> DesiredImage:
    """The raw disk ``disk.raw`` of ``stores``; its id is ``disk``."""
    values = {"format": ImageFormat.RAW, "digest": digest, "id": "disk", "datastores": stores} | changes
    return host.image(stores[0], "disk.raw", **values)


async def wait_loaded(host: EngineHost, image_id: str = "disk", limit_s: float = 60.0) -> Pin:
    await host.wait(ImageStatus, image_id, lambda status: status.state is ImageState.LOADED, limit_s)
    assert host.manager is not None
    pin = host.manager.images.loaded(image_id)
    assert pin is not None
    return pin


async def wait_fault(host: EngineHost, image_id: str = "disk") -> Fault:
    status = await host.wait(ImageStatus, image_id, lambda found: found.fault is not None)
    assert status.fault is not None
    return status.fault


def make_disk(folder: Path, fmt: str, content: bytes, *options: str) -> bytes:
    """``content`` as a disk of ``fmt``, by qemu-img."""
    raw, made = folder / "raw", folder / f"made.{fmt}"
    raw.write_bytes(content)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", fmt, *options, raw, made], check=True)
    return made.read_bytes()


def load_disk(path: str, fmt: str, folder: Path) -> bytes:
    """What a guest would read."""
    raw = folder / "read.raw"
    subprocess.run(["qemu-img", "convert", "-f", fmt, "-O", "raw", path, raw], check=True)
    return raw.read_bytes()


def make_tar(**members: bytes) -> bytes:
    """An archive; in names ``__`` stands for a slash and ``_`` for a dot."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("__", "/").replace("_", "."))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
