"""The cluster of a config: EVE's fields alone, those of Eaves, and every way in which one can be wrong."""

from __future__ import annotations

import base64
import json

import pytest

from eaves.node.desired.cluster_model import ClusterDatastore, DesiredCluster, MemberWish
from eaves.node.desired.model import DesiredNode, ObjectKind
from eaves.node.desired.parse import parse_config
from eaves.testing.device_configs import STORE_ID, want_config
from eaves.wire.pb.config.devcommon_pb2 import ConfigItem
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.edge_node_cluster_pb2 import EdgeNodeCluster
from eaves.wire.pb.eaves.cluster_pb2 import (
    ClusterAddOn,
    ClusterBackup,
    ClusterExtension,
    ClusterMember,
    ClusterOrders,
    ClusterSecrets,
)
from eaves.wire.pb.eaves.extension_pb2 import AppSecrets
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock, EncryptionBlock

CLUSTER_ID = "60000000-0000-4000-8000-000000000001"


def cluster_of(**changes: object) -> EdgeNodeCluster:
    fields: dict[str, object] = {
        "cluster_name": "shop",
        "cluster_id": CLUSTER_ID.upper(),
        "cluster_interface": "eth1",
        "cluster_ip_prefix": "10.17.0.11/24",
        "join_server_ip": "10.17.0.11",
        "encrypted_cluster_token": CipherBlock(cipherContextId="c"),
    }
    return EdgeNodeCluster(**{**fields, **changes})  # type: ignore[arg-type]  # names are checked by the message


def parse(
    cluster: EdgeNodeCluster,
    secrets: ClusterSecrets | None = None,
    *,
    token: str = "secret",
    items: dict[str, str] | None = None,
) -> DesiredNode:
    config: EdgeDevConfig = want_config()
    config.device_name = "Shop-17-A"
    config.cluster.CopyFrom(cluster)
    config.configItems.extend(ConfigItem(key=key, value=value) for key, value in (items or {}).items())
    block = EncryptionBlock(cluster_token=token, eaves=AppSecrets(cluster=secrets))
    return parse_config(config, "hash", lambda _: block.SerializeToString())


def parsed(
    cluster: EdgeNodeCluster, secrets: ClusterSecrets | None = None, items: dict[str, str] | None = None
) -> DesiredCluster:
    found = parse(cluster, secrets, items=items).cluster
    assert found is not None
    return found


def codes_of(desired: DesiredNode) -> list[str]:
    return [problem.code for problem in desired.problems if problem.kind is ObjectKind.CLUSTER]


def test_the_public_fields_alone_make_a_whole_cluster() -> None:
    found = parsed(cluster_of())
    assert (found.id, found.name, found.node_name) == (CLUSTER_ID, "shop", "shop-17-a")
    assert (found.address, found.prefix_length, found.interface_label) == ("10.17.0.11", 24, "eth1")
    assert found.is_server
    assert found.is_first
    assert found.datastore is ClusterDatastore.EMBEDDED_ETCD
    assert not found.is_native
    assert found.token.reveal() == "secret"
    assert "secret" not in repr(found)


def test_no_cluster_is_an_order_to_leave() -> None:
    desired = parse_config(want_config(), "hash", lambda _: b"")
    assert desired.cluster is None
    assert not desired.is_cluster_refused


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cluster_ip_prefix": "10.17.0.11"}, "BadClusterAddress"),
        ({"cluster_ip_prefix": "10.17.0.300/24"}, "BadClusterAddress"),
        ({"cluster_ip_prefix": ""}, "BadClusterAddress"),
        ({"join_server_ip": "server-1"}, "BadClusterAddress"),
        ({"cluster_id": "no-uuid"}, "BadIdentifier"),
        ({"encrypted_cluster_token": None}, "TokenMissing"),
        ({"eaves": ClusterExtension(datastore="Redis")}, "DatastoreUnknown"),
        ({"eaves": ClusterExtension(datastore="External")}, "DatastoreMissing"),
        ({"eaves": ClusterExtension(version="latest")}, "BadVersion"),
        ({"eaves": ClusterExtension(node_name="a b")}, "BadNodeName"),
        ({"eaves": ClusterExtension(config=b"{")}, "BadClusterOptions"),
        ({"eaves": ClusterExtension(config=b"[1]")}, "BadClusterOptions"),
        ({"eaves": ClusterExtension(api_address="vip")}, "BadClusterAddress"),
    ],
)
def test_a_wrong_field_is_absence_but_no_departure(changes: dict[str, object], code: str) -> None:
    desired = parse(cluster_of(**changes))
    assert desired.cluster is None
    assert desired.is_cluster_refused
    assert codes_of(desired) == [code]


