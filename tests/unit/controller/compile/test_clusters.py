"""The cluster in a member's config: what each role gets, secrets for nobody else, and what stays when something is amiss."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest

from eaves.controller.compile.clusteraddons import want_add_on
from eaves.controller.compile.encode import encode_config
from eaves.controller.compile.model import NodeInputs, token_name
from eaves.controller.compile.node import compile_node
from eaves.kinds.k3scluster_spec import AddOn
from eaves.kube.resource import Object
from eaves.testing.device_cipher import DeviceCipher
from eaves.testing.objects import DEVICE_ID, make_app, make_datastore, make_edgenode, make_object, make_secret, uid_of
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.edge_node_cluster_pb2 import HA_SCHEME_K3S_EMBEDDED, HA_SCHEME_UNSPECIFIED

VERSION = "v1.34.2+k3s1"
UID = uid_of("K3sCluster", "shop")
PORTS = [{"name": "eth0", "management": True, "addresses": ["10.17.0.11"]}]
REPORTED = {"ports": PORTS, "inventory": {"architecture": "amd64"}, "versions": {"daemon": "1"}}
EVE = {**REPORTED, "versions": {"eve": "14.5.0"}}


@pytest.fixture(scope="module")
def device() -> DeviceCipher:
    return DeviceCipher()


def member(name: str = "store-17", role: str = "Server", **fields: Any) -> Object:
    ids = {"store-17": DEVICE_ID}
    number = sum(map(ord, name)) % 200
    base = {
        "nodeName": name,
        "id": ids.get(name, f"id-{name}"),
        "role": role,
        "address": f"10.17.0.{number}/24",
        "version": VERSION,
    }
    return {**base, **fields}


def make_cluster(members: list[Object] | None = None, *, status: Object | None = None, **spec: Any) -> Object:
    found = [member(address="10.17.0.11/24"), member("b"), member("c")] if members is None else members
    told = {"firstServer": "store-17", "leader": "store-17", "members": found, **(status or {})}
    wanted = {"version": VERSION, "servers": {"nodeNames": ["store-17", "b", "c"]}, **spec}
    return make_object("K3sCluster", "shop", wanted, status=told)


def make_release(version: str = VERSION, architecture: str = "amd64", **file: Any) -> Object:
    binary = {"datastoreRef": {"name": "k3s"}, "path": "k3s", "sha256": "a" * 64, **file}
    return make_object(
        "K3sRelease",
        version.replace("+", "-"),
        {"version": version, "architectures": [{"architecture": architecture, "binary": binary}]},
    )


def inputs(device: DeviceCipher, cluster: Object | None = None, **changes: Any) -> NodeInputs:
    tokens = {token_name(UID, generation): f"token-{generation}" for generation in (0, 1)}
    given: dict[str, Any] = {
        "edgenode": make_edgenode(status=REPORTED),
        "clusters": [cluster or make_cluster()],
        "releases": [make_release()],
        "datastores": [make_datastore("k3s", type="HTTP", url="https://files.example")],
        "cipher": device.node_cipher,
        "cluster_tokens": tokens,
    }
    return NodeInputs(**(given | changes))


def compiled(device: DeviceCipher, cluster: Object | None = None, **changes: Any) -> EdgeDevConfig:
    outcome = compile_node(inputs(device, cluster, **changes))
    assert outcome.problems == ()
    return outcome.config


def reasons(given: NodeInputs) -> list[tuple[str, str, str]]:
    return [(problem.kind, problem.reason, problem.effect) for problem in compile_node(given).problems]


def test_a_server_starts_or_joins_by_the_fields_of_eve(device: DeviceCipher) -> None:
    first = compiled(device).cluster
    assert first.join_server_ip == first.cluster_ip_prefix.split("/")[0] == "10.17.0.11"
    assert first.ha_scheme == HA_SCHEME_K3S_EMBEDDED
    joiner = compiled(device, make_cluster(status={"firstServer": "b"})).cluster
    assert joiner.join_server_ip == "10.17.0.98"
    assert joiner.cluster_id == UID
    alone = compiled(device, make_cluster([member()])).cluster
    assert alone.ha_scheme == HA_SCHEME_UNSPECIFIED


def test_the_same_inputs_give_the_same_bytes(device: DeviceCipher) -> None:
    once, again = inputs(device), inputs(device)
    assert encode_config(compile_node(once).config) == encode_config(compile_node(again).config)


@pytest.mark.parametrize(
    ("fields", "generation"),
    [
        ({}, 0),
        ({"joined": True}, 0),
        ({"joined": True, "ordered": {"rotateToken": 1}}, 1),
        ({"joined": True, "joinedAfter": {"rotateToken": 1}}, 1),
    ],
)
def test_a_member_has_the_token_of_its_last_order(device: DeviceCipher, fields: Object, generation: int) -> None:
    other = member("b", done={"rotateToken": 1} if "ordered" in fields else {})
    cluster = make_cluster([member(**fields), other], status={"leader": "b"})
    block = device.decrypt(compiled(device, cluster).cluster.encrypted_cluster_token)
    assert block.cluster_token == f"token-{generation}"
    assert not block.HasField("eaves")


def test_who_joins_while_the_token_changes_gets_the_one_that_the_cluster_knows(device: DeviceCipher) -> None:
    leader = member("b", joined=True, ordered={"rotateToken": 1}, done={"rotateToken": 1})
    cluster = make_cluster([member(), leader], status={"firstServer": "b", "leader": "b"})
    assert device.decrypt(compiled(device, cluster).cluster.encrypted_cluster_token).cluster_token == "token-1"


def test_the_leader_alone_gets_the_former_token_while_it_changes(device: DeviceCipher) -> None:
    cluster = make_cluster([member(joined=True, ordered={"rotateToken": 1}), member("b")])
    block = device.decrypt(compiled(device, cluster).cluster.encrypted_cluster_token)
    assert (block.cluster_token, block.eaves.cluster.former_token) == ("token-1", "token-0")


def test_another_leader_does_not_tell_the_cluster_again(device: DeviceCipher) -> None:
    told = member("b", joined=True, ordered={"rotateToken": 1}, done={"rotateToken": 1})
    cluster = make_cluster([member(joined=True, ordered={"rotateToken": 1}), told])
    block = device.decrypt(compiled(device, cluster).cluster.encrypted_cluster_token)
    assert (block.cluster_token, block.eaves.cluster.former_token) == ("token-1", "")


def test_who_joins_later_checks_the_authority(device: DeviceCipher) -> None:
    cluster = make_cluster([member(checksAuthority=True), member("b")], status={"firstServer": "b", "caHash": "d" * 64})
    block = device.decrypt(compiled(device, cluster).cluster.encrypted_cluster_token)
    assert block.cluster_token == f"K10{'d' * 64}::server:token-0"


def test_an_external_datastore_reaches_servers_alone_and_sealed(device: DeviceCipher) -> None:
    spec: dict[str, Any] = {"datastore": "External", "datastoreSecretRef": {"name": "db"}}
    secret = make_secret("db", endpoint="postgres://k3s:hush@db/k3s", **{"ca.crt": "PEM"})
    config = compiled(device, make_cluster(**spec), secrets=[secret])
    told = device.decrypt(config.cluster.encrypted_cluster_token).eaves.cluster
    assert (told.datastore_endpoint, told.datastore_ca_pem) == ("postgres://k3s:hush@db/k3s", "PEM")
    assert b"hush" not in config.SerializeToString()
    agent = make_cluster([member(role="Agent"), member("b")], status={"firstServer": "b"}, **spec)
    assert not device.decrypt(compiled(device, agent).cluster.encrypted_cluster_token).HasField("eaves")
    assert reasons(inputs(device, make_cluster(**spec))) == [("K3sCluster", "SecretNotFound", "Omitted")]


def test_add_ons_are_manifests_and_charts_are_objects_of_the_helm_controller(device: DeviceCipher) -> None:
    chart = {
        "chart": "oci://registry.example/shop",
        "version": "1.2.3",
        "targetNamespace": "shop",
        "values": {"replicas": 2},
    }
    manifest = "apiVersion: v1\nkind: Namespace\nmetadata: {name: metrics}\n"
    cluster = make_cluster(addOns=[{"name": "shop", "helm": chart}, {"name": "metrics", "manifest": manifest}])
    metrics, shop = compiled(device, cluster).cluster.eaves.add_ons
    assert (metrics.name, metrics.manifest) == ("metrics", manifest)
    assert metrics.digest == hashlib.sha256(manifest.encode()).hexdigest()
    document = json.loads(shop.manifest)
    assert (document["apiVersion"], document["kind"]) == ("helm.cattle.io/v1", "HelmChart")
    assert document["spec"]["chart"] == "oci://registry.example/shop"
    assert json.loads(document["spec"]["valuesContent"]) == {"replicas": 2}
    agent = make_cluster(
        [member(role="Agent"), member("b")], status={"firstServer": "b"}, addOns=[{"name": "m", "manifest": manifest}]
    )
    assert not compiled(device, agent).cluster.eaves.add_ons


def test_what_the_cluster_has_still_and_the_spec_does_not_name_is_told_to_go(device: DeviceCipher) -> None:
    manifest = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
    told = [{"name": "a", "state": "Removing"}, {"name": "m", "state": "Ready"}]
    cluster = make_cluster(status={"addOns": told}, addOns=[{"name": "m", "manifest": manifest}])
    leaving, staying = compiled(device, cluster).cluster.eaves.add_ons
    assert (leaving.name, leaving.manifest) == ("a", "")
    assert (staying.name, staying.manifest) == ("m", manifest)


def test_a_chart_has_all_that_its_controller_needs_and_nothing_that_is_not_said() -> None:
    def spec_of(**chart: object) -> dict[str, object]:
        add_on = msgspec.convert({"name": "shop", "helm": {"chart": "oci://registry.example/shop", **chart}}, AddOn)
        found: dict[str, object] = json.loads(want_add_on(add_on).manifest)["spec"]
        return found

    # The controller would take kube-system, in which the object itself lies.
    assert spec_of() == {"chart": "oci://registry.example/shop", "targetNamespace": "default"}
    everything = spec_of(
        targetNamespace="shop",
        valuesSecrets=[{"name": "more", "keys": ["values.yaml"]}],
        authSecret={"name": "repo"},
        dockerRegistrySecret={"name": "registry"},
        caCertificates="-----BEGIN CERTIFICATE-----",
        plainHTTP=True,
        bootstrap=True,
        timeout="90s",
        failurePolicy="Abort",
    )
    assert everything == {
        "chart": "oci://registry.example/shop",
        "targetNamespace": "shop",
        "createNamespace": True,
        "valuesSecrets": [{"name": "more", "keys": ["values.yaml"]}],
        "authSecret": {"name": "repo"},
        "dockerRegistrySecret": {"name": "registry"},
        "repoCA": "-----BEGIN CERTIFICATE-----",
        "plainHTTP": True,
        "bootstrap": True,
        "timeout": "90s",
        "failurePolicy": "abort",
    }


def test_orders_from_before_a_member_joined_are_not_for_it(device: DeviceCipher) -> None:
    given = {"snapshot": 3, "rotateCertificates": 2, "restore": 1}
    operations = {"restore": {"snapshot": "nightly", "counter": 1}}
    orders = compiled(device, make_cluster([member(ordered=given)], operations=operations)).cluster.eaves.orders
    assert (orders.snapshot, orders.rotate_certificates, orders.restore, orders.restore_snapshot) == (
        3,
        2,
        1,
        "nightly",
    )
    late = member(ordered=given, joinedAfter=given)
    assert not compiled(device, make_cluster([late], operations=operations)).cluster.eaves.orders.ByteSize()


def test_the_leader_hears_where_backups_go_and_gets_the_credentials_for_it(device: DeviceCipher) -> None:
    backup = {"schedule": "0 2 * * *", "keep": 5, "datastoreRef": {"name": "backups"}}
    store = make_datastore(
        "backups", type="S3", url="https://s3.example", path="bucket", credentialsSecretRef={"name": "s3"}
    )
    files = make_datastore("k3s", type="HTTP", url="https://files.example")
    more = {"datastores": [store, files], "secrets": [make_secret("s3", username="key", password="hush")]}
    config = compiled(device, make_cluster(backup=backup), **more)
    told = config.cluster.eaves.backup
    assert (told.schedule, told.keep, told.prefix) == ("0 2 * * *", 5, "default/shop")
    (found,) = [entry for entry in config.datastores if entry.id == told.datastore_id]
    assert device.decrypt(found.cipherData).dsPassword == "hush"
    other = compiled(device, make_cluster(backup=backup, status={"leader": "b"}), **more)
    assert not other.cluster.eaves.HasField("backup")
    assert len(other.datastores) == 1
    wrong = inputs(device, make_cluster(backup={"datastoreRef": {"name": "k3s"}}))
    assert reasons(wrong) == [("K3sCluster", "DatastoreTypeUnsupported", "Omitted")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"releases": []}, "ReleaseMissing"),
        ({"releases": [make_release(architecture="arm64")]}, "ArchitectureMissing"),
        ({"datastores": []}, "DatastoreNotFound"),
        ({"cipher": None}, "AwaitingDeviceKey"),
        ({"cluster_tokens": {}}, "TokenMissing"),
        ({"edgenode": make_edgenode(approved=False, status=REPORTED)}, "NodeNotApproved"),
        ({"clusters": [make_cluster(status={"firstServer": "gone"})]}, "NoFirstServer"),
        ({"clusters": [{**make_cluster(), "spec": {"version": 1}}]}, "Unreadable"),
    ],
)
def test_what_cannot_be_compiled_leaves_the_member_what_it_has(device: DeviceCipher, changes: Any, reason: str) -> None:
    assert reasons(inputs(device, **changes)) == [("K3sCluster", reason, "Omitted")]
    before = compiled(device)
    outcome = compile_node(inputs(device, previous=before, **changes))
    assert [(problem.reason, problem.effect) for problem in outcome.problems] == [(reason, "Kept")]
    assert outcome.config.cluster == before.cluster
    assert list(outcome.config.contentInfo) == list(before.contentInfo)


@pytest.mark.parametrize("fields", [{"want": "Left"}, {"id": "another-device"}, {"address": ""}])
def test_who_is_no_member_has_no_cluster(device: DeviceCipher, fields: Object) -> None:
    before = compiled(device)
    outcome = compile_node(inputs(device, make_cluster([member(**fields), member("b")]), previous=before))
    assert not outcome.config.HasField("cluster")
    assert not outcome.config.contentInfo
    assert outcome.problems == ()


def test_a_device_of_eve_gets_the_public_fields_alone_and_only_when_it_may_start(device: DeviceCipher) -> None:
    eve = make_edgenode(status=EVE)
    config = compiled(device, edgenode=eve, releases=[])
    assert not config.cluster.HasField("eaves")
    assert not config.contentInfo
    early = make_cluster([member(stopped=True), member("b")], status={"firstServer": "b"})
    assert not compiled(device, early, edgenode=eve).HasField("cluster")
    stopped = make_cluster([member(stopped=True, joined=True), member("b")], status={"firstServer": "b"})
    assert compiled(device, stopped, edgenode=eve).HasField("cluster")


def test_a_device_of_eve_loses_no_apps_to_a_cluster(device: DeviceCipher) -> None:
    """For such a cluster EVE takes away what runs apps and keeps their volumes."""
    eve = make_edgenode(status=EVE)
    given = inputs(device, make_cluster([member()]), edgenode=eve, apps=[make_app()])
    outcome = compile_node(given)
    assert not outcome.config.HasField("cluster")
    problem = next(problem for problem in outcome.problems if problem.kind == "K3sCluster")
    assert (problem.reason, problem.effect) == ("AppsWouldBeLost", "Omitted")
    assert "default/web; take them off the node first" in problem.message
    without = compiled(device, make_cluster([member()]), edgenode=eve)
    assert without.HasField("cluster")
    # Who is a member already stays one, whatever is put on it.
    later = compile_node(inputs(device, make_cluster([member()]), edgenode=eve, apps=[make_app()], previous=without))
    assert later.config.HasField("cluster")


def test_members_that_eve_makes_servers_are_not_pruned(device: DeviceCipher) -> None:
    """EVE deletes the Node of a server that the list does not have, and starts every member as a server."""
    agents = [member("d", role="Agent", runsEVE=True), member("e", role="Agent")]
    config = compiled(device, make_cluster([member(), *agents]), edgenode=make_edgenode(status=EVE), releases=[])
    ids = {entry["nodeName"]: entry["id"] for entry in [member(), *agents]}
    assert sorted(config.cluster.master_node_uuids) == sorted([*(set(ids.values()) - {ids["e"]})])


def test_of_two_clusters_the_older_has_the_node(device: DeviceCipher) -> None:
    other = make_cluster()
    other["metadata"] = {
        **other["metadata"],
        "name": "other",
        "uid": "other-uid",
        "creationTimestamp": "2027-01-01T00:00:00Z",
    }
    outcome = compile_node(inputs(device, clusters=[other, make_cluster()]))
    assert outcome.config.cluster.cluster_id == UID
    assert [(problem.name, problem.reason) for problem in outcome.problems] == [("other", "NodeTaken")]


NEXT = "v1.34.3+k3s1"


def test_what_comes_next_is_fetched_beside_what_runs(device: DeviceCipher) -> None:
    cluster = make_cluster([member(joined=True, nextVersion=NEXT), member("b")])
    releases = [make_release(), make_release(NEXT, path="next", sha256="b" * 64)]
    config = compiled(device, cluster, releases=releases)
    told = config.cluster.eaves
    assert (told.version, told.next_version) == (VERSION, NEXT)
    trees = {tree.uuid: tree.sha256 for tree in config.contentInfo}
    assert trees == {told.binary_image_id: "a" * 64, told.next_binary_image_id: "b" * 64}
    # Approval is lost: all of it stays, since what a config names no more is dropped.
    other = make_edgenode(approved=False, status=REPORTED)
    kept = compile_node(inputs(device, cluster, releases=releases, edgenode=other, previous=config))
    assert kept.config.cluster == config.cluster
    assert {tree.uuid for tree in kept.config.contentInfo} == trees.keys()


@pytest.mark.parametrize(
    ("releases", "reason"),
    [
        ([make_release()], "ReleaseMissing"),
        ([make_release(), make_release(NEXT, architecture="arm64")], "ArchitectureMissing"),
        ([make_release(), make_release(NEXT, datastoreRef={"name": "gone"})], "DatastoreNotFound"),
    ],
)
def test_what_cannot_be_fetched_beforehand_is_told_and_changes_nothing(
    device: DeviceCipher, releases: list[Object], reason: str
) -> None:
    given = inputs(device, make_cluster([member(nextVersion=NEXT), member("b")]), releases=releases)
    assert reasons(given) == [("K3sCluster", reason, "Partial")]
    config = compile_node(given).config
    assert config.cluster.eaves.next_version == ""
    assert config.cluster.eaves.binary_image_id
    assert len(config.contentInfo) == 1
