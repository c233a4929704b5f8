"""What holds for any fleet: same input same bytes, in any order; secrets never in the clear; every reference has its target."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from eaves.controller.compile.encode import encode_config
from eaves.controller.compile.model import NodeInputs
from eaves.controller.compile.node import compile_node
from eaves.testing.device_cipher import DeviceCipher
from eaves.testing.objects import (
    make_app,
    make_configmap,
    make_datastore,
    make_edgenode,
    make_network,
    make_secret,
    make_snapshot,
    make_volume,
)
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig

DEVICE = DeviceCipher()
MARKER = "hunter2-do-not-tell"

names = st.sampled_from(["a", "b", "c", "missing"])
env = st.one_of(
    st.builds(lambda value: {"value": value}, st.sampled_from(["x", MARKER, f"two\n{MARKER}", ""])),
    st.builds(lambda name: {"valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}}, names),
    st.builds(lambda name: {"valueFrom": {"configMapKeyRef": {"name": name, "key": "k", "optional": True}}}, names),
)
ports = st.lists(
    st.fixed_dictionaries({"port": st.integers(1, 9), "nodePort": st.integers(8000, 8003)}),
    max_size=2,
    unique_by=lambda p: p["port"],
)
networks = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from(["default", "second", "missing"]), "ports": ports}),
    max_size=2,
    unique_by=lambda n: n["name"],
)
app_specs: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "env": st.lists(st.tuples(st.sampled_from(["A", "B"]), env), max_size=2, unique_by=lambda e: e[0]).map(
            lambda items: [{"name": name, **rest} for name, rest in items]
        ),
        "networks": networks,
        "image": st.sampled_from(["web", "registry.example/web:1", "BAD"]),
        "volumes": st.lists(st.sampled_from(["d", "e"]), max_size=2, unique=True).map(
            lambda found: [{"name": name, "mountPath": f"/{name}"} for name in found]
        ),
        "files": st.sampled_from([[], [{"path": "/f", "secretKeyRef": {"name": "a", "key": "k"}}]]),
        "running": st.booleans(),
    },
    optional={"datastoreRef": st.fixed_dictionaries({"name": st.sampled_from(["registry", "missing"])})},
)

vm_specs: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "type": st.just("VirtualMachine"),
        "image": st.sampled_from(["registry.example/plc:1", f"plc.vmdk@sha256:{'ab' * 32}", "plc.img"]),
        "networks": networks,
        "vm": st.fixed_dictionaries(
            {},
            optional={
                "deviceModel": st.sampled_from(["Virtio", "Legacy"]),
                "vnc": st.just({"passwordSecretKeyRef": {"name": "short", "key": "k"}}),
                "cloudInit": st.fixed_dictionaries(
                    {},
                    optional={
                        "userData": st.just(MARKER),
                        "metaData": st.just(MARKER),
                        "networkConfigFrom": st.builds(
                            lambda name: {"secretKeyRef": {"name": name, "key": "k"}}, names
                        ),
                    },
                ),
            },
        ),
        "volumes": st.lists(st.sampled_from(["d", "e"]), max_size=2, unique=True).map(
            lambda found: [{"name": name} for name in found]
        ),
    },
    optional={
        "datastoreRef": st.fixed_dictionaries({"name": st.sampled_from(["registry", "missing"])}),
        "rollback": st.builds(lambda name: {"snapshotName": name, "counter": 1}, names),
    },
)


@st.composite
def fleets(draw: st.DrawFn) -> dict[str, Any]:
    specs = draw(st.lists(st.one_of(app_specs, vm_specs), max_size=4))
    return {
        "edgenode": make_edgenode(approved=draw(st.booleans()), maintenance=draw(st.booleans())),
        "apps": [make_app(f"app{index}", **spec) for index, spec in enumerate(specs)],
        "networks": [
            make_network(),
            make_network("second", subnet=draw(st.sampled_from(["10.160.2.0/24", "10.160.0.0/16", ""]))),
        ],
        "secrets": [
            *(make_secret(name, k=MARKER, username=MARKER, password=MARKER) for name in ("a", "b")),
            make_secret("short", k=MARKER[:8]),
        ],
        "snapshots": [make_snapshot(name, appName=f"app{index}") for index, name in enumerate(("a", "b", "c"))],
        "configmaps": [make_configmap(name, k=MARKER) for name in ("a", "b")],
        "datastores": [make_datastore(credentialsSecretRef={"name": "a"})],
        "volumes": [make_volume(), make_volume("far", nodeName="other")],
    }


def compile_fleet(fleet: dict[str, Any], **more: Any) -> Any:
    return compile_node(NodeInputs(**fleet, cipher=DEVICE.node_cipher, **more))


@settings(max_examples=60, deadline=None)
@given(fleets(), st.randoms(use_true_random=False))
def test_order_of_the_input_does_not_show(fleet: dict[str, Any], random: Any) -> None:
    shuffled = {
        key: random.sample(value, len(value)) if isinstance(value, list) else value for key, value in fleet.items()
    }
    one, two = compile_fleet(fleet), compile_fleet(msgspec.json.decode(msgspec.json.encode(shuffled)))
    assert encode_config(one.config) == encode_config(two.config)
    assert one.problems == two.problems
    assert one.touched == two.touched


@settings(max_examples=60, deadline=None)
@given(fleets())
def test_secrets_are_never_in_the_clear(fleet: dict[str, Any]) -> None:
    result = compile_fleet(fleet)
    data = encode_config(result.config)
    assert MARKER[:8].encode() not in data
    encoded = base64.b64encode(MARKER.encode()).rstrip(b"=")[:-1]
    assert encoded not in data
    assert MARKER not in repr(result.problems)


def check_references(config: EdgeDevConfig) -> None:
    """What a device needs to find, and what crashes one when it is not there."""
    networks = {network.uuidandversion.uuid for network in config.networkInstances}
    volumes = {volume.uuid: volume for volume in config.volumes}
    trees = {tree.uuid: tree for tree in config.contentInfo}
    datastores = {datastore.id for datastore in config.datastores}
    contexts = {context.contextId for context in config.cipherContexts}
    assert "" not in networks
    for app in config.apps:
        assert app.HasField("uuidandversion")
        assert app.uuidandversion.uuid
        assert app.HasField("fixedresources")
        assert app.fixedresources.memory > 0
        assert {vif.networkId for vif in app.interfaces} <= networks
        for reference in app.volumeRefList:
            assert volumes[reference.uuid].generationCount == reference.generationCount
        if app.HasField("cipherData"):
            assert app.cipherData.cipherContextId in contexts
        assert not app.userData
    used = {reference.uuid for app in config.apps for reference in app.volumeRefList}
    for volume in volumes.values():
        assert volume.origin.type
        # A volume that no app has may lack its image: it is there lest the device delete its data.
        if volume.origin.downloadContentTreeID and volume.uuid in used:
            assert volume.origin.downloadContentTreeID in trees
    for tree in trees.values():
        assert tree.ds_ids_list
        assert set(tree.ds_ids_list) <= datastores
    for datastore in config.datastores:
        assert not datastore.password
        assert not datastore.HasField("cipherData") or datastore.cipherData.cipherContextId in contexts


@settings(max_examples=60, deadline=None)
@given(fleets(), fleets())
def test_every_reference_has_its_target_also_after_a_change(before: dict[str, Any], after: dict[str, Any]) -> None:
    first = compile_fleet(before)
    check_references(first.config)
    check_references(compile_fleet(after, previous=first.config).config)


@settings(max_examples=60, deadline=None)
@given(fleets())
def test_every_app_is_in_the_config_or_has_a_problem(fleet: dict[str, Any]) -> None:
    result = compile_fleet(fleet)
    if not fleet["edgenode"]["spec"]["approved"]:
        assert not result.config.apps
        return
    sent = {app.displayname for app in result.config.apps}
    told = {problem.name for problem in result.problems if problem.kind == "App"}
    assert sent.isdisjoint(told)
    assert sent | told == {app["metadata"]["name"] for app in fleet["apps"]}
    ports = [
        match.value
        for app in result.config.apps
        for vif in app.interfaces
        for acl in vif.acls
        if acl.actions
        for match in acl.matches
        if match.type == "lport"
    ]
    assert len(ports) == len(set(ports))
