"""What EVE devices are told beyond what Eaves nodes need (reference: eve-api.md 3.3, VmConfig and NetworkAdapter)."""

from __future__ import annotations

from typing import Any

from eaves.controller.compile.eve import LAST_DISPLAY, Displays
from eaves.controller.compile.model import NodeInputs
from eaves.controller.compile.node import compile_node
from eaves.testing.objects import (
    make_app,
    make_edgenode,
    make_network,
    make_object,
    make_vm,
    uid_of,
)
from eaves.wire.pb.config.appconfig_pb2 import AppInstanceConfig
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.netinst_pb2 import PortProbe
from eaves.wire.pb.evecommon.devmodelcommon_pb2 import PhyIoNetEth, PhyIoNoop

EVE = {"versions": {"eve": "14.5.0", "os": "EVE-OS 14.5.0"}}
WITH_SCREEN: dict[str, Any] = {"vm": {"vnc": {}}}


def compile_for(
    status: dict[str, Any], *apps: dict[str, Any], node: dict[str, Any] | None = None, **given: Any
) -> EdgeDevConfig:
    edgenode = make_edgenode(status=status, **(node or {}))
    networks = [make_network(), make_network("plant", subnet="10.9.0.0/24")]
    return compile_node(NodeInputs(edgenode=edgenode, apps=apps, networks=networks, **given)).config


def display_of(config: EdgeDevConfig, name: str) -> int:
    app = next(app for app in config.apps if app.displayname == name)
    assert app.fixedresources.enable_vnc
    return app.fixedresources.vncDisplay


def test_each_screen_of_an_eve_device_has_a_number_of_its_own_and_keeps_it() -> None:
    machines = [make_vm(f"vm{number}", **WITH_SCREEN) for number in range(40)]
    before = compile_for(EVE, *machines)
    numbers = {name: display_of(before, name) for name in (f"vm{number}" for number in range(40))}
    assert len(set(numbers.values())) == 40
    assert all(1 <= number <= LAST_DISPLAY for number in numbers.values())
    after = compile_for(EVE, *machines[20:], previous=before)
    assert all(display_of(after, f"vm{number}") == numbers[f"vm{number}"] for number in range(20, 40))


def test_more_screens_than_numbers_are_still_answered() -> None:
    displays = Displays(None)
    assert all(1 <= displays.take(f"app {number}") <= LAST_DISPLAY for number in range(150))


def test_an_eaves_node_needs_no_number() -> None:
    assert display_of(compile_for({}, make_vm("vm", **WITH_SCREEN)), "vm") == 0


def test_interfaces_of_an_eve_device_come_as_written_with_devices_after_them() -> None:
    device = {"name": "eth3", "type": "Ethernet", "group": "lan", "interface": "eth3", "usage": "Dedicated"}
    model = make_object("HardwareModel", "box", {"devices": [device]}, namespace="")
    app = make_app(networks=[{"name": "plant"}, {"name": "default"}], devices=[{"name": "lan"}])
    given: dict[str, Any] = {"node": {"model": "box"}, "hardware_models": [model]}

    config = app_of(compile_for(EVE, app, **given))
    assert config.fixedresources.enforce_network_interface_order
    assert [(vif.networkId, vif.interface_order) for vif in config.interfaces] == [
        (uid_of("Network", "plant"), 0),
        (uid_of("Network", "default"), 1),
    ]
    (adapter,) = config.adapters
    assert (adapter.name, adapter.type, adapter.interface_order) == ("lan", PhyIoNetEth, 2)

    plain = app_of(compile_for({}, app, **given))
    assert not plain.fixedresources.enforce_network_interface_order
    assert plain.adapters[0].type == PhyIoNoop


def test_a_resolver_of_the_other_family_does_not_cost_an_eve_device_its_network() -> None:
    app = make_app(networks=[{"name": "plant"}])
    network = make_network("plant", subnet="10.9.0.0/24", dns={"servers": ["192.0.2.53", "2001:db8::53"]})

    def resolvers(status: dict[str, Any]) -> list[str]:
        edgenode = make_edgenode(status=status)
        config = compile_node(NodeInputs(edgenode=edgenode, apps=[app], networks=[network])).config
        return list(config.networkInstances[0].ip.dns)

    assert resolvers(EVE) == ["192.0.2.53"]
    assert resolvers({}) == ["192.0.2.53", "2001:db8::53"]


def test_a_probe_of_a_named_host_does_not_cost_an_eve_device_its_network() -> None:
    app = make_app(networks=[{"name": "plant"}])

    def compile_probe(status: dict[str, Any], host: str) -> tuple[PortProbe, list[str]]:
        uplink = {"label": "uplink", "probe": {"gatewayPing": True, "host": host, "port": 443}}
        network = make_network("plant", subnet="10.9.0.0/24", uplink=uplink)
        compiled = compile_node(NodeInputs(edgenode=make_edgenode(status=status), apps=[app], networks=[network]))
        (route,) = compiled.config.networkInstances[0].static_routes
        return route.probe, [problem.message for problem in compiled.problems if problem.reason == "UnknownToEve"]

    probe, told = compile_probe(EVE, "probe.example.com")
    assert probe.enable_gw_ping
    assert not probe.HasField("custom_probe")
    assert "probe.example.com" in told[0]
    for status, host in ((EVE, "192.0.2.7"), ({}, "probe.example.com")):
        probe, told = compile_probe(status, host)
        assert (probe.custom_probe.probe_endpoint.host, told) == (host, [])


def app_of(config: EdgeDevConfig) -> AppInstanceConfig:
    (app,) = config.apps
    return app
