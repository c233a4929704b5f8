"""A node's HardwareModel in its config."""

from __future__ import annotations

from typing import Any

from eaves.controller.compile.model import CompiledConfig, NodeInputs, ObjectKey
from eaves.controller.compile.node import compile_node
from eaves.node.desired.draft import Draft
from eaves.node.desired.hardware import parse_hardware
from eaves.testing.objects import make_edgenode
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.evecommon import devmodelcommon_pb2 as common

BOX = [
    {"name": "eth0", "type": "Ethernet", "interface": "enp2s0", "label": "LAN 1"},
    {"name": "eth1", "type": "Ethernet", "pciAddress": "0000:03:00.0", "group": "lan2"},
    {"name": "com1", "type": "Serial", "serialDevice": "/dev/ttyS0", "group": "com1"},
    {"name": "stick", "type": "USBDevice", "usbAddress": "1:2", "group": "stick", "parentGroup": "usb"},
    {"name": "gpu", "type": "Other", "cdiDevice": "nvidia.com/gpu=0", "group": "gpu"},
]


def make_model(devices: list[dict[str, Any]], name: str = "box") -> dict[str, Any]:
    return {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "HardwareModel",
        "metadata": {"name": name, "uid": "60000000-0000-4000-8000-000000000001"},
        "spec": {"devices": devices},
    }


def compile_with(*models: dict[str, Any], previous: EdgeDevConfig | None = None, **spec: Any) -> CompiledConfig:
    return compile_node(
        NodeInputs(edgenode=make_edgenode(model="box", **spec), hardware_models=models, previous=previous)
    )


def test_members_carry_type_group_addresses_and_usage() -> None:
    found = {member.logicallabel: member for member in compile_with(make_model(BOX)).config.deviceIoList}
    assert list(found) == ["com1", "eth0", "eth1", "gpu", "stick"]
    assert (found["eth0"].phylabel, found["eth0"].usage) == ("LAN 1", common.PhyIoUsageMgmtAndApps)
    assert (found["eth1"].ptype, found["eth1"].assigngrp) == (common.PhyIoNetEth, "lan2")
    assert dict(found["eth1"].phyaddrs) == {"pcilong": "0000:03:00.0"}
    assert found["eth1"].usage == common.PhyIoUsageDedicated
    assert dict(found["com1"].phyaddrs) == {"serial": "/dev/ttyS0"}
    assert (found["stick"].parentassigngrp, dict(found["stick"].phyaddrs)) == ("usb", {"usbaddr": "1:2"})
    assert dict(found["gpu"].cbattr) == {"cdi": "nvidia.com/gpu=0"}


def test_a_node_understands_what_the_controller_writes() -> None:
    draft = Draft(lambda _: b"")
    members = {
        member.label: member for member in parse_hardware(compile_with(make_model(BOX)).config.deviceIoList, draft)
    }
    assert draft.problems == []
    assert members["gpu"].cdi_name == "nvidia.com/gpu=0"
    assert members["com1"].serial_path == "/dev/ttyS0"
    assert (members["eth0"].is_kept, members["eth1"].is_kept) == (True, False)


def test_an_uplink_takes_its_interface_from_the_model() -> None:
    config = compile_with(make_model(BOX), uplinks=[{"name": "eth0"}]).config
    (member,) = [member for member in config.deviceIoList if member.logicallabel == "eth0"]
    assert (member.phyaddrs["ifname"], member.phylabel, member.assigngrp) == ("enp2s0", "LAN 1", "eth0")
    (adapter,) = config.systemAdapterList
    assert (adapter.name, adapter.lowerLayerName) == ("eth0", "eth0")


def test_an_uplink_beside_the_model_is_added() -> None:
    config = compile_with(make_model(BOX), uplinks=[{"name": "lte", "interface": "wwan0"}]).config
    assert "lte" in [member.logicallabel for member in config.deviceIoList]


def test_model_that_does_not_exist_is_a_problem_and_watched_for() -> None:
    compiled = compile_with()
    (problem,) = compiled.problems
    assert (problem.kind, problem.reason) == ("EdgeNode", "HardwareModelNotFound")
    assert ObjectKey("HardwareModel", "", "box") in compiled.touched


def test_model_that_went_leaves_the_device_its_ports() -> None:
    before = compile_with(make_model(BOX), uplinks=[{"name": "eth0"}]).config
    after = compile_with(previous=before, uplinks=[{"name": "eth0"}]).config
    assert after.deviceIoList == before.deviceIoList
    assert after.systemAdapterList == before.systemAdapterList
    assert after.networks == before.networks
