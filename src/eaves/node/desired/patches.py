"""Patch envelopes of a config: files that apps fetch from the metadata server while they run."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

from google.protobuf.message import DecodeError

from eaves.node.desired.draft import Draft, clean_name
from eaves.node.desired.errors import ObjectError
from eaves.node.desired.model import ObjectKind
from eaves.node.desired.patch_model import DesiredPatch, PatchFile
from eaves.node.desired.secret import SecretBytes
from eaves.wire.pb.config import patch_envelope_pb2
from eaves.wire.pb.config.patch_envelope_pb2 import (
    EveBinaryArtifact,
    EvePatchEnvelope,
    ExternalOpaqueBinaryBlob,
    InlineOpaqueBase64Data,
)

INLINE_LIMIT_BYTES = 10 << 10
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,254}")


def parse_patches(configs: Iterable[EvePatchEnvelope], draft: Draft) -> tuple[DesiredPatch, ...]:
    """Envelopes in order; one with a file that cannot be read is told and never shown."""
    found = []
    for config in configs:
        patch_id = draft.take_id(ObjectKind.PATCH, config.uuid, config.displayName)
        if patch_id is None:
            continue
        name = clean_name(config.displayName) or patch_id
        files: dict[str, PatchFile] = {}
        errors = []
        for number, artifact in enumerate(config.artifacts):
            try:
                file = _parse_artifact(artifact, draft)
            except ObjectError as error:
                errors.append(f"artifact {number}: {error.message}")
                continue
            if file.name in files:
                errors.append(f"artifact {number}: another one is called {file.name} too")
            files.setdefault(file.name, file)
        for text in errors:
            draft.add(ObjectKind.PATCH, patch_id, name, "BadPatchEnvelope", text)
        found.append(
            DesiredPatch(
                patch_id,
                name,
                clean_name(config.version),
                config.action == patch_envelope_pb2.ACTIVATE,
                tuple(sorted({app_id.lower() for app_id in config.appInstIdsAllowed})),
                tuple(files.values()),
                tuple(errors),
            )
        )
    return tuple(found)


def _parse_artifact(artifact: EveBinaryArtifact, draft: Draft) -> PatchFile:
    artifact_metadata = artifact.artifactMetaData
    if artifact.HasField("metadata_cipher_data"):
        artifact_metadata = draft.decrypt_bytes(artifact.metadata_cipher_data).decode(errors="replace")
    kind = artifact.WhichOneof("binaryBlob")
    try:
        match kind:
            case "inline":
                return _parse_inline(artifact.inline, artifact_metadata)
            case "encrypted_inline":
                plain = draft.decrypt_bytes(artifact.encrypted_inline.cipher_data)
                return _parse_inline(InlineOpaqueBase64Data.FromString(plain), artifact_metadata)
            case "volumeRef":
                return _parse_volume(artifact.volumeRef, artifact_metadata)
            case "encrypted_volumeref":
                plain = draft.decrypt_bytes(artifact.encrypted_volumeref.cipher_data)
                return _parse_volume(ExternalOpaqueBinaryBlob.FromString(plain), artifact_metadata)
    except DecodeError as error:
        raise ObjectError("an encrypted artifact decrypts to nonsense") from error
    raise ObjectError("it has no content")


def _parse_inline(inline: InlineOpaqueBase64Data, artifact_metadata: str) -> PatchFile:
    try:
        content = base64.b64decode(inline.base64Data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ObjectError("its content is not base64") from error
    if len(content) > INLINE_LIMIT_BYTES:
        raise ObjectError(f"its content is {len(content)} bytes long, inline is at most {INLINE_LIMIT_BYTES}")
    name = _check_name(inline.fileNameToUse)
    return PatchFile(name, SecretBytes(content), "", inline.base64MetaData, artifact_metadata)


def _parse_volume(blob: ExternalOpaqueBinaryBlob, artifact_metadata: str) -> PatchFile:
    name = _check_name(blob.fileNameToUse or blob.imageName)
    return PatchFile(name, SecretBytes(b""), blob.imageId.lower(), blob.blobMetaData, artifact_metadata)


def _check_name(name: str) -> str:
    """File names become parts of addresses and of archives."""
    if not _FILE.fullmatch(name):
        raise ObjectError(f"{name[:64]!r} cannot be the name of a file")
    return name
