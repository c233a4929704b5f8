"""Patch envelopes of a node: those that name one of its apps, secrets encrypted."""

from __future__ import annotations

import base64
from typing import Any

from eaves.controller.compile.model import CompiledConfig, NodeInputs
from eaves.controller.compile.node import compile_node
from eaves.testing.device_cipher import DeviceCipher
from eaves.testing.objects import (
    make_app,
    make_configmap,
    make_datastore,
    make_edgenode,
    make_network,
    make_patch,
    make_secret,
    make_volume,
    uid_of,
)
from eaves.wire.pb.config import patch_envelope_pb2, storage_pb2
from eaves.wire.pb.config.patch_envelope_pb2 import InlineOpaqueBase64Data


def compile_patches(*patches: dict[str, Any], **given: Any) -> CompiledConfig:
    fields: dict[str, Any] = {"networks": [make_network()], "apps": [make_app()], **given}
    return compile_node(NodeInputs(edgenode=make_edgenode(), patches=patches, **fields))


def test_an_envelope_goes_to_the_nodes_of_its_apps_and_names_those_alone() -> None:
    gone = make_patch("gone")
    gone["metadata"]["deletionTimestamp"] = "2026-11-25T00:00:00Z"
    compiled = compile_patches(
        make_patch(apps=["web", "elsewhere"], active=True, version="7"),
        make_patch("other", apps=["elsewhere"]),
        make_patch("far", namespace="shop"),
        gone,
    )
    assert compiled.problems == ()
    (envelope,) = compiled.config.patchEnvelopes
    assert (envelope.displayName, envelope.version, envelope.uuid) == (
        "settings",
        "7",
        uid_of("PatchEnvelope", "settings"),
    )
    assert envelope.action == patch_envelope_pb2.ACTIVATE
    assert list(envelope.appInstIdsAllowed) == [uid_of("App", "web")]
    assert base64.b64decode(envelope.artifacts[0].inline.base64Data) == b"a: 1"
    assert compile_patches(make_patch()).config.patchEnvelopes[0].action == patch_envelope_pb2.STORE


def test_an_envelope_waits_for_the_approval_of_its_node_and_says_so() -> None:
    inputs = NodeInputs(
        edgenode=make_edgenode(approved=False),
        networks=[make_network()],
        apps=[make_app()],
        patches=[make_patch(), make_patch("other", apps=["elsewhere"])],
    )
    compiled = compile_node(inputs)
    assert not compiled.config.patchEnvelopes
    (problem,) = compiled.problems
    assert (problem.kind, problem.name, problem.reason) == ("PatchEnvelope", "settings", "NodeNotApproved")


def test_secrets_travel_encrypted_and_config_maps_in_the_clear() -> None:
    cipher = DeviceCipher()
    files = [
        {"name": "key", "secretKeyRef": {"name": "s", "key": "k"}},
        {"name": "conf", "configMapKeyRef": {"name": "c", "key": "k"}, "metadata": "m"},
    ]
    given: dict[str, Any] = {"secrets": [make_secret("s", k="secret")], "configmaps": [make_configmap("c", k="plain")]}
    compiled = compile_patches(make_patch(files=files), cipher=cipher.node_cipher, **given)
    assert compiled.problems == ()
    conf, key = compiled.config.patchEnvelopes[0].artifacts
    assert (conf.inline.fileNameToUse, conf.inline.base64MetaData) == ("conf", "m")
    plain = InlineOpaqueBase64Data.FromString(cipher.plaintext(key.encrypted_inline.cipher_data))
    assert base64.b64decode(plain.base64Data) == b"secret"
    assert len(compiled.config.cipherContexts) == 1
    assert b"secret" not in compiled.config.SerializeToString()


