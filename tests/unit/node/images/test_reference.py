"""Names, manifests and the words of a failed download."""

from __future__ import annotations

import base64
import hashlib
import json
import platform

import msgspec
import pytest

from eaves.kit.process import ProcessError
from eaves.node.desired.model import DatastoreKind, DesiredDatastore, DesiredImage, ImageFormat, Secret
from eaves.node.images import reference
from eaves.node.images.errors import DigestMismatchError, ImageError, ImageUnsupportedError, as_registry_error
from eaves.node.images.reference import check_image, parse_manifest, want_source

DIGEST = "sha256:" + "a" * 64
STORE = DesiredDatastore("store", DatastoreKind.REGISTRY, "registry.example:5000", "team")
IMAGE = DesiredImage("i1", "web", "shop/web:1.4", ImageFormat.CONTAINER, "", 0, 0, (STORE,))


def change(**changes: object) -> DesiredImage:
    return msgspec.structs.replace(IMAGE, **changes)


@pytest.mark.parametrize(
    ("image", "path", "pinned", "name"),
    [
        (IMAGE, "team", "", "registry.example:5000/team/shop/web:1.4"),
        (IMAGE, "/team/x/", "", "registry.example:5000/team/x/shop/web:1.4"),
        (IMAGE, "", DIGEST, f"registry.example:5000/shop/web@{DIGEST}"),
        (change(reference="web"), "", "", "registry.example:5000/web:latest"),
        (change(reference=f"web:1@{DIGEST}"), "", "", f"registry.example:5000/web@{DIGEST}"),
        (change(digest=DIGEST), "", "sha256:" + "b" * 64, f"registry.example:5000/shop/web@{DIGEST}"),
    ],
)
def test_name_in_the_registry(image: DesiredImage, path: str, pinned: str, name: str) -> None:
    source = want_source(image, msgspec.structs.replace(STORE, path=path), pinned)
    assert source.name == name
    assert source.host == "registry.example:5000"


@pytest.mark.parametrize("bad", ["", "UPPER/x", "a b", "web:b/ad tag", "-x", "web@sha256:12", "a//../b", "web:1;rm"])
def test_name_that_no_image_can_have(bad: str) -> None:
    with pytest.raises(ImageUnsupportedError):
        want_source(change(reference=bad), STORE, "")


def test_other_datastores_and_formats_are_refused() -> None:
    with pytest.raises(ImageUnsupportedError, match="kind s3"):
        want_source(IMAGE, msgspec.structs.replace(STORE, kind=DatastoreKind.S3), "")
    with pytest.raises(ImageUnsupportedError, match="format is not known"):
        check_image(change(format=ImageFormat.OTHER))
    with pytest.raises(ImageUnsupportedError, match="no datastore"):
        check_image(change(datastores=()))
    with pytest.raises(ImageUnsupportedError, match="not a sha256"):
        check_image(change(digest="md5:1"))
    check_image(IMAGE)


def test_manifest_is_checked_and_measured() -> None:
    raw = json.dumps({"schemaVersion": 2, "config": {"size": 10}, "layers": [{"size": 100}, {"size": 1}]}).encode()
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    assert parse_manifest(raw, "", "x").size_bytes == 111
    assert parse_manifest(raw, digest, "x").digest == digest
    with pytest.raises(DigestMismatchError):
        parse_manifest(raw, DIGEST, "x")


def test_index_leads_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(architecture: str, digest: str, **more: str) -> dict[str, object]:
        return {"digest": digest, "platform": {"os": "linux", "architecture": architecture, **more}}

    index = {
        "manifests": [
            {"digest": "sha256:attestation", "platform": {"os": "unknown", "architecture": "unknown"}},
            entry("amd64", "sha256:amd"),
            entry("arm", "sha256:v6", variant="v6"),
            entry("arm", "sha256:v7", variant="v7"),
        ]
    }
    raw = json.dumps(index).encode()
    for machine, digest in (("x86_64", "sha256:amd"), ("armv7l", "sha256:v7")):
        monkeypatch.setattr(platform, "machine", lambda machine=machine: machine)
        assert parse_manifest(raw, "", "x").child == digest
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(ImageUnsupportedError, match="linux/riscv64"):
        parse_manifest(raw, "", "x")


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"layers": [{}], "config": {}}', b'{"manifests": [1]}', b"\xff"])
def test_junk_manifest_is_an_error_of_ours(raw: bytes) -> None:
    with pytest.raises(ImageError):
        parse_manifest(raw, "", "x")


def test_credentials_go_to_the_registrys_host_only() -> None:
    store = msgspec.structs.replace(STORE, username="me", password=Secret("pass:word"))
    auth = json.loads(reference.render_auth("registry.example:5000", store))
    assert base64.b64decode(auth["auths"]["registry.example:5000"]["auth"]) == b"me:pass:word"


@pytest.mark.parametrize(
    ("stderr", "code"),
    [
        ("pinging container registry x: Get: dial tcp 127.0.0.1:9: connect: connection refused", "RegistryUnreachable"),
        ("reading manifest 1 in x: unauthorized: authentication required", "AuthenticationFailed"),
        ("reading manifest 9 in x: manifest unknown", "ImageNotFound"),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "CertificateUntrusted"),
        ("writing blob: write /x: no space left on device", "StorageFull"),
        ("Digest did not match, expected sha256:a, got sha256:b", "DigestMismatch"),
        ("copying: unexpected EOF", "DownloadCut"),
        ("something new", "DownloadFailed"),
    ],
)
def test_failure_is_told_by_its_words(stderr: str, code: str) -> None:
    raw = f'time="2026" level=fatal msg="{stderr}"\n'.encode()
    error = as_registry_error(ProcessError(["skopeo"], 1, b"", raw, "failed"), "web")
    assert error.code == code
    assert error.message == stderr
