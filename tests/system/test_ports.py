"""A node that sets up its ports as its EdgeNode says: the real daemon with a real NetworkManager, on a machine of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eaves.testing.network_manager import DhcpRouter, ManagedHost
from eaves.testing.port_sections import CONTROLLER
from eaves.testing.relay import Relay
from eaves.testing.system import ControllerHost, NodeHost

pytestmark = pytest.mark.system

TRIAL_S = 15
STATIC = {"name": "wan0", "addresses": ["10.77.0.9/24"], "gateway": "10.77.0.1"}
BAD = {"name": "wan0", "addresses": ["10.99.0.9/24"], "gateway": "10.99.0.1"}


class Site:
    """A box on a cable to a router, behind which the controller is. The node knows it by its address there."""

    def __init__(self, box: ManagedHost, controller: ControllerHost, node: NodeHost) -> None:
        self.box = box
        self.controller = controller
        self.node = node

    def set_uplinks(self, *uplinks: dict[str, Any]) -> None:
        self.controller.operator.patch("edgenodes", self.node.name, {"spec": {"uplinks": list(uplinks)}}, "")

    def condition(self, kind: str = "PortsApplied") -> dict[str, Any]:
        return dict(self.controller.operator.condition("edgenodes", self.node.name, kind))

    def wait_condition(self, status: str, reason: str) -> str:
        def check() -> bool:
            found = self.condition()
            return (found.get("status"), found.get("reason")) == (status, reason)

        self.node.wait(f"PortsApplied to be {status} for {reason}", check, 120)
        return str(self.condition()["message"])

    def wait_address(self, address: str) -> None:
        self.node.wait(f"the address {address}", lambda: address in self.box.addresses("wan0"), 120)


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    controller = ControllerHost(folder / "ports")
    text = controller.settings_file.read_text()
    controller.settings_file.write_text(text.replace('"localhost"]', f'"localhost", "{CONTROLLER}"]'))
    with ManagedHost() as box, DhcpRouter(box.namespace, "wan0", "10.77.0") as router, controller:
        router.namespace.batch(f"addr add {CONTROLLER}/32 dev lo")
        router.start_dhcp()
        box.namespace.batch("addr add 10.77.0.2/24 dev wan0", "route add default via 10.77.0.1 dev wan0")
        relay = Relay(router.namespace, controller.gateway_port, CONTROLLER)
        node = NodeHost(folder, controller, prefix=box.namespace.argv())
        node.environment |= {
            "DBUS_SYSTEM_BUS_ADDRESS": box.address,
            "EAVES_NODE_MANAGE_PORTS": "true",
            "EAVES_NODE_PORT_TRIAL_S": str(TRIAL_S),
        }
        node.daemon.environment |= node.environment
        try:
            node.join()
            text = node.settings_file.read_text()
            node.settings_file.write_text(text.replace("127.0.0.1:", f"{CONTROLLER}:"))
            node.start()
            node.wait_ready()
            yield Site(box, controller, node)
        finally:
            node.remove()
            relay.close()
    shutil.rmtree(controller.folder, ignore_errors=True)


def test_a_new_config_of_the_ports_is_tried_and_a_bad_one_goes_back_by_itself(site: Site) -> None:
    assert not site.condition(), "nobody said anything about ports yet"
    site.set_uplinks(STATIC)
    site.wait_condition("True", "Applied")
    assert "10.77.0.9/24" in site.box.addresses("wan0")
    assert "10.77.0.2/24" not in site.box.addresses("wan0"), "what somebody had set by hand is replaced"
    (port,) = site.controller.operator.get("edgenodes", site.node.name, "")["status"]["ports"]  # type: ignore[index]
    assert (port["name"], port["addresses"], port["management"]) == ("wan0", ["10.77.0.9"], True)

    site.set_uplinks(BAD)
    message = site.wait_condition("False", "FellBack")
    assert "wan0: the controller does not answer" in message
    site.wait_address("10.77.0.9/24")
    assert "10.99.0.9" not in site.box.addresses("wan0")
    events = site.controller.kubectl.ok("get", "events", "-A", "--field-selector=reason=PortsFellBack", "-o", "name")
    assert events.out.strip()

    site.set_uplinks({"name": "wan0"})
    site.wait_condition("True", "Applied")
    site.node.wait("an address of DHCP", lambda: "10.77.0.1" in site.box.addresses("wan0"))

    site.node.daemon.stop()
    site.node.reset()
    assert "eaves-" not in site.box.profiles()


def test_a_daemon_killed_in_a_trial_leaves_the_network_as_it_was(site: Site) -> None:
    site.set_uplinks(STATIC)
    site.wait_condition("True", "Applied")
    site.set_uplinks(BAD)
    site.wait_address("10.99.0.9/24")
    site.node.daemon.kill()
    site.wait_address("10.77.0.9/24")
    site.node.start()
    message = site.wait_condition("False", "FellBack")
    assert "the node daemon ended" in message
