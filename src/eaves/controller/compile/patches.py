"""Patch envelopes: each one that names an app of the node."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from eaves.controller.compile.draft import Draft
from eaves.controller.compile.environment import value_of_key
from eaves.controller.compile.errors import HeldBackError
from eaves.controller.compile.lookup import Lookup
from eaves.controller.compile.model import NodeCipher
from eaves.kinds.patchenvelope import FILE_LIMIT_BYTES, PatchEnvelope, PatchFile
from eaves.kinds.volume import VolumeMode
from eaves.wire.pb.config import patch_envelope_pb2
from eaves.wire.pb.config.patch_envelope_pb2 import (
    EncryptedInlineOpaqueBase64Data,
    EveBinaryArtifact,
    EvePatchEnvelope,
    ExternalOpaqueBinaryBlob,
    InlineOpaqueBase64Data,
)

_FILLER = bytes.fromhex("82ea30")
"""Tag of field 100000, of bytes: one of our own, which nobody reads."""
_LEAST_CIPHER_BYTES = 16
"""EVE refuses an envelope with a shorter one: it names what it keeps by these bytes (pillar, cmd/zedagent/parsepatchenvelopes.go)."""


def want_patch(
    envelope: PatchEnvelope,
    app_ids: Mapping[str, str],
    node_name: str,
    draft: Draft,
    lookup: Lookup,
    cipher: NodeCipher | None,
) -> None:
    """Adds the envelope to the draft if it names one of ``app_ids`` (name → UUID, of its namespace). Raises :class:`HeldBackError`."""
    allowed = sorted(app_ids[name] for name in envelope.spec.apps if name in app_ids)
    if not allowed:
        return
    meta, spec = envelope.metadata, envelope.spec
    own = Draft()
    artifacts = [
        _want_volume(envelope, file, node_name, lookup)
        if file.volume_name
        else _want_inline(envelope, file, own, lookup, cipher)
        for file in sorted(spec.files, key=lambda file: file.name)
    ]
    draft.merge(own)
    draft.patches[meta.uid] = EvePatchEnvelope(
        displayName=meta.name,
        uuid=meta.uid,
        version=spec.version or str(meta.generation),
        action=patch_envelope_pb2.ACTIVATE if spec.active else patch_envelope_pb2.STORE,
        artifacts=artifacts,
        appInstIdsAllowed=allowed,
    )


def _want_volume(envelope: PatchEnvelope, file: PatchFile, node_name: str, lookup: Lookup) -> EveBinaryArtifact:
    """The Volume itself is in the config as each of the node's is."""
    name = file.volume_name
    volume = lookup.volume(envelope.metadata.namespace, name)
    if volume.spec.node_name != node_name:
        raise HeldBackError(
            "VolumeElsewhere",
            f"Volume {name} is on node {volume.spec.node_name}, an app that is to have file {file.name} on {node_name};"
            " make an envelope with a Volume for each node",
        )
    if volume.spec.mode is not VolumeMode.FILE:
        raise HeldBackError(
            "VolumeIsNoFile", f"Volume {name} is not of mode File, so it cannot be file {file.name}; make one that is"
        )
    blob = ExternalOpaqueBinaryBlob(imageName=name, fileNameToUse=file.name, imageId=volume.metadata.uid)
    if file.metadata:
        blob.blobMetaData = file.metadata
    return EveBinaryArtifact(format=patch_envelope_pb2.BINARYBLOB, volumeRef=blob)


def _want_inline(
    envelope: PatchEnvelope, file: PatchFile, draft: Draft, lookup: Lookup, cipher: NodeCipher | None
) -> EveBinaryArtifact:
    content = file.content.encode() if file.content is not None else None
    if content is None:
        found = value_of_key(
            envelope.metadata.namespace, file.secret_key_ref, file.config_map_key_ref, f"file {file.name}", lookup
        )
        content = found or b""
    if len(content) > FILE_LIMIT_BYTES:
        raise HeldBackError(
            "FileTooLarge", f"file {file.name} is {len(content)} bytes long, at most {FILE_LIMIT_BYTES} are possible"
        )
    inline = InlineOpaqueBase64Data(base64Data=base64.b64encode(content).decode(), fileNameToUse=file.name)
    if file.metadata:
        inline.base64MetaData = file.metadata
    if file.secret_key_ref is None:
        return EveBinaryArtifact(format=patch_envelope_pb2.BASE64, inline=inline)
    plain = _fill_up(inline.SerializeToString(deterministic=True))
    block = draft.encrypt_bytes(cipher, plain, f"file {file.name}")
    return EveBinaryArtifact(
        format=patch_envelope_pb2.BASE64, encrypted_inline=EncryptedInlineOpaqueBase64Data(cipher_data=block)
    )


def _fill_up(message: bytes) -> bytes:
    missing = _LEAST_CIPHER_BYTES - len(message)
    return message + _FILLER + bytes([missing]) + bytes(missing) if missing > 0 else message
