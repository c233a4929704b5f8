"""Certificates of a running controller: taken up when they change, kept when what was written is no use."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import Struct

from eaves.controller.identity import GivenFiles, open_identity
from eaves.controller.keyfolder import KeyFileError
from eaves.controller.renewal import CertificateKeeper, load_stamp
from eaves.controller.serving import TlsFiles
from eaves.testing.deviceside import Rig, open_rig


class Bench(Struct):
    rig: Rig
    keeper: CertificateKeeper
    folder: Path


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_rig(tmp_path) as rig:
        await rig.add_key()
        file = rig.identity.current.server_file
        yield Bench(
            rig, CertificateKeeper(rig.identity, TlsFiles(file, file), rig.side, [tmp_path / "pki"]), tmp_path / "pki"
        )


async def test_a_new_generation_reaches_configs_and_certs(bench: Bench) -> None:
    device = await bench.rig.onboarded(serial="A1")
    before = device.config_hash
    stamp = load_stamp([bench.folder])
    other = open_identity(bench.folder, ("localhost",), GivenFiles(), lambda: datetime.datetime.now(datetime.UTC))
    other.rotate()
    assert load_stamp([bench.folder]) != stamp
    await bench.keeper.refresh()
    await bench.rig.until(lambda: bench.rig.side.configs.shelf.hash_of(device.id) != before)
    await device.fetch_certs(bench.rig.identity.current.root_pem)
    assert (await device.poll()).status == 200


async def test_nothing_changes_when_nothing_was_written(bench: Bench) -> None:
    device = await bench.rig.onboarded(serial="A1")
    current = bench.rig.identity.current
    await bench.keeper.refresh()
    assert bench.rig.identity.current.certs_hash == current.certs_hash
    assert (await device.poll()).status == 304


async def test_a_key_file_that_is_no_use_is_told_and_the_old_keys_serve_on(bench: Bench) -> None:
    device = await bench.rig.onboarded(serial="A1")
    (bench.folder / "signing-0002.pem").write_text("half a key")
    with pytest.raises(KeyFileError, match="0 certificates"):
        await bench.keeper.refresh()
    device.config_hash = ""
    assert (await device.poll()).status == 200


def test_a_stamp_sees_files_and_folders(tmp_path: Path) -> None:
    file, folder = tmp_path / "given.pem", tmp_path / "pki"
    folder.mkdir()
    first = load_stamp([file, folder])
    file.write_text("a")
    second = load_stamp([file, folder])
    (folder / "ca-0001.pem").write_text("b")
    assert len({first, second, load_stamp([file, folder])}) == 3