@pytest.mark.parametrize("token", ["", " ", "two words"])
def test_a_token_that_is_none_is_refused_without_being_shown(token: str) -> None:
    desired = parse(cluster_of(), token=token)
    assert desired.is_cluster_refused
    assert "words" not in str(desired.problems)


def test_a_token_that_cannot_be_decrypted_is_no_departure() -> None:
    config = want_config()
    config.cluster.CopyFrom(cluster_of())
    desired = parse_config(config, "hash", lambda _: b"\xff\xff")
    assert desired.is_cluster_refused
    assert codes_of(desired) == ["DecryptionFailed"]


def test_an_eaves_controller_says_all() -> None:
    extension = ClusterExtension(
        name="shop-17",
        namespace="default",
        version="v1.34.2+k3s1",
        binary_image_id="A",
        bundle_image_ids=["B"],
        next_version="v1.34.3+k3s1",
        next_binary_image_id="C",
        next_bundle_image_ids=["D"],
        config=json.dumps({"node-label": ["tier=edge"]}).encode(),
        disable=["traefik", "traefik"],
        api_address="10.17.0.10",
        members=[
            ClusterMember(id="m1", name="a", address="10.17.0.11", is_server=True),
            ClusterMember(id="m2", name="b", address="10.17.0.12", is_server=True, want="Removed"),
        ],
        is_leader=True,
        add_ons=[ClusterAddOn(name="metrics", digest="d", manifest="kind: A")],
        backup=ClusterBackup(schedule="0 2 * * *", keep=7, datastore_id=STORE_ID, prefix="/shop/"),
        orders=ClusterOrders(snapshot=1, restore=2, restore_snapshot="s", rotate_certificates=3, rotate_token=4),
        node_labels={"site": "17"},
        initialized=True,
    )
    found = parsed(cluster_of(eaves=extension), ClusterSecrets(former_token="former"))
    assert (found.name, found.version, found.binary_image_id) == ("shop-17", "v1.34.2+k3s1", "a")
    assert (found.next_version, found.next_binary_image_id, found.next_bundle_image_ids) == (
        "v1.34.3+k3s1",
        "c",
        ("d",),
    )
    assert found.disable == ("traefik",)
    assert [member.want for member in found.members] == [MemberWish.READY, MemberWish.REMOVED]
    assert [member.name for member in found.servers] == ["a"]
    assert found.backup.prefix == "shop"
    assert found.backup.store is not None
    assert found.orders.rotate_token == 4
    assert found.former_token.reveal() == "former"
    assert found.is_native
    assert not found.is_first


def test_what_is_wrong_inside_is_left_out_and_told() -> None:
    extension = ClusterExtension(
        members=[ClusterMember(name="a", address="nowhere"), ClusterMember(name="b", address="10.0.0.1", want="Odd")],
        add_ons=[ClusterAddOn(name="../../etc/passwd", manifest="a")],
        backup=ClusterBackup(datastore_id="unknown", prefix="../up"),
        next_version="latest",
        next_binary_image_id="C",
    )
    desired = parse(cluster_of(eaves=extension))
    assert desired.cluster is not None
    assert desired.cluster.members == ()
    assert desired.cluster.add_ons == ()
    assert desired.cluster.backup.prefix == ""
    assert desired.cluster.next_version == ""
    assert codes_of(desired) == [
        "BadVersion",
        "BadMember",
        "BadMember",
        "BadAddOn",
        "DatastoreMissing",
        "BadBackupPrefix",
    ]


def test_items_of_eve_choose_version_and_override() -> None:
    override = base64.b64encode(b"disable: [traefik]\n").decode()
    found = parsed(cluster_of(), items={"k3s.version": "v1.33.1+k3s1", "k3s.config.override": override})
    assert found.version == "v1.33.1+k3s1"
    assert found.override == "disable: [traefik]\n"


def test_an_override_that_is_no_base64_is_left_out() -> None:
    desired = parse(cluster_of(), items={"k3s.config.override": "%%%"})
    assert desired.cluster is not None
    assert desired.cluster.override == ""
    assert codes_of(desired) == ["BadClusterOptions"]


def test_a_worker_never_leads_nor_is_first() -> None:
    found = parsed(cluster_of(is_worker_node=True, eaves=ClusterExtension(is_leader=True)))
    assert not found.is_server
    assert not found.is_leader
    assert not found.is_first
