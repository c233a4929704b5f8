"""What K3s is started with."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from eaves.node.clusters.model import ClusterFolders, KernelFacts
from eaves.node.clusters.spec import (
    OWN_OPTIONS,
    HostSize,
    Surroundings,
    check_backend,
    merge_options,
    render_reset,
    render_spec,
    want_backend,
)
from eaves.node.desired.cluster_model import (
    ClusterDatastore,
    ClusterMember,
    DesiredCluster,
    ExternalDatastore,
    MemberWish,
)
from eaves.node.desired.secret import Secret

FOLDERS = ClusterFolders(Path("/var/lib/eaves/k3s/id"), Path("/run/eaves/k3s/id"))
HOST = HostSize(4 << 30, 4000)
AROUND = Surroundings(FOLDERS, "/bin/k3s", "eth1", "vxlan", is_first=True, host=HOST, cgroup_root="/eaves/k3s")
FIRST = DesiredCluster(
    id="id",
    name="shop",
    node_name="a",
    is_server=True,
    interface_label="eth1",
    address="10.17.0.11",
    prefix_length=24,
    join_address="10.17.0.11",
    token=Secret("join-secret"),
    is_native=True,
    members=(
        ClusterMember("1", "a", "10.17.0.11", is_server=True),
        ClusterMember("2", "b", "10.17.0.12", is_server=True),
        ClusterMember("3", "c", "10.17.0.13", is_server=True, want=MemberWish.REMOVED),
        ClusterMember("4", "d", "10.17.0.14", is_server=False),
    ),
)
JOINER = replace(FIRST, node_name="b", address="10.17.0.12")
AGENT = replace(FIRST, node_name="d", address="10.17.0.14", is_server=False)


def test_the_first_server_makes_the_cluster() -> None:
    spec = render_spec(FIRST, AROUND)
    assert spec.argv == ("/bin/k3s", "server", "--config", "/var/lib/eaves/k3s/id/config.yaml")
    assert spec.config["cluster-init"] is True
    assert "server" not in spec.config
    assert spec.config["node-ip"] == "10.17.0.11"
    assert spec.config["node-name"] == "a"
    assert spec.config["flannel-iface"] == "eth1"
    assert spec.config["flannel-backend"] == "vxlan"


def test_another_server_joins_the_first() -> None:
    config = render_spec(JOINER, replace(AROUND, is_first=False)).config
    assert config["server"] == "https://10.17.0.11:6443"
    assert "cluster-init" not in config


def test_a_server_that_others_joined_and_that_has_data_joins_nobody() -> None:
    config = render_spec(FIRST, replace(AROUND, is_first=False)).config
    assert "server" not in config
    assert "cluster-init" not in config


def test_an_agent_gets_no_option_of_servers() -> None:
    spec = render_spec(AGENT, AROUND)
    assert spec.argv[1] == "agent"
    assert spec.config["server"] == "https://10.17.0.11:6443"
    assert not {"tls-san", "flannel-backend", "secrets-encryption", "write-kubeconfig", "disable"} & spec.config.keys()


def test_the_token_is_in_a_file_and_nowhere_else() -> None:
    spec = render_spec(FIRST, AROUND)
    assert spec.token == "join-secret"
    assert "join-secret" not in " ".join(spec.argv)
    assert "join-secret" not in str(spec.config)
    assert spec.config["token-file"] == "/var/lib/eaves/k3s/id/token"


def test_certificates_are_for_all_servers_that_belong_and_the_shared_address() -> None:
    config = render_spec(replace(FIRST, api_address="10.17.0.10"), AROUND).config
    assert config["tls-san"] == ["10.17.0.10", "10.17.0.11", "10.17.0.12"]


def test_secrets_are_encrypted_unless_said_otherwise_or_others_may_not() -> None:
    assert render_spec(FIRST, AROUND).config["secrets-encryption"] is True
    assert (
        render_spec(replace(FIRST, options={"secrets-encryption": False}), AROUND).config["secrets-encryption"] is False
    )
    assert "secrets-encryption" not in render_spec(replace(FIRST, is_native=False), AROUND).config


def test_sqlite_neither_makes_nor_joins() -> None:
    config = render_spec(replace(FIRST, datastore=ClusterDatastore.SQLITE), AROUND).config
    assert not {"cluster-init", "server", "datastore-endpoint"} & config.keys()


def test_an_external_datastore_is_in_private_files() -> None:
    external = ExternalDatastore(Secret("postgres://u:p@db/k3s"), "CA", "", Secret("KEY"))
    spec = render_spec(replace(FIRST, datastore=ClusterDatastore.EXTERNAL, external=external), AROUND)
    assert spec.config["datastore-endpoint"] == "postgres://u:p@db/k3s"
    assert spec.files == {"datastore-ca.pem": "CA", "datastore-key.pem": "KEY"}
    assert spec.config["datastore-keyfile"] == "/var/lib/eaves/k3s/id/datastore-key.pem"
    assert "datastore-certfile" not in spec.config
    assert "p@db" not in " ".join(spec.argv)


def test_the_kubelet_leaves_to_apps_what_is_not_kept_for_the_cluster() -> None:
    cluster = replace(FIRST, memory_reserved_bytes=1536 << 20, cpu_reserved_millis=1500)
    args = render_spec(cluster, AROUND).config["kubelet-arg"]
    assert "system-reserved=memory=2560Mi,cpu=2500m" in args
    assert "cgroup-root=/eaves/k3s" in args


def test_without_a_share_the_kubelet_has_the_machine() -> None:
    args = render_spec(FIRST, AROUND).config["kubelet-arg"]
    assert not any(arg.startswith("system-reserved") for arg in args)


def test_a_share_that_is_too_small_for_k3s_is_raised() -> None:
    args = render_spec(replace(FIRST, memory_reserved_bytes=1 << 20), AROUND).config["kubelet-arg"]
    assert "system-reserved=memory=3840Mi" in args


def test_further_options_win_but_for_what_is_the_node_s() -> None:
    options = {
        "write-kubeconfig-mode": "0644",
        "token": "stolen",
        "data-dir": "/tmp",
        "cluster-cidr": "10.50.0.0/16",
        "node-label": ["tier=edge"],
        "kubelet-arg": "max-pods=50",
    }
    config = render_spec(replace(FIRST, options=options, node_labels={"site": "17"}), AROUND).config
    assert config["cluster-cidr"] == "10.50.0.0/16"
    assert config["node-label"] == ["site=17", "tier=edge"]
    assert "max-pods=50" in config["kubelet-arg"]
    assert config["data-dir"] == "/var/lib/eaves/k3s/id/data"
    assert config["write-kubeconfig-mode"] == "0600"
    assert "token" not in config


@pytest.mark.parametrize("option", sorted(OWN_OPTIONS))
def test_no_option_of_the_node_s_own_can_be_set(option: str) -> None:
    assert merge_options({}, {option: "x"}, ()) == {}


def test_lists_are_joined_without_repeats() -> None:
    assert merge_options({"disable": ["a"]}, {"disable": ["a", "b"]}, ("disable",)) == {"disable": ["a", "b"]}


@pytest.mark.parametrize(
    "changes",
    [
        {"join_address": "10.17.0.12"},
        {"members": ()},
        {"is_leader": True},
        {"keep_data": True},
        {"is_initialized": True},
        {"node_name": "a"},
    ],
)
def test_what_concerns_only_others_restarts_nothing(changes: dict[str, object]) -> None:
    assert render_spec(replace(FIRST, **changes), AROUND).digest == render_spec(FIRST, AROUND).digest


@pytest.mark.parametrize(
    "changes",
    [
        {"token": Secret("other")},
        {"disable": ("traefik",)},
        {"api_address": "10.17.0.10"},
        {"options": {"cluster-cidr": "10.50.0.0/16"}},
        {"override": "debug: true"},
        {"memory_reserved_bytes": 1 << 30},
    ],
)
def test_what_k3s_reads_at_its_start_restarts_it(changes: dict[str, object]) -> None:
    assert render_spec(replace(FIRST, **changes), AROUND).digest != render_spec(FIRST, AROUND).digest


def test_another_version_restarts_and_another_path_of_the_daemon_does_not() -> None:
    digest = render_spec(FIRST, AROUND).digest
    assert render_spec(FIRST, replace(AROUND, program="/bin/other/k3s")).digest != digest
    assert render_spec(FIRST, replace(AROUND, environment={"PATH": "/sbin"})).digest == digest
    assert render_spec(FIRST, replace(AROUND, is_first=False)).digest == digest


def test_a_reset_names_the_snapshot() -> None:
    argv = render_reset(render_spec(FIRST, AROUND), "/snap")
    assert argv[-3:] == ("--cluster-reset", "--cluster-reset-restore-path", "/snap")


def test_the_backend_is_what_the_kernel_can_do() -> None:
    assert want_backend(FIRST, KernelFacts(has_vxlan=True), "") == "vxlan"
    assert want_backend(FIRST, KernelFacts(), "") == "host-gw"
    assert want_backend(FIRST, KernelFacts(), "vxlan") == "vxlan"
    assert want_backend(replace(FIRST, options={"flannel-backend": "none"}), KernelFacts(), "") == "none"


def test_a_kernel_that_lacks_the_cluster_s_backend_is_told() -> None:
    assert check_backend("vxlan", KernelFacts(has_vxlan=True)) == ""
    assert "vxlan" in check_backend("vxlan", KernelFacts())
    assert "WireGuard" in check_backend("wireguard-native", KernelFacts(has_vxlan=True))
    assert check_backend("host-gw", KernelFacts()) == ""


def test_ipv6_servers_are_reached_in_brackets() -> None:
    config = render_spec(replace(AGENT, join_address="fd00::1"), AROUND).config
    assert config["server"] == "https://[fd00::1]:6443"
