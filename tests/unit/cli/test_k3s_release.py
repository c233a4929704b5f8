"""A K3sRelease from the checksum files of a release of K3s."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eaves.cli.k3s_release import ImportOptions, load_sums, read_source, render_release, save_release
from eaves.cli.kubectl import KubectlError
from eaves.kinds.k3srelease import check_release
from eaves.kit.errors import EavesError

VERSION = "v1.34.2+k3s1"
SUMS = {
    "amd64": {
        "k3s": "a",
        "k3s-airgap-images-amd64.tar.gz": "b",
        "k3s-airgap-images-amd64.tar.zst": "c",
        "k3s-images.txt": "0",
    },
    "arm64": {"k3s-arm64": "d", "k3s-airgap-images-arm64.tar.zst": "e"},
    "arm": {"k3s-armhf": "f", "k3s-airgap-images-arm.tar": "1"},
}


def text_of(arch: str) -> str:
    return "".join(f"{digit * 64}  {name}\n" for name, digit in SUMS[arch].items())


def upstream(source: str) -> str:
    arch = source.rpartition("sha256sum-")[2].removesuffix(".txt")
    assert source == f"https://github.com/k3s-io/k3s/releases/download/v1.34.2%2Bk3s1/sha256sum-{arch}.txt"
    return text_of(arch)


def test_all_architectures_come_from_the_release_page() -> None:
    options = ImportOptions(VERSION, "k3s")
    document = render_release(options, load_sums(options, upstream))
    assert document["metadata"]["name"] == "v1.34.2-k3s1"
    assert list(check_release({**document, "metadata": {}}, None)) == []
    found = {build["architecture"]: build for build in document["spec"]["architectures"]}
    assert {arch: build["binary"]["path"] for arch, build in found.items()} == {
        "amd64": "v1.34.2+k3s1/k3s",
        "arm64": "v1.34.2+k3s1/k3s-arm64",
        "arm": "v1.34.2+k3s1/k3s-armhf",
    }
    assert found["amd64"]["binary"]["sha256"] == "a" * 64
    assert [image["sha256"] for image in found["amd64"]["images"]] == ["c" * 64], "the smallest form"
    assert [image["path"] for image in found["arm"]["images"]] == ["v1.34.2+k3s1/k3s-airgap-images-arm.tar"]


def test_a_file_of_one_architecture_makes_a_release_for_that_one(tmp_path: Path) -> None:
    path = tmp_path / "sha256sum-arm64.txt"
    path.write_text(text_of("arm64"))
    options = ImportOptions(VERSION, "k3s", [str(path)], folder="/files/", name="mine", with_images=False)
    document = render_release(options, load_sums(options, read_source))
    assert document["metadata"]["name"] == "mine"
    (build,) = document["spec"]["architectures"]
    assert build == {
        "architecture": "arm64",
        "binary": {"datastoreRef": {"name": "k3s"}, "path": "files/k3s-arm64", "sha256": "d" * 64},
    }


@pytest.mark.parametrize(
    ("options", "texts", "words"),
    [
        (ImportOptions("1.34", "k3s"), {}, "is no version"),
        (ImportOptions(VERSION, "k3s", ["x"]), {"x": "<html>"}, "names no file"),
        (ImportOptions(VERSION, "k3s", ["x"]), {"x": "a" * 64 + "  other"}, "none of k3s"),
        (
            ImportOptions(VERSION, "k3s", ["s-{arch}"]),
            {"s-amd64": text_of("amd64"), "s-arm64": text_of("amd64"), "s-arm": text_of("arm")},
            "k3s-arm64",
        ),
        (
            ImportOptions(VERSION, "k3s", ["x", "y"]),
            {"x": "a" * 64 + "  k3s", "y": "b" * 64 + "  k3s"},
            "two digests of k3s",
        ),
    ],
)
def test_what_is_no_checksum_file_of_the_release_is_refused(
    options: ImportOptions, texts: dict[str, str], words: str
) -> None:
    with pytest.raises(EavesError, match=words):
        render_release(options, load_sums(options, texts.__getitem__))


@pytest.mark.parametrize("source", ["http://files.example/sha256sum-amd64.txt", "/nowhere/sha256sum-amd64.txt"])
def test_digests_come_by_a_way_that_can_be_trusted(source: str) -> None:
    with pytest.raises(EavesError) as caught:
        read_source(source)
    assert caught.value.resolution


class Store:
    """The few calls of kubectl that are made."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}

    def get(self, _resource: str, name: str) -> dict[str, Any]:
        if name not in self.objects:
            raise KubectlError("Error from server (NotFound): no such object")
        return self.objects[name]

    def create(self, document: dict[str, Any]) -> None:
        self.objects[document["metadata"]["name"]] = document

    def merge_patch(self, _resource: str, name: str, patch: dict[str, Any]) -> None:
        self.objects[name] = {**self.objects[name], **patch}


def test_importing_again_changes_nothing_and_new_digests_are_taken() -> None:
    store: Any = Store()
    options = ImportOptions(VERSION, "k3s")
    document = render_release(options, load_sums(options, upstream))
    assert save_release(store, document) == "created"
    assert save_release(store, document) == "unchanged"
    changed = render_release(ImportOptions(VERSION, "other"), load_sums(options, upstream))
    assert save_release(store, changed) == "configured"
    assert store.objects["v1.34.2-k3s1"]["spec"] == changed["spec"]
