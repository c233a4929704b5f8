"""Manifests and indexes, and which files of a disk image they stand for."""

from __future__ import annotations

import hashlib
import json
import platform

import msgspec
import pytest

from eaves.node.desired.model import ImageFormat
from eaves.node.images.containers import CONTENT_LIMIT, Resolved
from eaves.node.images.errors import DigestMismatchError, ImageError, ImageUnsupportedError
from eaves.node.images.manifest import Descriptor, Manifest, parse_labels, parse_manifest, want_parts
from eaves.node.images.model import PartRole

DIGEST = "sha256:" + "a" * 64
TAR = "application/vnd.oci.image.layer.v1.tar"
ROOT, DISK, KERNEL, INITRD = PartRole.ROOT, PartRole.DISK, PartRole.KERNEL, PartRole.INITRD


def hex_digest(letter: str) -> str:
    return "sha256:" + letter * 64


def layer(letter: str, kind: str, size: int = 1, **notes: str) -> dict[str, object]:
    annotations = {name.replace("__", "/").replace("_", "."): text for name, text in notes.items()}
    return {"digest": hex_digest(letter), "size": size, "mediaType": kind, "annotations": annotations}


def manifest_of(*layers: dict[str, object], **more: object) -> Manifest:
    content = {"schemaVersion": 2, "config": {"digest": hex_digest("c"), "size": 2}, "layers": layers, **more}
    return parse_manifest(json.dumps(content).encode(), "", "image x")


def parts_of(manifest: Manifest, labels: dict[str, str] | None = None) -> list[tuple[object, ...]]:
    found = want_parts(manifest, labels or {}, "image x")
    return [(part.role, [one.digest[7] for one in part.layers], part.member, part.format) for part in found]


def test_manifest_is_checked_and_measured() -> None:
    parts = [layer("1", TAR, 100), layer("2", TAR), layer("2", TAR)]
    raw = json.dumps({"schemaVersion": 2, "config": {"digest": hex_digest("c"), "size": 10}, "layers": parts}).encode()
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    assert parse_manifest(raw, "", "x").size_bytes == 111
    assert parse_manifest(raw, digest, "x").digest == digest
    with pytest.raises(DigestMismatchError):
        parse_manifest(raw, DIGEST, "x")


def test_what_an_image_consists_of_begins_with_its_root_and_is_bounded() -> None:
    manifest = manifest_of(layer("1", TAR, 100), layer("2", TAR), layer("2", TAR))
    blobs = [(hex_digest("c"), 2), (hex_digest("1"), 100), (hex_digest("2"), 1)]
    alone = Resolved(manifest, manifest)
    assert [(blob.digest, blob.size_bytes) for blob in alone.content] == [(manifest.digest, len(manifest.raw)), *blobs]
    index = Manifest(b"index", hex_digest("e"), child=manifest.digest)
    (root, *rest) = Resolved(index, manifest).content
    assert (root.digest, root.size_bytes) == (index.digest, 5)
    assert tuple(rest) == alone.content
    many = msgspec.structs.replace(
        manifest, layers=tuple(Descriptor(f"sha256:{number:064x}", 1) for number in range(CONTENT_LIMIT))
    )
    assert len(Resolved(index, many).content) == CONTENT_LIMIT


def test_index_leads_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(architecture: str, digest: str, **more: str) -> dict[str, object]:
        return {"digest": digest, "platform": {"os": "linux", "architecture": architecture, **more}}

    index = {
        "manifests": [
            {"digest": hex_digest("e"), "platform": {"os": "unknown", "architecture": "unknown"}},
            entry("amd64", hex_digest("a")),
            entry("arm", hex_digest("6"), variant="v6"),
            entry("arm", hex_digest("7"), variant="v7"),
        ]
    }
    raw = json.dumps(index).encode()
    for machine, digest in (("x86_64", hex_digest("a")), ("armv7l", hex_digest("7"))):
        monkeypatch.setattr(platform, "machine", lambda machine=machine: machine)
        assert parse_manifest(raw, "", "x").child == digest
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(ImageUnsupportedError, match="linux/riscv64"):
        parse_manifest(raw, "", "x")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"layers": [{}], "config": {}}',
        b'{"manifests": [1]}',
        b"\xff",
        b'{"layers": [{"digest": "sha256:../../etc/passwd", "size": 1}]}',
    ],
)
def test_junk_manifest_is_an_error_of_ours(raw: bytes) -> None:
    with pytest.raises(ImageError):
        parse_manifest(raw, "", "x")


