"""The hardware model of a config."""

from __future__ import annotations

import pytest

from eaves.node.desired.draft import Draft
from eaves.node.desired.hardware import parse_hardware
from eaves.node.desired.hardware_model import DesiredIo, IoKind
from eaves.wire.pb.config.devmodel_pb2 import PhysicalIO
from eaves.wire.pb.evecommon import devmodelcommon_pb2 as common
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock


def decrypt(_: CipherBlock) -> bytes:
    raise AssertionError


def test_addresses_and_group_of_a_member() -> None:
    member = PhysicalIO(
        ptype=common.PhyIoNetEth,
        phylabel="LAN2",
        logicallabel="eth1",
        assigngrp="lan2",
        parentassigngrp="pcie1",
        phyaddrs={"Ifname": "enp3s0", "PciLong": "0000:03:00.0"},
        usage=common.PhyIoUsageDedicated,
    )
    (found,) = parse_hardware([member], Draft(decrypt))
    assert found == DesiredIo(
        "eth1", IoKind.ETHERNET, "lan2", "pcie1", pci_address="0000:03:00.0", interface="enp3s0", is_kept=False,
        physical_label="LAN2", io_type=common.PhyIoNetEth, usage=common.PhyIoUsageDedicated,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("usage", "is_kept"),
    [
        (common.PhyIoUsageNone, False),
        (common.PhyIoUsageDedicated, False),
        (common.PhyIoUsageMgmtAndApps, True),
        (common.PhyIoUsageShared, True),
        (common.PhyIoUsageMgmtOnly, True),
    ],
)
def test_what_the_node_uses_itself_is_kept(usage: common.PhyIoMemberUsage.ValueType, is_kept: bool) -> None:
    member = PhysicalIO(ptype=common.PhyIoNetEth, logicallabel="eth0", phyaddrs={"ifname": "eth0"}, usage=usage)
    (found,) = parse_hardware([member], Draft(decrypt))
    assert found.is_kept is is_kept


def test_disabled_members_and_repeated_labels_are_left_out() -> None:
    members = [
        PhysicalIO(logicallabel="off", usage=common.PhyIoUsageDisabled),
        PhysicalIO(logicallabel="com1", ptype=common.PhyIoCOM, phyaddrs={"serial": "/dev/ttyS0"}),
        PhysicalIO(logicallabel="com1", ptype=common.PhyIoCOM, phyaddrs={"serial": "/dev/ttyS1"}),
    ]
    (found,) = parse_hardware(members, Draft(decrypt))
    assert found.serial_path == "/dev/ttyS0"


@pytest.mark.parametrize(
    "addresses",
    [
        {"pcilong": "../../etc"},
        {"pcilong": "02:00.0"},
        {"ifname": "a/b"},
        {"ifname": "eth0 up"},
        {"serial": "/dev/sda"},
        {"serial": "/dev/tty/../sda"},
        {"usbaddr": "1:2,hostbus=3"},
        {"usbproduct": "0951:1666:1"},
    ],
)
def test_address_that_is_none_is_a_problem_and_left_out(addresses: dict[str, str]) -> None:
    draft = Draft(decrypt)
    good = PhysicalIO(logicallabel="com1", ptype=common.PhyIoCOM, phyaddrs={"serial": "/dev/ttyS0"})
    found = parse_hardware([PhysicalIO(logicallabel="bad", phyaddrs=addresses), good], draft)
    assert [member.label for member in found] == ["com1"]
    (problem,) = draft.problems
    assert problem.code == "DeviceAddressInvalid"
    assert next(iter(addresses.values())) in problem.message


def test_cdi_name_of_the_free_attributes() -> None:
    member = PhysicalIO(
        ptype=common.PhyIoOther, logicallabel="gpu0", assigngrp="gpu", cbattr={"cdi": "nvidia.com/gpu=0"}
    )
    (found,) = parse_hardware([member], Draft(decrypt))
    assert found.cdi_name == "nvidia.com/gpu=0"
