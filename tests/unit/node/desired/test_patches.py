"""Patch envelopes of a config: good ones, and each way in which a file can be impossible."""

from __future__ import annotations

import base64

import pytest

from eaves.node.desired.parse import parse_config
from eaves.node.desired.patch_model import DesiredPatch
from eaves.testing.device_configs import APP_ID, want_config
from eaves.wire.pb.config.patch_envelope_pb2 import (
    ACTIVATE,
    EncryptedInlineOpaqueBase64Data,
    EveBinaryArtifact,
    EvePatchEnvelope,
    ExternalOpaqueBinaryBlob,
    InlineOpaqueBase64Data,
)
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock

PATCH_ID = "90000000-0000-4000-8000-000000000001"
VOLUME_ID = "90000000-0000-4000-8000-000000000002"


def inline(name: str = "app.yaml", content: str = base64.b64encode(b"a: 1").decode()) -> EveBinaryArtifact:
    return EveBinaryArtifact(inline=InlineOpaqueBase64Data(base64Data=content, fileNameToUse=name, base64MetaData="m"))


def parse(*artifacts: EveBinaryArtifact) -> DesiredPatch:
    config = want_config()
    config.patchEnvelopes.append(
        EvePatchEnvelope(
            displayName="settings",
            uuid=PATCH_ID,
            version="3",
            action=ACTIVATE,
            artifacts=artifacts,
            appInstIdsAllowed=[APP_ID.upper()],
        )
    )
    plain = InlineOpaqueBase64Data(base64Data=base64.b64encode(b"secret").decode(), fileNameToUse="key")
    (patch,) = parse_config(config, "hash", lambda _: plain.SerializeToString()).patches
    return patch


def test_inline_encrypted_and_volume_artifacts_become_files() -> None:
    volume = EveBinaryArtifact(
        volumeRef=ExternalOpaqueBinaryBlob(imageName="model", fileNameToUse="model.bin", imageId=VOLUME_ID.upper())
    )
    hidden = EveBinaryArtifact(encrypted_inline=EncryptedInlineOpaqueBase64Data(cipher_data=CipherBlock()))
    patch = parse(inline(), volume, hidden)
    assert (patch.name, patch.version, patch.is_active, patch.app_ids) == ("settings", "3", True, (APP_ID,))
    assert [(file.name, file.content.reveal(), file.volume_id) for file in patch.files] == [
        ("app.yaml", b"a: 1", ""),
        ("model.bin", b"", VOLUME_ID),
        ("key", b"secret", ""),
    ]
    assert patch.errors == ()
    assert "secret" not in repr(patch)


@pytest.mark.parametrize(
    "artifact",
    [
        EveBinaryArtifact(),
        inline("../etc/passwd"),
        inline(content="no base64!"),
        inline(content=base64.b64encode(bytes((10 << 10) + 1)).decode()),
        inline("other"),
    ],
)
def test_an_impossible_file_is_told_beside_the_good_one(artifact: EveBinaryArtifact) -> None:
    patch = parse(inline("other"), artifact)
    assert [file.name for file in patch.files] == ["other"]
    assert len(patch.errors) == 1
