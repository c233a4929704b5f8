"""Certificates of a running controller: taken up when they change, kept when what was written is no use."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
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
    told: list[str]
    """Authorities, each time that they were told to have changed."""


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_rig(tmp_path) as rig:
        await rig.add_key()
        file = rig.identity.current.server_file
        told: list[str] = []

        def tell() -> None:
            told.append((rig.identity.current.authority_pem or b"").decode())

        folder = tmp_path / "pki"
        yield Bench(rig, CertificateKeeper(rig.identity, TlsFiles(file, file), rig.side, [folder], tell), folder, told)


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
    assert bench.told == []


async def test_another_authority_is_told_with_its_certificates(tmp_path: Path) -> None:
    """The operator brings certificates, and others by another authority later."""
    async with open_rig(tmp_path / "rig") as rig:
        folder = tmp_path / "given"
        folder.mkdir()
        given = GivenFiles(folder / "tls.pem", None, folder / "ca.pem")
        first, second = trustme.CA(), trustme.CA()
        give_certificates(first, folder)
        identity = open_identity(tmp_path / "pki", ("localhost",), given, lambda: datetime.datetime.now(datetime.UTC))
        file, told = identity.current.server_file, []
        keeper = CertificateKeeper(
            identity, TlsFiles(file, file), rig.side, [folder], lambda: told.append(identity.current.authority_pem)
        )
        await keeper.refresh()
        assert told == []
        give_certificates(second, folder)
        await keeper.refresh()
        await keeper.refresh()
        assert told == [second.cert_pem.bytes()]


def give_certificates(authority: trustme.CA, folder: Path) -> None:
    issued = authority.issue_cert("localhost")
    (folder / "tls.pem").write_bytes(issued.private_key_and_cert_chain_pem.bytes())
    (folder / "ca.pem").write_bytes(authority.cert_pem.bytes())


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
