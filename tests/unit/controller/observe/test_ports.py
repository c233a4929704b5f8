"""The configs of a device's ports in its status."""

from __future__ import annotations

from typing import Any

from eaves.testing.objects import make_edgenode
from eaves.testing.observed_objects import ObservedObjects
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info.info_pb2 import DevicePort, DevicePortStatus, ZInfoMsg

NOW = 1795543200.0


def message(*configs: DevicePortStatus, index: int = 0) -> ZInfoMsg:
    found = ZInfoMsg(ztype=info_pb2.ZiDevice)
    found.dinfo.eaves.daemon_version = "0.1.0"
    found.dinfo.systemAdapter.currentIndex = index
    found.dinfo.systemAdapter.status.extend(configs)
    return found


def config(key: str = "controller", *, failed: int = 0, worked: int = 0, error: str = "") -> DevicePortStatus:
    found = DevicePortStatus(key=key, lastError=error, ports=[DevicePort(name=key, ifname="eth0", isMgmt=True)])
    if failed:
        found.lastFailed.seconds = failed
    if worked:
        found.lastSucceeded.seconds = worked
    return found


def condition(node: ObservedObjects) -> tuple[Any, ...]:
    found = node.condition("EdgeNode", "", "PortsApplied")
    return found["status"], found["reason"]


def test_a_config_in_force() -> None:
    node = ObservedObjects(make_edgenode())
    events = node.tell(message(config(worked=10)), NOW)
    assert condition(node) == ("True", "Applied")
    assert "PortsApplied" in [event.reason for event in events]
    assert not [event for event in node.tell(message(config(worked=20)), NOW) if event.reason == "PortsApplied"]


def test_a_fall_back_says_why_and_to_what() -> None:
    node = ObservedObjects(make_edgenode())
    node.tell(message(config(worked=10)), NOW)
    bad = config(failed=20, error="wan: no answer of DHCP")
    events = node.tell(message(bad, config("controller", worked=10), index=1), NOW)
    assert condition(node) == ("False", "FellBack")
    text = node.condition("EdgeNode", "", "PortsApplied")["message"]
    assert "wan: no answer of DHCP" in text
    assert "it went back to the config that worked last" in text
    (event,) = [event for event in events if event.reason == "PortsFellBack"]
    assert event.message == text


def test_a_fall_back_to_what_the_host_had() -> None:
    node = ObservedObjects(make_edgenode())
    node.tell(message(config(failed=20, error="bad"), config("host"), index=1), NOW)
    assert "what its host had" in node.condition("EdgeNode", "", "PortsApplied")["message"]
    assert node.status("EdgeNode")["ports"][0]["name"] == "host", "the ports are those in force"


def test_a_trial_under_way() -> None:
    node = ObservedObjects(make_edgenode())
    node.tell(message(config(), config("host"), index=1), NOW)
    assert condition(node) == ("Unknown", "Testing")


def test_ports_that_work_in_part() -> None:
    node = ObservedObjects(make_edgenode())
    node.tell(message(config(worked=10, error="lte: no modem")), NOW)
    assert condition(node) == ("True", "AppliedInPart")


def test_an_eve_device_that_fell_back() -> None:
    node = ObservedObjects(make_edgenode())
    told = message(config("zedagent", failed=20, error="no DNS"), config("lastresort", worked=10), index=1)
    told.dinfo.ClearField("eaves")
    node.tell(told, NOW)
    assert condition(node) == ("False", "FellBack")


def test_ports_that_nobody_manages_have_no_condition() -> None:
    node = ObservedObjects(make_edgenode())
    node.tell(message(config(worked=10)), NOW)
    node.tell(message(config("eaves")), NOW)
    assert "PortsApplied" not in [entry["type"] for entry in node.status("EdgeNode")["conditions"]]
    node.tell(message(config("host")), NOW)
    assert "PortsApplied" not in [entry["type"] for entry in node.status("EdgeNode")["conditions"]]
