"""First-boot images, read back by tools that had no part in making them: blkid finds the volume as guests do, bsdtar reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from eaves.kit.process import ProcessError
from eaves.node.desired.secret import SecretBytes
from eaves.node.desired.vm_model import CloudInit, Datasource
from eaves.node.vms.cloudinit import want_seed
from eaves.node.vms.seedimage import remove_seed_image, save_seed_image

SCRIPT = b"#!/bin/sh\necho \xff\x00\n"
DATA = CloudInit(
    Datasource.NO_CLOUD, "app-1/1", "plc", SecretBytes(SCRIPT), network_config=SecretBytes(b"version: 2\n")
)


def read(image: Path, name: str) -> bytes:
    return subprocess.run(["bsdtar", "-xOf", str(image), name], check=True, capture_output=True).stdout


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def label(image: Path) -> str:
    argv = ["blkid", "-p", "-o", "value", "-s", "LABEL", str(image)]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


async def test_a_guest_finds_its_data(tmp_path: Path) -> None:
    image = tmp_path / "seed.iso"
    await save_seed_image(image, want_seed(DATA))
    assert label(image) == "cidata"
    assert read(image, "user-data") == SCRIPT
    assert read(image, "meta-data") == b'instance-id: "app-1/1"\nlocal-hostname: "plc"\n'
    assert read(image, "network-config") == b"version: 2\n"


async def test_a_config_drive_has_its_folders(tmp_path: Path) -> None:
    image = tmp_path / "seed.iso"
    await save_seed_image(image, want_seed(CloudInit(Datasource.CONFIG_DRIVE, "app-1/1", "plc", SecretBytes(SCRIPT))))
    assert label(image) == "config-2"
    assert read(image, "openstack/latest/user_data") == SCRIPT


async def test_only_the_owner_reads_it_and_nothing_else_is_left(tmp_path: Path) -> None:
    image = tmp_path / "seed.iso"
    await save_seed_image(image, want_seed(DATA))
    await save_seed_image(image, want_seed(DATA))
    assert image.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["seed.iso"]


async def test_removal_takes_what_a_killed_daemon_left(tmp_path: Path) -> None:
    image = tmp_path / "seed.iso"
    await save_seed_image(image, want_seed(DATA))
    (tmp_path / ".seed.iso.files").mkdir()
    (tmp_path / ".seed.iso.files" / "user-data").write_bytes(b"x")
    (tmp_path / ".seed.iso.new").write_bytes(b"x")
    await remove_seed_image(image)
    assert names(tmp_path) == []
    await remove_seed_image(image)


async def test_a_failure_leaves_the_former_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = tmp_path / "seed.iso"
    await save_seed_image(image, want_seed(DATA))
    before = image.read_bytes()
    failing = tmp_path / "bin"
    failing.mkdir()
    (failing / "xorrisofs").write_text("#!/bin/sh\nexit 5\n")
    (failing / "xorrisofs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{failing}:/usr/bin:/bin")
    with pytest.raises(ProcessError):
        await save_seed_image(image, want_seed(DATA))
    assert image.read_bytes() == before
    assert names(tmp_path) == ["bin", "seed.iso"]
