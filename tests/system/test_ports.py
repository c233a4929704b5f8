"""A node that sets up its ports as its EdgeNode says: the real daemon with a real NetworkManager, on a machine of its own."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eaves.testing.network_manager import DhcpRouter, ManagedHost
from eaves.testing.port_sections import CONTROLLER, CONTROLLER_V6
from eaves.testing.registry import Registry
from eaves.testing.relay import Relay
from eaves.testing.system import ControllerHost, NodeHost, want_app, want_datastore

pytestmark = pytest.mark.system

TRIAL_S = 15
BRIDGE = "eaves-wan0"
PREFIX = "2001:db8:77"
STATIC = {"name": "wan0", "addresses": ["10.77.0.9/24"], "gateway": "10.77.0.1"}
BAD = {"name": "wan0", "addresses": ["10.99.0.9/24"], "gateway": "10.99.0.1"}


class Site:
    """A box on a cable to a router, behind which the controller is. The node knows it by its address there."""

    def __init__(self, box: ManagedHost, router: DhcpRouter, controller: ControllerHost, node: NodeHost) -> None:
        self.box = box
        self.router = router
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

    def own_address(self, interface: str) -> str:
        """The box's IPv4 address there."""
        return next((word for word in self.box.addresses(interface).split() if word.startswith("10.77.0.")), "")

    def is_settled(self, interface: str, address: str, *, profiles: int) -> bool:
        """Whether the box has its address there, and the trial that brought it is over: the former profiles are gone."""
        own = [name for name in self.box.profiles().splitlines() if name.startswith("eaves-")]
        return self.own_address(interface) == address and len(own) == profiles

    def told_addresses(self) -> list[str]:
        (port,) = self.controller.operator.get("edgenodes", self.node.name, "")["status"]["ports"]  # type: ignore[index]
        return list(port.get("addresses", []))

    def is_answered(self, *command: str) -> str:
        """What the neighbour on the cable gets to see."""
        return self.router.namespace.run("busybox", *command, check=False)

    def sees_host(self, address: str) -> bool:
        return "1 packets received" in self.is_answered("ping", "-c", "1", "-W", "2", address.partition("/")[0])


@pytest.fixture
def site(folder: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    is_v6 = getattr(request, "param", "") == "IPv6"
    address = CONTROLLER_V6 if is_v6 else CONTROLLER
    controller = ControllerHost(folder / f"ports-{secrets.token_hex(4)}")
    text = controller.settings_file.read_text()
    controller.settings_file.write_text(text.replace('"localhost"]', f'"localhost", "{address}"]'))
    with ManagedHost() as box, DhcpRouter(box.namespace, "wan0", "10.77.0") as router, controller:
        if is_v6:
            router.namespace.batch(f"addr add {address}/128 dev lo nodad", "addr del 10.77.0.1/24 dev lan")
            router.start_ipv6(PREFIX)
            box.namespace.batch(
                f"addr add {PREFIX}::2/64 dev wan0 nodad", f"route add default via {PREFIX}::1 dev wan0"
            )
        else:
            router.namespace.batch(f"addr add {address}/32 dev lo")
            router.start_dhcp()
            box.namespace.batch("addr add 10.77.0.2/24 dev wan0", "route add default via 10.77.0.1 dev wan0")
        relay = Relay(router.namespace, controller.gateway_port, address)
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
            node.settings_file.write_text(text.replace("127.0.0.1:", f"[{address}]:" if is_v6 else f"{address}:"))
            node.start()
            node.wait_ready()
            yield Site(box, router, controller, node)
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


@pytest.mark.parametrize("site", ["IPv6"], indirect=True)
def test_a_node_whose_only_uplink_speaks_ipv6_alone(site: Site) -> None:
    site.set_uplinks({"name": "wan0", "family": "IPv6Only"})
    site.wait_condition("True", "Applied")
    found = site.box.addresses("wan0")
    assert f" {PREFIX}:" in found, "made of what the router announces"
    assert f"{PREFIX}::2/64" not in found, "what somebody had set by hand is replaced"
    assert not any(word.count(".") == 3 for word in found.split())

    site.set_uplinks({"name": "wan0", "addresses": ["2001:db8:99::9/64"], "gateway": "2001:db8:99::1"})
    assert "wan0: the controller does not answer" in site.wait_condition("False", "FellBack")

    site.set_uplinks(
        {"name": "wan0", "addresses": [f"{PREFIX}::9/64"], "gateway": f"{PREFIX}::1", "family": "IPv6Only"}
    )
    site.wait_address(f"{PREFIX}::9/64")
    site.wait_condition("True", "Applied")
    (port,) = site.controller.operator.get("edgenodes", site.node.name, "")["status"]["ports"]  # type: ignore[index]
    assert f"{PREFIX}::9" in port["addresses"]


def test_the_port_of_the_node_is_shared_with_the_apps_of_a_switch_and_given_back(
    site: Site, registry: Registry
) -> None:
    operator, node = site.controller.operator, site.node
    site.set_uplinks({"name": "wan0"})
    site.wait_condition("True", "Applied")
    host = site.own_address("wan0")
    network = {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "Network",
        "metadata": {"name": "floor"},
        "spec": {"type": "Switch", "uplink": {"label": "wan0"}},
    }
    app = want_app(
        node, "web", f"{CONTROLLER}:{registry.port}/shop/web:1", networks=[{"name": "floor", "ports": [{"port": 80}]}]
    )
    with contextlib.closing(Relay(site.router.namespace, registry.port, CONTROLLER)):
        operator.create("datastores", want_datastore(f"{CONTROLLER}:{registry.port}"), "default")
        operator.create("networks", network, "default")
        operator.create("apps", app, "default")
        address = str(node.wait("an address from the site", lambda: app_address(site), 180))
    node.wait("the host's address on the bridge, for good", lambda: site.is_settled(BRIDGE, host, profiles=2))
    assert not site.own_address("wan0")
    node.wait(
        "the app to answer its neighbour", lambda: "hello" in site.is_answered("wget", "-qO-", f"http://{address}/")
    )
    assert site.sees_host(host)
    node.wait("the address in the status", lambda: site.told_addresses() == [host.partition("/")[0]])
    site.wait_condition("True", "Applied")

    node.daemon.kill()
    assert site.sees_host(host)
    assert "hello" in site.is_answered("wget", "-qO-", f"http://{address}/")
    node.start()
    node.wait_ready()

    operator.delete("apps", "web", "default")
    operator.delete("networks", "floor", "default")
    node.wait("the address to come back", lambda: site.is_settled("wan0", host, profiles=1), 120)
    assert "does not exist" in site.box.namespace.run("ip", "link", "show", BRIDGE, check=False)
    assert site.sees_host(host)

    operator.create("networks", network, "default")
    operator.create("apps", app, "default")
    node.wait("the port to be shared again", lambda: site.is_settled(BRIDGE, host, profiles=2), 120)
    node.daemon.stop()
    node.reset()
    assert "eaves-" not in site.box.profiles()
    node.wait("a reset to take the bridge away", lambda: not site.own_address(BRIDGE), 60)
    assert "master" not in site.box.namespace.run("ip", "link", "show", "wan0")


def app_address(site: Site) -> str:
    status = (site.controller.operator.get("apps", "web", "default") or {}).get("status", {})
    found = [address for network in status.get("addresses", []) for address in network.get("addresses", [])]
    return next((address for address in found if address.startswith("10.77.0.")), "")
