"""Names on disk tell which volume a file is, and in which form."""

from __future__ import annotations

from pathlib import Path

import pytest

from eaves.node.volumes.model import Enforcement, Form, Seen, VolumeKey, parse_key, parse_name, want_file


@pytest.mark.parametrize(
    ("name", "key", "form"),
    [
        ("a#0", VolumeKey("a", 0), Form.FOLDER),
        ("3f2b-1#12", VolumeKey("3f2b-1", 12), Form.FOLDER),
        ("a#1.ext4", VolumeKey("a", 1), Form.EXT4),
        ("a#1.qcow2", VolumeKey("a", 1), Form.QCOW2),
        ("a#1.raw", VolumeKey("a", 1), Form.RAW),
    ],
)
def test_names_and_files_agree(name: str, key: VolumeKey, form: Form) -> None:
    assert parse_name(name) == (key, form)
    assert parse_key(name) == key
    assert want_file(Path("/v"), key, form) == Path("/v") / name


@pytest.mark.parametrize(
    "name",
    [
        "lost+found",
        ".deleting-a#0",
        ".making-1-a#0.ext4",
        "a",
        "a#",
        "a#x",
        "../a#0",
        "a#0#1",
        "a#0.snapshots",
        "a#0.vmdk",
    ],
)
def test_other_names_are_none_of_ours(name: str) -> None:
    assert parse_name(name) is None


def test_apps_get_the_folder_of_an_image_and_the_file_of_a_disk() -> None:
    image = Seen(VolumeKey("a", 0), Form.EXT4, Path("/v"), Enforcement.IMAGE)
    disk = Seen(VolumeKey("a", 0), Form.QCOW2, Path("/v"), Enforcement.DISK)
    assert (image.path, image.file) == (Path("/v/a#0"), Path("/v/a#0.ext4"))
    assert (disk.path, disk.file) == (Path("/v/a#0.qcow2"), Path("/v/a#0.qcow2"))