def test_artifact_without_a_platform_is_for_any_machine() -> None:
    raw = json.dumps({"schemaVersion": 2, "manifests": [{"digest": DIGEST}]}).encode()
    assert parse_manifest(raw, "", "x").child == DIGEST


def test_one_file_is_the_disk() -> None:
    manifest = manifest_of(layer("1", "application/octet-stream"))
    assert parts_of(manifest) == [(ROOT, ["1"], "", None)]


def test_container_disk_is_the_file_in_its_disk_folder() -> None:
    manifest = manifest_of(layer("1", f"{TAR}+gzip"), layer("2", f"{TAR}+gzip"))
    assert parts_of(manifest) == [(ROOT, ["1", "2"], "disk/", None)]


def test_edge_container_in_artifact_form() -> None:
    """As lf-edge/edge-containers pushes them: a media type for each kind of file."""
    manifest = manifest_of(
        layer("1", "application/vnd.lfedge.eci.kernel.layer.v1+kernel"),
        layer("2", "application/vnd.lfedge.eci.initrd.layer.v1+cpio"),
        layer("3", "application/vnd.lfedge.disk.layer.v1+qcow2", org_lfedge_eci_role="disk-root"),
        layer("4", "application/vnd.lfedge.disk.layer.v1+raw", org_lfedge_eci_role="disk-additional"),
        layer("5", "application/vnd.lfedge.eci.layer.v1"),
    )
    assert parts_of(manifest) == [
        (KERNEL, ["1"], "", None),
        (INITRD, ["2"], "", None),
        (ROOT, ["3"], "", ImageFormat.QCOW2),
        (DISK, ["4"], "", ImageFormat.RAW),
    ]


def test_edge_container_without_roles_has_its_root_disk_first() -> None:
    kind = "application/vnd.lfedge.disk.layer.v1+"
    manifest = manifest_of(layer("1", f"{kind}vmdk"), layer("2", f"{kind}strange"))
    assert parts_of(manifest) == [(ROOT, ["1"], "", ImageFormat.VMDK), (DISK, ["2"], "", None)]


def test_edge_container_in_legacy_form() -> None:
    """As the README of lf-edge/edge-containers shows one from Docker Hub: ordinary layers, annotations say what they are."""
    notes = {
        "org.lfedge.eci.mediaType": "application/vnd.lfedge.disk.layer.v1+raw",
        "org.lfedge.eci.role": "disk-root",
        "org.opencontainers.image.title": "disk-root-root.raw",
    }
    kernel = {"org.lfedge.eci.role": "kernel", "org.opencontainers.image.title": "kernel"}
    manifest = manifest_of(
        layer("1", TAR) | {"annotations": kernel}, layer("2", f"{TAR}+gzip") | {"annotations": notes}
    )
    assert parts_of(manifest) == [
        (KERNEL, ["1"], "kernel", None),
        (ROOT, ["2"], "disk-root-root.raw", ImageFormat.RAW),
    ]


def test_ordinary_image_with_labels_that_say_where_its_disks_are() -> None:
    """As its README shows for a Dockerfile."""
    start = "org.lfedge.eci.artifact."
    labels = {
        f"{start}root": "/root.img",
        f"{start}kernel": "/boot/../kernel",
        f"{start}disk-1": "/disk1.iso",
        "x": "y",
    }
    config = json.dumps({"config": {"Labels": labels}}).encode()
    manifest = manifest_of(layer("1", TAR), layer("2", TAR))
    assert parts_of(manifest, dict(parse_labels(config))) == [
        (DISK, ["1", "2"], "disk1.iso", None),
        (KERNEL, ["1", "2"], "boot/../kernel", None),
        (ROOT, ["1", "2"], "root.img", None),
    ]


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"config": null}', b'{"config": {"Labels": null}}', b"\xff", b"[]"])
def test_config_without_labels_has_none(raw: bytes) -> None:
    assert parse_labels(raw) == {}


@pytest.mark.parametrize(
    "layers",
    [
        (layer("1", "text/plain"), layer("2", "text/plain")),
        (layer("1", "text/plain"), layer("2", TAR)),
        (layer("1", "application/vnd.lfedge.eci.kernel.layer.v1+kernel"),),
        (layer("1", "x", org_lfedge_eci_role="disk-root"), layer("2", "x", org_lfedge_eci_role="disk-root")),
    ],
)
def test_what_is_no_disk_image_is_refused(layers: tuple[dict[str, object], ...]) -> None:
    with pytest.raises(ImageUnsupportedError):
        parts_of(manifest_of(*layers))
