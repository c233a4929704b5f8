"""Datastores, content trees and volumes of a config.

A volume is kept whenever its identity can be read, even if its image cannot be had: leaving it out would mean that its data is no
longer wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from msgspec.structs import replace

from eaves.node.desired.draft import Draft, clean_name
from eaves.node.desired.errors import ObjectError
from eaves.node.desired.local_registries import is_local_registry
from eaves.node.desired.model import (
    DatastoreKind,
    DesiredDatastore,
    DesiredImage,
    DesiredVolume,
    DiskFormat,
    ImageFormat,
    ObjectKind,
    S3Addressing,
    Secret,
    VolumeMode,
    VolumeRollback,
    VolumeSnapshotWish,
)
from eaves.wire.pb.config import storage_pb2
from eaves.wire.pb.config.storage_pb2 import ContentTree, DatastoreConfig, Volume

_KINDS = {
    storage_pb2.DsContainerRegistry: DatastoreKind.REGISTRY,
    storage_pb2.DsHttp: DatastoreKind.HTTP,
    storage_pb2.DsHttps: DatastoreKind.HTTPS,
    storage_pb2.DsS3: DatastoreKind.S3,
}
_FORMATS = {
    storage_pb2.CONTAINER: ImageFormat.CONTAINER,
    storage_pb2.RAW: ImageFormat.RAW,
    storage_pb2.QCOW: ImageFormat.QCOW,
    storage_pb2.QCOW2: ImageFormat.QCOW2,
    storage_pb2.VHD: ImageFormat.VHD,
    storage_pb2.VHDX: ImageFormat.VHDX,
    storage_pb2.VMDK: ImageFormat.VMDK,
    storage_pb2.OVA: ImageFormat.OVA,
    storage_pb2.ISO: ImageFormat.ISO,
}
_ADDRESSING = {value.value: value for value in S3Addressing}
_S3_REGION = "us-west-2"
"""Of a datastore that names none, as EVE has it."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SNAPSHOT = re.compile(r"[A-Za-z0-9-]{1,64}")
"""Ids of snapshots become names of files."""
_SERVER = re.compile(r"[A-Za-z0-9.\-_\[\]:]{1,255}")
_REFERENCE = re.compile(r"[A-Za-z0-9._/:@+~%=?&-]{1,1024}")


def parse_datastores(configs: Iterable[DatastoreConfig], draft: Draft) -> dict[str, DesiredDatastore]:
    """Usable datastores by id."""
    found: dict[str, DesiredDatastore] = {}
    mirrors: dict[str, list[str]] = {}
    for config in configs:
        store_id = draft.take_id(ObjectKind.DATASTORE, config.id, config.fqdn)
        if store_id is None:
            continue
        mirrors[store_id] = [mirror_id.lower() for mirror_id in config.eaves.mirror_ids]
        try:
            found[store_id] = _parse_datastore(config, store_id, draft)
        except ObjectError as error:
            draft.add_error(ObjectKind.DATASTORE, store_id, clean_name(config.fqdn), error)
    # A mirror that cannot be used is told above; its datastore goes without it.
    return {
        store_id: replace(store, mirrors=tuple(found[one] for one in mirrors[store_id] if one in found))
        for store_id, store in found.items()
    }


def _parse_datastore(config: DatastoreConfig, store_id: str, draft: Draft) -> DesiredDatastore:
    kind = _KINDS.get(config.dType, DatastoreKind.OTHER)
    region = clean_name(config.region) or (_S3_REGION if kind is DatastoreKind.S3 else "")
    scheme, server, path = _split_server(config, kind)
    username, password = _parse_credentials(config, draft)
    return DesiredDatastore(
        store_id,
        kind,
        server,
        path="/".join(part for part in (path, config.dpath.strip("/")) if part),
        region=region,
        username=username,
        password=Secret(password),
        ca_pems=tuple(pem.decode("ascii", "replace") for pem in config.dsCertPEM),
        plain_http=scheme == "http",
        may_lack_tls=scheme == "docker" and is_local_registry(server) and not config.eaves.tls_only,
        addressing=_ADDRESSING.get(config.eaves.s3_addressing),
    )


def _split_server(config: DatastoreConfig, kind: DatastoreKind) -> tuple[str, str, str]:
    """Scheme, server as the model wants it, and path."""
    text = config.fqdn.strip()
    if kind is DatastoreKind.S3 and not text:
        # EVE's own way to say Amazon.
        text = f"s3.{clean_name(config.region) or _S3_REGION}.amazonaws.com"
    default = "docker" if kind is DatastoreKind.REGISTRY else "http" if kind is DatastoreKind.HTTP else "https"
    try:
        parts = urlsplit(text if "://" in text else f"{default}://{text}")
        parts.port  # noqa: B018 - raises for a port that is none
    except ValueError as error:
        raise ObjectError(
            "its server cannot be read", code="BadServer", resolution="write host or host:port"
        ) from error
    if not _SERVER.fullmatch(parts.netloc):
        raise ObjectError("its server cannot be read", code="BadServer", resolution="write host or host:port")
    path = parts.path.strip("/")
    if kind is DatastoreKind.REGISTRY:
        return parts.scheme, parts.netloc, path
    return parts.scheme, f"{parts.scheme}://{parts.netloc}", path


