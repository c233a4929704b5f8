"""Names of images in registries."""

from __future__ import annotations

import msgspec
import pytest

from eaves.node.desired.model import DatastoreKind, DesiredDatastore, DesiredImage, ImageFormat
from eaves.node.images.errors import ImageUnsupportedError
from eaves.node.images.reference import check_image, want_source

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
