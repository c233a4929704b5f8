"""The private configuration of podman for the machines that there are."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from eaves.node.errors import HostError
from eaves.node.host import Host, parse_podman_version, render_containers_conf, render_storage_conf
from eaves.node.instance import Instance

DEBIAN = Host((5, 4, 2), "crun", 2, True, True, True, 1 << 20, 1 << 15)
SMALL = Host((4, 3, 1), "runc", 1, False, False, False, 20000, 1 << 15)
INSTANCE = Instance("eaves", Path("/var/lib/eaves"), Path("/run/eaves"))


def test_usual_debian() -> None:
    conf = tomllib.loads(render_containers_conf(INSTANCE, DEBIAN))
    assert conf["engine"]["cgroup_manager"] == "systemd"
    assert conf["engine"]["runtime"] == "crun"
    assert conf["network"]["network_backend"] == "netavark"
    assert "default_ulimits" not in conf["containers"]


def test_host_without_systemd_and_rights() -> None:
    conf = tomllib.loads(render_containers_conf(INSTANCE, SMALL))
    assert conf["engine"]["cgroup_manager"] == "cgroupfs"
    assert conf["network"]["network_backend"] == "cni"
    assert conf["containers"]["default_ulimits"] == ["nofile=1024:20000", "nproc=1024:32768"]


def test_locks_and_folders_are_not_shared_with_the_hosts_podman() -> None:
    engine = tomllib.loads(render_containers_conf(INSTANCE, DEBIAN))["engine"]
    assert engine["lock_type"] == "file"
    storage = tomllib.loads(render_storage_conf(INSTANCE))["storage"]
    paths = [engine["tmp_dir"], engine["static_dir"], engine["volume_path"], storage["graphroot"], storage["runroot"]]
    assert all(path.startswith(("/var/lib/eaves/", "/run/eaves/")) for path in paths)


def test_podman_version() -> None:
    assert parse_podman_version("podman version 4.3.1\n") == (4, 3, 1)
    assert parse_podman_version("podman version 5.4.2-dev") == (5, 4, 2)
    with pytest.raises(HostError, match="too old"):
        parse_podman_version("podman version 4.2.0")
    with pytest.raises(HostError):
        parse_podman_version("what?")


def test_v1_never_asks_systemd() -> None:
    assert msgspec.structs.replace(DEBIAN, cgroup_version=1).cgroup_manager == "cgroupfs"


@pytest.mark.parametrize("name", ["", "Eaves", "a-b", "1a", "a" * 40, "a/b"])
def test_instance_names_are_plain_words(name: str) -> None:
    with pytest.raises(ValueError, match="instance name"):
        Instance(name)


def test_names_of_instances_do_not_meet() -> None:
    one, two = Instance(), Instance("other")
    assert one.table != two.table
    for mine, others in ((one.bridge_prefix, two.bridge_prefix), (one.veth_prefix, two.veth_prefix)):
        assert not mine.startswith(others)
        assert not others.startswith(mine)
