"""Volumes: root file systems, volumes of an app's own, and Volume objects."""

from __future__ import annotations

from eaves.controller.compile.draft import Draft
from eaves.controller.compile.errors import HeldBackError
from eaves.controller.compile.identifiers import app_volume_id, content_tree_id, root_volume_id, source_tree_id
from eaves.controller.compile.images import ImageSource, want_content_tree
from eaves.controller.compile.lookup import Lookup
from eaves.controller.compile.model import NodeCipher
from eaves.kinds.app import App
from eaves.kinds.app_spec import DEFAULT_VOLUME_SIZE, AppVolume
from eaves.kinds.volume import Volume, VolumeEncryption, VolumeFormat
from eaves.kube.quantity import parse_bytes
from eaves.wire.pb.config import storage_pb2
from eaves.wire.pb.config.appconfig_pb2 import VolumeRef

_FORMATS = {
    VolumeFormat.CONTAINER: storage_pb2.CONTAINER,
    VolumeFormat.RAW: storage_pb2.RAW,
    VolumeFormat.QCOW2: storage_pb2.QCOW2,
}


def _blank(volume_id: str, name: str, size_bytes: int) -> storage_pb2.Volume:
    return storage_pb2.Volume(
        uuid=volume_id,
        origin=storage_pb2.VolumeContentOrigin(type=storage_pb2.VCOT_BLANK),
        maxsizebytes=size_bytes,
        displayName=name,
    )


def want_root_volume(app: App, draft: Draft) -> VolumeRef:
    """The root file system, made from the app's content tree. A purge is a new generation of it."""
    volume_id = root_volume_id(app)
    draft.volumes[volume_id] = storage_pb2.Volume(
        uuid=volume_id,
        origin=storage_pb2.VolumeContentOrigin(
            type=storage_pb2.VCOT_DOWNLOAD, downloadContentTreeID=content_tree_id(app)
        ),
        generationCount=app.spec.purge_counter,
        displayName=f"{app.metadata.name}-root",
    )
    return VolumeRef(uuid=volume_id, generationCount=app.spec.purge_counter)


def want_own_volumes(app: App, draft: Draft) -> None:
    """The blank volumes of the app's own; also for an app that is held back, lest the device throws its data away."""
    for volume in app.spec.volumes:
        if not volume.volume_name:
            volume_id = app_volume_id(app.metadata.uid, volume.name)
            size_bytes = parse_bytes(volume.size if volume.size is not None else DEFAULT_VOLUME_SIZE)
            draft.volumes[volume_id] = _blank(volume_id, f"{app.metadata.name}-{volume.name}", size_bytes)


def want_mount(app: App, mount: AppVolume, node_name: str, lookup: Lookup) -> VolumeRef:
    """Where one volume is mounted. Raises :class:`HeldBackError` when it is a Volume that this node does not have."""
    reference = VolumeRef(mount_dir=mount.mount_path.rstrip("/"))
    reference.eaves.read_only = mount.read_only
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
    reference.uuid = volume.metadata.uid
    reference.eaves.read_only = mount.read_only or volume.spec.read_only
    return reference


def want_volume(
    volume: Volume, draft: Draft, lookup: Lookup, cipher: NodeCipher | None, *, with_sources: bool = True
) -> None:
    """A Volume object. Raises :class:`HeldBackError` when its image cannot be had."""
    spec = volume.spec
    config = _blank(volume.metadata.uid, volume.metadata.name, parse_bytes(spec.size))
    config.readonly = spec.read_only
    config.clear_text = spec.encryption is VolumeEncryption.NONE
    if spec.source is not None:
        if not with_sources:
            return
        tree_id = source_tree_id(volume)
        source = ImageSource(
            volume.metadata.namespace,
            spec.source.image,
            spec.source.datastore_ref.name if spec.source.datastore_ref else "",
        )
        want_content_tree(
            tree_id, volume.metadata.name, source, draft, lookup, cipher, iformat=_FORMATS[spec.source.format]
        )
        config.origin.CopyFrom(
            storage_pb2.VolumeContentOrigin(type=storage_pb2.VCOT_DOWNLOAD, downloadContentTreeID=tree_id)
        )
    draft.volumes[config.uuid] = config
