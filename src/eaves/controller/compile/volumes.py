"""Volumes of apps: root file systems and disks, volumes of an app's own, and where apps have Volume objects."""

from __future__ import annotations

from eaves.controller.compile.draft import Draft
from eaves.controller.compile.errors import HeldBackError
from eaves.controller.compile.identifiers import app_volume_id, content_tree_id, root_volume_id
from eaves.controller.compile.lookup import Lookup
from eaves.kinds.app import App
from eaves.kinds.app_spec import DEFAULT_VOLUME_SIZE, AppType, AppVolume, image_format_of, vm_of
from eaves.kinds.image_format import ImageFormat
from eaves.kinds.vm_spec import RootDisk
from eaves.kinds.volume import Volume, VolumeMode, mode_of
from eaves.kube.quantity import parse_bytes
from eaves.wire.pb.config import storage_pb2
from eaves.wire.pb.config.appconfig_pb2 import VolumeRef

FORMATS = {
    ImageFormat.CONTAINER: storage_pb2.CONTAINER,
    ImageFormat.RAW: storage_pb2.RAW,
    ImageFormat.QCOW2: storage_pb2.QCOW2,
    ImageFormat.VMDK: storage_pb2.VMDK,
    ImageFormat.VHD: storage_pb2.VHD,
    ImageFormat.VHDX: storage_pb2.VHDX,
    ImageFormat.OVA: storage_pb2.OVA,
    ImageFormat.ISO: storage_pb2.ISO,
}


def want_blank(volume_id: str, name: str, size_bytes: int) -> storage_pb2.Volume:
    """A volume that holds nothing at first."""
    return storage_pb2.Volume(
        uuid=volume_id,
        origin=storage_pb2.VolumeContentOrigin(type=storage_pb2.VCOT_BLANK),
        maxsizebytes=size_bytes,
        displayName=name,
    )


def want_root_volume(app: App, draft: Draft) -> VolumeRef:
    """The root file system or disk, made from the app's content tree. A purge is a new generation of it."""
    volume_id = root_volume_id(app)
    is_machine = app.spec.type is AppType.VIRTUAL_MACHINE
    disk = vm_of(app.spec).root_disk if is_machine else RootDisk()
    draft.volumes[volume_id] = storage_pb2.Volume(
        uuid=volume_id,
        origin=storage_pb2.VolumeContentOrigin(
            type=storage_pb2.VCOT_DOWNLOAD, downloadContentTreeID=content_tree_id(app)
        ),
        generationCount=app.spec.purge_counter,
        maxsizebytes=parse_bytes(disk.size) if disk.size is not None else 0,
        readonly=is_machine and image_format_of(app.spec) is ImageFormat.ISO,
        displayName=f"{app.metadata.name}-root",
    )
    reference = VolumeRef(uuid=volume_id, generationCount=app.spec.purge_counter)
    if disk.boot_order is not None:
        reference.eaves.boot_order = disk.boot_order
    return reference


def want_own_volumes(app: App, draft: Draft) -> None:
    """The blank volumes of the app's own."""
    for volume in app.spec.volumes:
        if not volume.volume_name:
            volume_id = app_volume_id(app.metadata.uid, volume.name)
            size_bytes = parse_bytes(volume.size if volume.size is not None else DEFAULT_VOLUME_SIZE)
            draft.volumes[volume_id] = want_blank(volume_id, f"{app.metadata.name}-{volume.name}", size_bytes)


def want_data(app: App, draft: Draft) -> None:
    """All volumes that hold data of an app which is held back itself, lest the device throws the data away.

    The root file system of a container is made anew from its image, the root disk of a machine is not.
    """
    want_own_volumes(app, draft)
    if app.spec.type is AppType.VIRTUAL_MACHINE:
        want_root_volume(app, draft)


def want_mount(app: App, mount: AppVolume, node_name: str, lookup: Lookup) -> VolumeRef:
    """Where one volume is mounted. Raises :class:`HeldBackError` when it is a Volume that this node does not have."""
    reference = VolumeRef(mount_dir=mount.mount_path.rstrip("/"))
    reference.eaves.read_only = mount.read_only
    reference.eaves.device = mount.device or ""
    reference.eaves.boot_order = mount.boot_order or 0
    if not mount.volume_name:
        reference.uuid = app_volume_id(app.metadata.uid, mount.name)
        return reference
    volume = lookup.volume(app.metadata.namespace, mount.volume_name)
    if volume.spec.node_name != node_name:
        raise HeldBackError(
            "VolumeElsewhere",
            f"Volume {mount.volume_name} is on node {volume.spec.node_name}, the app on {node_name};"
            " move the app or use another volume",
        )
    _check_use(app, mount.volume_name, volume)
    reference.uuid = volume.metadata.uid
    reference.eaves.read_only = mount.read_only or volume.spec.read_only
    return reference


def _check_use(app: App, name: str, volume: Volume) -> None:
    """Containers mount file systems, virtual machines have disks. Of a copy only its node knows what it is."""
    mode, is_machine = mode_of(volume.spec), app.spec.type is AppType.VIRTUAL_MACHINE
    if mode is VolumeMode.FILE:
        raise HeldBackError(
            "VolumeIsFile", f"Volume {name} is a file, which no app mounts; offer it to the app by a PatchEnvelope"
        )
    if mode is VolumeMode.FILESYSTEM and is_machine:
        raise HeldBackError(
            "VolumeIsNoDisk", f"Volume {name} is a filesystem, which a machine cannot have; use a Volume of mode Block"
        )
    if mode is VolumeMode.BLOCK and not is_machine:
        raise HeldBackError(
            "VolumeIsDisk", f"Volume {name} is a disk of virtual machines; use a Volume of mode Filesystem"
        )