def test_a_secret_of_one_letter_is_as_long_as_an_eve_device_needs_it() -> None:
    cipher = DeviceCipher()
    envelope = make_patch(files=[{"name": "k", "secretKeyRef": {"name": "s", "key": "k"}}])
    compiled = compile_patches(envelope, cipher=cipher.node_cipher, secrets=[make_secret("s", k="x")])
    block = compiled.config.patchEnvelopes[0].artifacts[0].encrypted_inline.cipher_data
    assert len(block.cipherData) >= 16
    plain = InlineOpaqueBase64Data.FromString(cipher.plaintext(block))
    assert (plain.fileNameToUse, base64.b64decode(plain.base64Data, validate=True)) == ("k", b"x")


def test_what_is_missing_or_too_large_is_a_problem_of_the_envelope_alone() -> None:
    missing = make_patch("missing", files=[{"name": "key", "secretKeyRef": {"name": "none", "key": "k"}}])
    large = make_patch("large", files=[{"name": "f", "configMapKeyRef": {"name": "c", "key": "k"}}])
    compiled = compile_patches(missing, large, make_patch(), configmaps=[make_configmap("c", k="x" * 20_000)])
    assert {(problem.kind, problem.name, problem.reason) for problem in compiled.problems} == {
        ("PatchEnvelope", "missing", "SecretNotFound"),
        ("PatchEnvelope", "large", "FileTooLarge"),
    }
    assert [envelope.displayName for envelope in compiled.config.patchEnvelopes] == ["settings"]
    assert len(compiled.config.apps) == 1


def make_file(name: str = "model", **spec: Any) -> dict[str, Any]:
    source = {"image": f"{name}.bin@sha256:{'a' * 64}", "format": "Raw", "datastoreRef": {"name": "files"}}
    return make_volume(name, mode="File", size="64Mi", source=source, **spec)


FILES = {"datastores": [make_datastore("files", type="HTTP", url="http://files.example")]}


def test_a_file_of_a_volume_is_named_and_travels_as_a_volume_of_its_own() -> None:
    files = [{"name": "line.onnx", "volumeName": "model", "metadata": "m"}]
    compiled = compile_patches(make_patch(files=files), volumes=[make_file()], **FILES)
    assert compiled.problems == ()
    (artifact,) = compiled.config.patchEnvelopes[0].artifacts
    assert artifact.format == patch_envelope_pb2.BINARYBLOB
    blob = artifact.volumeRef
    assert (blob.imageId, blob.imageName) == (uid_of("Volume", "model"), "model")
    assert (blob.fileNameToUse, blob.blobMetaData) == ("line.onnx", "m")
    volume = next(volume for volume in compiled.config.volumes if volume.displayName == "model")
    assert (volume.target, volume.maxsizebytes, volume.readonly) == (storage_pb2.AppCustom, 0, True)
    (tree,) = [tree for tree in compiled.config.contentInfo if tree.uuid == volume.origin.downloadContentTreeID]
    assert (tree.iformat, tree.maxSizeBytes) == (storage_pb2.RAW, 64 << 20)


def test_a_volume_that_cannot_be_the_file_holds_back_the_envelope_alone() -> None:
    def patch(name: str) -> dict[str, Any]:
        return make_patch(name, files=[{"name": "f", "volumeName": name}])

    patches = [patch("missing"), patch("folder"), patch("far"), make_patch()]
    volumes = [make_volume("folder"), make_file("far", nodeName="store-18")]
    compiled = compile_patches(*patches, volumes=volumes, **FILES)
    assert {(problem.name, problem.reason) for problem in compiled.problems} == {
        ("missing", "VolumeNotFound"),
        ("folder", "VolumeIsNoFile"),
        ("far", "VolumeElsewhere"),
    }
    assert [envelope.displayName for envelope in compiled.config.patchEnvelopes] == ["settings"]


def test_no_app_mounts_a_file() -> None:
    app = make_app(volumes=[{"name": "m", "volumeName": "model", "mountPath": "/m"}])
    compiled = compile_patches(apps=[app], volumes=[make_file()], **FILES)
    assert [problem.reason for problem in compiled.problems] == ["VolumeIsFile"]
