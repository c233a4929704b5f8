"""Virtual machines for a whole engine: the tiny guest as an image on a web server, a volume made from it, an app that boots it."""

from __future__ import annotations

from typing import Any

import msgspec

from eaves.node.desired.model import (
    AclRule,
    AppKind,
    DatastoreKind,
    DesiredApp,
    DesiredDatastore,
    DesiredImage,
    DesiredNetwork,
    DesiredVolume,
    ImageFormat,
    VolumeMode,
    VolumeMount,
)
from eaves.node.desired.vm_model import DesiredVm, VmDisk
from eaves.testing.desired import ALLOW_ALL
from eaves.testing.engine_host import EngineHost
from eaves.testing.file_server import FileServer
from eaves.testing.guest_image import want_guest_disk

_PATH = "/disks/guest.raw"


def serve_guest(server: FileServer, host: EngineHost) -> DesiredImage:
    """The tiny guest's disk as an image on ``server``. Blocking."""
    digest = server.add(_PATH, want_guest_disk().read_bytes())
    store = DesiredDatastore("files", DatastoreKind.HTTP, server.url, path="disks")
    return host.image(store, "guest.raw", format=ImageFormat.RAW, digest=digest, id="image-guest")


def want_machine(
    host: EngineHost,
    name: str,
    image: DesiredImage,
    *networks: DesiredNetwork,
    acls: tuple[AclRule, ...] = (ALLOW_ALL,),
    data: tuple[DesiredVolume, ...] = (),
    hardware: dict[str, Any] | None = None,
    **changes: Any,
) -> tuple[DesiredApp, tuple[DesiredVolume, ...]]:
    """The app and its volumes: a root made from ``image``, then ``data``. ``changes`` are fields of the app."""
    root = DesiredVolume(f"root-{name}", 0, f"root-{name}", image.id, 0, mode=VolumeMode.BLOCK, is_explicit=True)
    volumes = (root, *data)
    disks = tuple(
        VmDisk(volume.id, volume.generation, volume.name, boot_index=number, is_root=volume is root)
        for number, volume in enumerate(volumes, start=1)
    )
    machine = msgspec.structs.replace(DesiredVm(1), disks=disks, **(hardware or {}))
    values = {
        "kind": AppKind.VIRTUAL_MACHINE,
        "memory_bytes": 128 << 20,
        "vm": machine,
        "mounts": tuple(VolumeMount(volume.id, volume.generation, "/mnt") for volume in data),
        "stop_grace_s": 30,
    }
    return host.app(name, image, *networks, acls=acls, **(values | changes)), volumes
