"""Whole configs: what every device gets, what is left out, and why."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.controller.compile.encode import config_hash, encode_config
from eaves.controller.compile.model import Effect, NodeInputs, ObjectKey
from eaves.controller.compile.node import compile_node
from eaves.testing.device_cipher import DeviceCipher
from eaves.testing.objects import (
    DEVICE_ID,
    make_app,
    make_configmap,
    make_edgenode,
    make_network,
    make_secret,
    make_volume,
    uid_of,
)

SECRET_ENV = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "web", "key": "token"}}}]


@pytest.fixture(scope="module")
def device() -> DeviceCipher:
    return DeviceCipher()


def inputs(device: DeviceCipher | None = None, **changes: Any) -> NodeInputs:
    given: dict[str, Any] = {
        "edgenode": make_edgenode(),
        "networks": [make_network()],
        "controller_certs_hash": "certs-1",
        "cipher": device.node_cipher if device else None,
    }
    return NodeInputs(**(given | changes))


def reasons(given: NodeInputs) -> list[tuple[str, str, str]]:
    return [(problem.name, problem.reason, problem.effect) for problem in compile_node(given).problems]


def test_the_baseline_has_what_a_device_needs_to_stay_manageable() -> None:
    edgenode = make_edgenode(approved=False, rebootCounter=3, properties={"timer.config.interval": "10"})
    config = compile_node(inputs(edgenode=edgenode)).config
    assert config.id.uuid == DEVICE_ID
    assert config.id.version == "1"
    assert config.reboot.counter == 3
    assert config.HasField("shutdown")
    assert config.controllercert_confighash == "certs-1"
    assert config.device_name == config.eaves.node_name == "store-17"
    items = {item.key: item.value for item in config.configItems}
    assert items == {"newlog.allow.fastupload": "true", "timer.config.interval": "10"}
    assert not config.HasField("config_timestamp")


def test_a_device_that_is_not_approved_gets_no_workload_and_no_secret(device: DeviceCipher) -> None:
    app = make_app(env=SECRET_ENV, volumes=[{"name": "data", "mountPath": "/data"}])
    given = inputs(
        device, edgenode=make_edgenode(approved=False), apps=[app], secrets=[make_secret("web", token="t0p")]
    )
    config = compile_node(given).config
    for part in (config.apps, config.networkInstances, config.contentInfo, config.datastores, config.cipherContexts):
        assert not part
    # Approval may come back: what is on the disk stays.
    assert [volume.displayName for volume in config.volumes] == ["web-data"]


def test_maintenance_stops_apps_and_keeps_all_they_have() -> None:
    running = compile_node(inputs(apps=[make_app()])).config
    config = compile_node(inputs(apps=[make_app()], edgenode=make_edgenode(maintenance=True))).config
    assert config.maintenance_mode
    assert [app.activate for app in config.apps] == [False]
    assert list(config.volumes) == list(running.volumes)


def test_an_app_comes_with_all_that_it_refers_to(device: DeviceCipher) -> None:
    app = make_app(env=SECRET_ENV, volumes=[{"name": "data", "mountPath": "/data"}])
    result = compile_node(inputs(device, apps=[app], secrets=[make_secret("web", token="t0p")]))
    config = result.config
    assert result.problems == ()
    sent = config.apps[0]
    assert sent.uuidandversion.uuid == app["metadata"]["uid"]
    assert sent.HasField("fixedresources")
    volumes = {volume.uuid: volume for volume in config.volumes}
    for reference in sent.volumeRefList:
        assert volumes[reference.uuid].generationCount == reference.generationCount
    trees = {tree.uuid: tree for tree in config.contentInfo}
    root = volumes[sent.volumeRefList[0].uuid]
    assert trees[root.origin.downloadContentTreeID].ds_ids_list == [config.datastores[0].id]
    assert [vif.networkId for vif in sent.interfaces] == [config.networkInstances[0].uuidandversion.uuid]
    assert sent.cipherData.cipherContextId == config.cipherContexts[0].contextId


def test_every_touched_object_is_named_whether_it_exists_or_not(device: DeviceCipher) -> None:
    app = make_app(
        env=SECRET_ENV, envFrom=[{"configMapRef": {"name": "none", "optional": True}}], datastoreRef={"name": "gone"}
    )
    touched = compile_node(inputs(device, apps=[app], secrets=[make_secret("web", token="t")])).touched
    assert touched == {
        ObjectKey("EdgeNode", "", "store-17"),
        ObjectKey("App", "default", "web"),
        ObjectKey("Network", "default", "default"),
        ObjectKey("Secret", "default", "web"),
        ObjectKey("ConfigMap", "default", "none"),
        ObjectKey("Datastore", "default", "gone"),
    }


@pytest.mark.parametrize(
    ("app", "reason"),
    [
        ({"env": SECRET_ENV}, "SecretNotFound"),
        ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "none"}}}]}, "SecretKeyNotFound"),
        (
            {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "none"}}}]},
            "ConfigMapKeyNotFound",
        ),
        ({"envFrom": [{"configMapRef": {"name": "none"}}]}, "ConfigMapNotFound"),
        (
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "binary"}}}]},
            "InvalidVariableValue",
        ),
        ({"files": [{"path": "/a", "secretKeyRef": {"name": "none", "key": "k"}}]}, "SecretNotFound"),
        ({"networks": [{"name": "none"}]}, "NetworkNotFound"),
        ({"datastoreRef": {"name": "none"}}, "DatastoreNotFound"),
        ({"volumes": [{"name": "v", "mountPath": "/v", "volumeName": "none"}]}, "VolumeNotFound"),
        ({"volumes": [{"name": "v", "mountPath": "/v", "volumeName": "far"}]}, "VolumeElsewhere"),
        ({"networks": [{"name": "default", "address": "10.9.9.9"}]}, "AddressInvalid"),
        ({"networks": [{"name": "default", "address": "10.160.1.1"}]}, "AddressInvalid"),
        ({"networks": [{"name": "default", "address": "10.160.1.100"}]}, "AddressInvalid"),
        ({"type": "VirtualMachine", "image": "plc.img", "datastoreRef": {"name": "f"}}, "ImageFormatMissing"),
        ({"image": "Web"}, "InvalidImage"),
        ({"running": "yes"}, "Unreadable"),
    ],
)
def test_an_impossible_app_is_held_back_and_the_good_one_beside_it_is_sent(
    device: DeviceCipher, app: dict[str, Any], reason: str
) -> None:
    given = inputs(
        device,
        apps=[make_app("bad", **app), make_app("good")],
        secrets=[make_secret("s", binary=b"\xff")],
        configmaps=[make_configmap("c", a="1")],
        volumes=[make_volume("far", nodeName="store-18")],
    )
    assert reasons(given) == [("bad", reason, Effect.OMITTED)]
    assert [sent.displayname for sent in compile_node(given).config.apps] == ["good"]


def test_secrets_wait_for_the_device_to_publish_its_key() -> None:
    given = inputs(None, apps=[make_app("plain"), make_app("secretive", env=[{"name": "A", "value": "1"}])])
    assert reasons(given) == [("secretive", "AwaitingDeviceKey", Effect.OMITTED)]


def test_data_of_an_app_that_is_held_back_stays() -> None:
    app = make_app(env=SECRET_ENV, volumes=[{"name": "data", "mountPath": "/data", "size": "2Gi"}])
    config = compile_node(inputs(apps=[app])).config
    assert [(volume.displayName, volume.maxsizebytes) for volume in config.volumes] == [("web-data", 2 << 30)]


def test_apps_of_other_nodes_are_none_of_this_config() -> None:
    result = compile_node(inputs(apps=[make_app(nodeName="elsewhere"), make_app("free", nodeName="")]))
    assert not result.config.apps
    assert result.problems == ()


def test_an_app_that_is_being_deleted_is_gone() -> None:
    given = inputs(apps=[make_app(metadata={"deletionTimestamp": "2026-11-24T19:00:00Z"})])
    result = compile_node(given)
    assert not result.config.apps
    assert not result.config.volumes
    assert result.problems == ()


def test_of_two_apps_that_want_one_port_the_older_gets_it() -> None:
    network = [{"name": "default", "ports": [{"port": 80, "nodePort": 8080}]}]
    older = make_app("z", networks=network)
    younger = make_app("a", networks=network, metadata={"creationTimestamp": "2026-11-24T19:00:00Z"})
    given = inputs(apps=[younger, older])
    assert reasons(given) == [("a", "Clash", Effect.OMITTED)]
    assert "default/z" in compile_node(given).problems[0].message


def test_of_two_networks_that_overlap_the_older_stays() -> None:
    other = make_network("other", subnet="10.160.0.0/16")
    other["metadata"]["creationTimestamp"] = "2026-11-24T19:00:00Z"
    apps = [make_app("one"), make_app("two", networks=[{"name": "other"}])]
    assert reasons(inputs(apps=apps, networks=[other, make_network()])) == [("two", "SubnetOverlap", Effect.OMITTED)]
    # The same networks are no trouble when only one of them is used.
    assert reasons(inputs(apps=apps[1:], networks=[other, make_network()])) == []


def test_a_network_without_a_subnet_is_not_ready() -> None:
    assert reasons(inputs(apps=[make_app()], networks=[make_network(subnet="")])) == [
        ("web", "SubnetMissing", Effect.OMITTED)
    ]


def test_volume_objects_are_made_without_any_app() -> None:
    given = inputs(volumes=[make_volume(size="3Gi", encryption="None"), make_volume("far", nodeName="other")])
    result = compile_node(given)
    assert [(volume.uuid, volume.maxsizebytes, volume.clear_text) for volume in result.config.volumes] == [
        (uid_of("Volume", "data"), 3 << 30, True)
    ]
    assert ObjectKey("Volume", "default", "data") in result.touched


def test_a_volume_object_from_an_image() -> None:
    result = compile_node(inputs(volumes=[make_volume(source={"image": "shop/seed:1"})]))
    assert result.config.volumes[0].origin.downloadContentTreeID == result.config.contentInfo[0].uuid
    bad = compile_node(
        inputs(
            volumes=[
                make_volume(
                    source={"image": "seed.img@sha256:" + "ab" * 32, "format": "Raw", "datastoreRef": {"name": "x"}}
                )
            ]
        )
    )
    assert [problem.reason for problem in bad.problems] == ["DatastoreNotFound"]


def test_names_that_are_no_variables_are_left_out_and_told(device: DeviceCipher) -> None:
    given = inputs(
        device,
        apps=[make_app(envFrom=[{"configMapRef": {"name": "c"}}])],
        configmaps=[make_configmap("c", **{"1st": "a", "B": "b"})],
    )
    assert reasons(given) == [("web", "InvalidVariableNames", Effect.PARTIAL)]
    config = compile_node(given).config
    assert device.decrypt(config.apps[0].cipherData).protectedUserData == "Qj1i"


def test_an_unreadable_node_still_gets_a_baseline() -> None:
    edgenode = make_edgenode(rebootCounter="many")
    result = compile_node(inputs(edgenode=edgenode))
    assert [problem.reason for problem in result.problems] == ["Unreadable"]
    assert result.config.id.uuid == DEVICE_ID


def test_the_hash_covers_all_but_the_timestamp() -> None:
    config = compile_node(inputs(apps=[make_app()])).config
    plain = config_hash(config)
    assert plain == compile_node(inputs(apps=[make_app()])).hash
    config.config_timestamp.seconds = 5
    assert config_hash(config) == plain
    assert config.HasField("config_timestamp")
    config.apps[0].activate = False
    assert config_hash(config) != plain
    assert config_hash(compile_node(inputs(controller_certs_hash="certs-2")).config) != config_hash(
        compile_node(inputs()).config
    )


def test_bytes_are_the_same_for_the_same_config() -> None:
    edgenode = make_edgenode(uplinks=[{"name": "eth0"}])
    assert encode_config(compile_node(inputs(edgenode=edgenode)).config) == encode_config(
        compile_node(inputs(edgenode=edgenode)).config
    )


def test_a_device_that_runs_eve_gets_no_property_of_ours() -> None:
    properties = {"eaves.download.budget.day": "500", "timer.config.interval": "30"}
    for runs_eve in (False, True):
        status = {"versions": {"eve": "16.0.0"}} if runs_eve else None
        node = make_edgenode(properties=properties, status=status)
        config = compile_node(NodeInputs(edgenode=node)).config
        sent = {item.key for item in config.configItems}
        assert "timer.config.interval" in sent
        assert ("eaves.download.budget.day" in sent) is not runs_eve