def _parse_credentials(config: DatastoreConfig, draft: Draft) -> tuple[str, str]:
    """Encrypted ones come first; clear text ones of old controllers are the fall-back."""
    if not config.HasField("cipherData"):
        return config.apiKey, config.password
    try:
        block = draft.decrypt(config.cipherData)
    except ObjectError:
        if config.apiKey or config.password:
            return config.apiKey, config.password
        raise
    return block.dsAPIKey, block.dsPassword


def parse_images(
    trees: Iterable[ContentTree], datastores: Mapping[str, DesiredDatastore], draft: Draft
) -> dict[str, DesiredImage]:
    """Usable content trees by id."""
    found: dict[str, DesiredImage] = {}
    for tree in trees:
        tree_id = draft.take_id(ObjectKind.IMAGE, tree.uuid, tree.displayName)
        if tree_id is None:
            continue
        name = clean_name(tree.displayName) or clean_name(tree.URL) or tree_id
        try:
            found[tree_id] = _parse_image(tree, tree_id, name, datastores)
        except ObjectError as error:
            draft.add_error(ObjectKind.IMAGE, tree_id, name, error)
    return found


def _parse_image(
    tree: ContentTree, tree_id: str, name: str, datastores: Mapping[str, DesiredDatastore]
) -> DesiredImage:
    ids = list(dict.fromkeys(text.lower() for text in (*tree.ds_ids_list, tree.dsId) if text))
    # Mirrors stand in the list for devices that know no mirrors.
    mirrors = {mirror.id for store_id in ids if store_id in datastores for mirror in datastores[store_id].mirrors}
    usable = tuple(datastores[store_id] for store_id in ids if store_id in datastores and store_id not in mirrors)
    if not usable:
        raise ObjectError(
            "none of its datastores can be used",
            code="DatastoreMissing",
            resolution="check the datastore of this image and its credentials",
        )
    reference = tree.URL.strip().lstrip("/")
    if not _REFERENCE.fullmatch(reference) or ".." in reference.split("/"):
        raise ObjectError("its name in the datastore cannot be read", code="BadImageReference")
    digest = tree.sha256.strip().lower().removeprefix("sha256:")
    if digest and not _SHA256.fullmatch(digest):
        raise ObjectError("its digest is no SHA-256", code="BadDigest")
    return DesiredImage(
        tree_id,
        name,
        reference,
        _FORMATS.get(tree.iformat, ImageFormat.OTHER),
        f"sha256:{digest}" if digest else "",
        tree.maxSizeBytes,
        tree.generation_count,
        usable,
    )


def parse_volumes(
    configs: Iterable[Volume], images: Mapping[str, DesiredImage], draft: Draft
) -> dict[str, DesiredVolume]:
    """Volumes by id."""
    found: dict[str, DesiredVolume] = {}
    for config in configs:
        volume_id = draft.take_id(ObjectKind.VOLUME, config.uuid, config.displayName)
        if volume_id is None:
            continue
        name = clean_name(config.displayName) or volume_id
        image_id = _parse_origin(config, volume_id, name, images, draft)
        found[volume_id] = _parse_volume(config, volume_id, name, image_id)
        if config.maxsizebytes < 0:
            draft.add(ObjectKind.VOLUME, volume_id, name, "BadSize", "its size is negative; it is made without a limit")
    return found


def _parse_volume(config: Volume, volume_id: str, name: str, image_id: str) -> DesiredVolume:
    """Words of the extension that this version does not know count as not said."""
    extension = config.eaves
    rollback = VolumeRollback(extension.rollback_snapshot.lower(), extension.rollback_counter)
    # What the metadata server hands out is the image byte for byte.
    is_raw = extension.format == DiskFormat.RAW or config.target == storage_pb2.AppCustom
    return DesiredVolume(
        volume_id,
        config.generationCount,
        name,
        image_id,
        max(0, config.maxsizebytes),
        config.readonly,
        mode=VolumeMode.BLOCK if extension.mode == VolumeMode.BLOCK else VolumeMode.FILESYSTEM,
        is_explicit=extension.mode in (VolumeMode.BLOCK, VolumeMode.FILESYSTEM),
        format=DiskFormat.RAW if is_raw else DiskFormat.QCOW2,
        clear_text=config.clear_text,
        is_shared=extension.shared,
        copy_of=extension.source_volume.lower(),
        copy_of_snapshot=extension.source_snapshot.lower(),
        snapshots=tuple(
            VolumeSnapshotWish(snapshot.id.lower(), clean_name(snapshot.name) or snapshot.id)
            for snapshot in extension.snapshots
            if _SNAPSHOT.fullmatch(snapshot.id)
        ),
        rollback=rollback if rollback.counter else None,
    )


def _parse_origin(config: Volume, volume_id: str, name: str, images: Mapping[str, DesiredImage], draft: Draft) -> str:
    """Id of the content tree, empty for a blank volume."""
    if config.origin.type != storage_pb2.VCOT_DOWNLOAD:
        return ""
    image_id = config.origin.downloadContentTreeID.lower()
    if image_id not in images:
        draft.add(
            ObjectKind.VOLUME, volume_id, name, "ImageMissing", "the image that it is made from cannot be had",
            "see the problems of images",
        )  # fmt: skip
    return image_id
