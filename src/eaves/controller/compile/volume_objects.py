"""Volume objects with their images, copies and snapshots.

A Volume that exists is in the config whatever is wrong with what it is made from: a device deletes the data of a volume that its
config does not name any more.
"""

from __future__ import annotations

from msgspec import Struct

from eaves.controller.compile.draft import Draft
from eaves.controller.compile.errors import HeldBackError
from eaves.controller.compile.identifiers import derived_id, source_tree_id
from eaves.controller.compile.images import ImageSource, want_content_tree
from eaves.controller.compile.lookup import Lookup
from eaves.controller.compile.model import NodeCipher
from eaves.controller.compile.volumes import FORMATS, want_blank
from eaves.kinds.volume import Volume, VolumeAccess, VolumeEncryption, VolumeMode, VolumeSource, mode_of
from eaves.kube.quantity import parse_bytes
from eaves.wire.pb.config import storage_pb2
from eaves.wire.pb.eaves.extension_pb2 import VolumeSnapshotConfig

_LONGEST_CHAIN = 16
"""Copies of copies; a ring of them ends here."""


class VolumeFacts(Struct, frozen=True, kw_only=True):
    """Of the node. ``with_sources``: it may get images and the credentials for them."""

    cipher: NodeCipher | None
    with_sources: bool = True
    runs_eve: bool = False


def want_volume(volume: Volume, draft: Draft, lookup: Lookup, facts: VolumeFacts) -> list[HeldBackError]:
    """Adds the Volume to ``draft``; answers what of it cannot be had."""
    spec = volume.spec
    config = want_blank(volume.metadata.uid, volume.metadata.name, parse_bytes(spec.size))
    config.readonly = spec.read_only
    config.clear_text = spec.encryption is VolumeEncryption.NONE
    mode = _want_mode(volume, lookup)
    if mode is VolumeMode.FILE:
        # The size bounds what is fetched; the file is as long as it is.
        config.target, config.maxsizebytes, config.readonly = storage_pb2.AppCustom, 0, True
    else:
        config.eaves.mode = mode or ""
    config.eaves.format = spec.format or ""
    config.eaves.shared = spec.access is VolumeAccess.READ_WRITE_MANY
    draft.volumes[config.uuid] = config
    problems: list[HeldBackError] = []
    for step in (_want_source, _want_snapshots):
        try:
            step(volume, config, draft, lookup, facts)
        except HeldBackError as error:
            problems.append(error)
    return problems


def _want_mode(volume: Volume, lookup: Lookup) -> VolumeMode | None:
    """Of a copy the mode of what it is copied from, as far as that says it."""
    for _ in range(_LONGEST_CHAIN):
        mode, source = mode_of(volume.spec), volume.spec.source
        if mode is not None or source is None:
            return mode
        try:
            volume = _find_origin(volume, source, lookup)
        except HeldBackError:
            return None
    return None


def _find_origin(volume: Volume, source: VolumeSource, lookup: Lookup) -> Volume:
    """The Volume that is copied."""
    namespace, name = volume.metadata.namespace, source.volume_name
    if source.snapshot_name:
        name = lookup.volume_snapshot(namespace, source.snapshot_name).spec.volume_name
    return lookup.volume(namespace, name)


def _want_source(volume: Volume, config: storage_pb2.Volume, draft: Draft, lookup: Lookup, facts: VolumeFacts) -> None:
    source = volume.spec.source
    if source is None:
        return
    if source.image:
        _want_image(volume, source, config, draft, lookup, facts)
    else:
        _want_copy(volume, source, config, lookup, facts)


def _want_image(
    volume: Volume,
    source: VolumeSource,
    config: storage_pb2.Volume,
    draft: Draft,
    lookup: Lookup,
    facts: VolumeFacts,
) -> None:
    tree_id = source_tree_id(volume)
    config.origin.CopyFrom(
        storage_pb2.VolumeContentOrigin(type=storage_pb2.VCOT_DOWNLOAD, downloadContentTreeID=tree_id)
    )
    if not facts.with_sources:
        return
    datastore = source.datastore_ref.name if source.datastore_ref else ""
    image = ImageSource(volume.metadata.namespace, source.image, datastore)
    want_content_tree(tree_id, volume.metadata.name, image, draft, lookup, facts.cipher, iformat=FORMATS[source.format])
    if volume.spec.mode is VolumeMode.FILE:
        draft.trees[tree_id].maxSizeBytes = parse_bytes(volume.spec.size)


def _want_copy(
    volume: Volume, source: VolumeSource, config: storage_pb2.Volume, lookup: Lookup, facts: VolumeFacts
) -> None:
    # A source that is gone is of no matter once the copy has been made; until then the node waits for it.
    config.eaves.source_volume = derived_id("missing volume", volume.metadata.uid)
    if facts.runs_eve:
        raise HeldBackError(
            "CopyUnsupported", "the node runs EVE, which cannot copy volumes: it makes a blank one; use an image"
        )
    origin = _find_origin(volume, source, lookup)
    if origin.spec.node_name != volume.spec.node_name:
        raise HeldBackError(
            "VolumeElsewhere",
            f"Volume {origin.metadata.name} is on node {origin.spec.node_name}, its copy is to be on"
            f" {volume.spec.node_name}; a copy stays on the node",
        )
    config.eaves.source_volume = origin.metadata.uid
    if source.snapshot_name:
        snapshot = lookup.volume_snapshot(volume.metadata.namespace, source.snapshot_name)
        config.eaves.source_snapshot = snapshot.metadata.uid


def _want_snapshots(
    volume: Volume, config: storage_pb2.Volume, draft: Draft, lookup: Lookup, facts: VolumeFacts
) -> None:
    del draft
    snapshots = lookup.volume_snapshots(volume.metadata.namespace, volume.metadata.name)
    rollback = volume.spec.rollback
    if (snapshots or rollback) and facts.runs_eve:
        raise HeldBackError(
            "SnapshotsUnsupported", "the node runs EVE, which has no snapshots of single volumes; use an AppSnapshot"
        )
    config.eaves.snapshots.extend(
        VolumeSnapshotConfig(id=snapshot.metadata.uid, name=snapshot.metadata.name) for snapshot in snapshots
    )
    if rollback is None:
        return
    found = next((snapshot for snapshot in snapshots if snapshot.metadata.name == rollback.snapshot_name), None)
    if found is None:
        raise HeldBackError(
            "VolumeSnapshotNotFound",
            f"there is no VolumeSnapshot {rollback.snapshot_name} of Volume {volume.metadata.name};"
            " kubectl get volumesnapshots shows those that it has",
        )
    config.eaves.rollback_snapshot = found.metadata.uid
    config.eaves.rollback_counter = rollback.counter
