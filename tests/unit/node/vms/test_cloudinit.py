"""First-boot data as files, for cloud-init and for guests of foreign controllers."""

from __future__ import annotations

import contextlib
import json
import uuid
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from eaves.node.desired.secret import SecretBytes
from eaves.node.desired.vm_model import CloudInit, Datasource
from eaves.node.vms.cloudinit import CloudInitError, SeedFiles, want_seed

BASE = CloudInit(Datasource.NO_CLOUD, "app-1/3", "plc", SecretBytes(b"#cloud-config\n{}\n"))


def make(**fields: Any) -> SeedFiles:
    secret = {name: SecretBytes(value) if isinstance(value, bytes) else value for name, value in fields.items()}
    return want_seed(replace(BASE, **secret))


def text(seed: SeedFiles, path: str) -> str:
    return seed.files[path].reveal().decode()


def test_no_cloud_has_user_data_as_it_is_and_meta_data_with_the_instance() -> None:
    seed = make()
    assert (seed.label, sorted(seed.files)) == ("cidata", ["meta-data", "user-data"])
    assert text(seed, "user-data") == "#cloud-config\n{}\n"
    assert yaml.safe_load(text(seed, "meta-data")) == {"instance-id": "app-1/3", "local-hostname": "plc"}


def test_user_data_that_names_the_guest_is_not_contradicted() -> None:
    assert yaml.safe_load(text(make(hostname=""), "meta-data")) == {"instance-id": "app-1/3"}


def test_network_config_goes_beside_it() -> None:
    assert text(make(network_config=b"version: 2\n"), "network-config") == "version: 2\n"


def test_own_meta_data_counts_and_gets_the_instance_id_when_it_has_none() -> None:
    assert yaml.safe_load(text(make(meta_data=b"local-hostname: x\n"), "meta-data")) == {
        "instance-id": "app-1/3",
        "local-hostname": "x",
    }
    assert text(make(meta_data=b"instance-id: mine\n"), "meta-data") == "instance-id: mine\n"


def test_config_drive_has_the_layout_of_openstack() -> None:
    seed = make(datasource=Datasource.CONFIG_DRIVE, network_config=b'{"links": []}')
    folder = "openstack/latest"
    assert (seed.label, sorted(seed.files)) == (
        "config-2",
        [f"{folder}/meta_data.json", f"{folder}/network_data.json", f"{folder}/user_data"],
    )
    meta = json.loads(text(seed, f"{folder}/meta_data.json"))
    assert (meta["hostname"], meta["name"], str(uuid.UUID(meta["uuid"]))) == ("plc", "plc", meta["uuid"])
    again = json.loads(text(make(datasource=Datasource.CONFIG_DRIVE), f"{folder}/meta_data.json"))
    other = json.loads(
        text(make(datasource=Datasource.CONFIG_DRIVE, instance_id="app-1/4"), f"{folder}/meta_data.json")
    )
    assert again["uuid"] == meta["uuid"] != other["uuid"]


def test_own_meta_data_of_a_config_drive_counts() -> None:
    seed = make(datasource=Datasource.CONFIG_DRIVE, meta_data=b'{"uuid": "u", "admin_pass": "x"}')
    meta = json.loads(text(seed, "openstack/latest/meta_data.json"))
    assert meta == {"uuid": "u", "admin_pass": "x", "hostname": "plc", "name": "plc"}


@pytest.mark.parametrize("meta_data", [b"instance-id: x", b"[1]", b"\xff"])
def test_meta_data_of_a_config_drive_is_json(meta_data: bytes) -> None:
    with pytest.raises(CloudInitError):
        make(datasource=Datasource.CONFIG_DRIVE, meta_data=meta_data)


ARCHIVE = b"""Content-Type: multipart/mixed; boundary="XX"
MIME-Version: 1.0

--XX
Content-Type: text/plain
Content-Disposition: attachment; filename="%s"

bootstrap
--XX
Content-Type: application/octet-stream
Content-Transfer-Encoding: base64
Content-Disposition: attachment; filename="license/authcodes"

AAEC
--XX--
"""


def test_parts_of_an_archive_are_the_files_that_they_name() -> None:
    seed = make(split_multipart=True, user_data=ARCHIVE % b"/config/init-cfg.txt")
    assert seed.label == "cidata"
    assert {path: data.reveal().strip() for path, data in seed.files.items()} == {
        "config/init-cfg.txt": b"bootstrap",
        "license/authcodes": b"\x00\x01\x02",
    }


@pytest.mark.parametrize("name", [b"../../etc/passwd", b"", b"/", b"a/../../x", b".."])
def test_no_part_leaves_the_image(name: bytes) -> None:
    with pytest.raises(CloudInitError):
        make(split_multipart=True, user_data=ARCHIVE % name)


def test_what_is_no_archive_is_ordinary_user_data() -> None:
    assert sorted(make(split_multipart=True).files) == ["meta-data", "user-data"]


def test_routers_that_read_a_file_of_their_own_get_it() -> None:
    assert "juniper.conf" in make(user_data=b"#junos-config\nsystem {}\n").files


def test_nothing_of_it_is_printed() -> None:
    seed = make(user_data=b"password: hunter2", meta_data=b"instance-id: hunter2")
    assert "hunter2" not in repr(seed)


@given(st.binary(max_size=400), st.binary(max_size=400), st.booleans(), st.sampled_from(Datasource))
def test_any_bytes_are_laid_out_or_refused(user_data: bytes, meta_data: bytes, split: bool, kind: Datasource) -> None:
    with contextlib.suppress(CloudInitError):
        seed = make(user_data=user_data, meta_data=meta_data, split_multipart=split, datasource=kind)
        assert all(not path.startswith(("/", "../")) for path in seed.files)
