"""A node whose only way out is a company's proxy that looks into TLS, which its uplink names: config, images and streams go by it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eaves.testing.looking_proxy import LookingProxy
from eaves.testing.network_manager import DhcpRouter, ManagedHost
from eaves.testing.port_sections import CONTROLLER
from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, NodeHost, want_app, want_datastore
from tests.system.conftest import make_namespace

pytestmark = pytest.mark.system

ROUTER = "10.77.0.1"
REGISTRY, STORE = "registry.shop.test", "store.shop.test"
"""Names that only the proxy knows."""
PAC = """function FindProxyForURL(url, host) {{
  if (dnsDomainIs(host, ".shop.test") || host == "{controller}") return "PROXY {router}:{port}";
  return "DIRECT";
}}"""


class Company:
    """A box on a cable to a router that forwards nothing; the proxies on it reach controller and registries."""

    def __init__(self, box: ManagedHost, router: DhcpRouter, controller: ControllerHost, registry: Registry) -> None:
        self.box = box
        self._router = router
        self.controller = controller
        self._targets = {
            f"{CONTROLLER}:{controller.gateway_port}": controller.gateway_port,
            f"{REGISTRY}:443": registry.port,
            STORE: registry.port,
        }
        self._plain = (registry.port,)

    def proxy(self, port: int) -> LookingProxy:
        return LookingProxy(self._router.namespace, ROUTER, port, self._targets, self._plain)


@pytest.fixture
def company(folder: Path, registry: Registry) -> Iterator[Company]:
    controller = ControllerHost(folder / "proxies")
    text = controller.settings_file.read_text()
    controller.settings_file.write_text(text.replace('"localhost"]', f'"localhost", "{CONTROLLER}"]'))
    with ManagedHost() as box, DhcpRouter(box.namespace, "wan0", "10.77.0") as router, controller:
        box.namespace.batch("addr add 10.77.0.2/24 dev wan0", f"route add default via {ROUTER} dev wan0")
        yield Company(box, router, controller, registry)
    shutil.rmtree(controller.folder, ignore_errors=True)


def test_a_node_behind_a_proxy_that_looks_into_tls(company: Company, folder: Path) -> None:
    controller = company.controller
    node = NodeHost(folder, controller, prefix=company.box.namespace.argv())
    with company.proxy(3128) as first, company.proxy(3129) as second:
        certificate = node.folder / "proxy.pem"
        certificate.write_text(first.ca_pem)
        node.environment |= {
            "DBUS_SYSTEM_BUS_ADDRESS": company.box.address,
            "EAVES_NODE_MANAGE_PORTS": "true",
            "EAVES_NODE_PORT_TRIAL_S": "60",
            "EAVES_NODE_PROXY": first.url,
            "EAVES_NODE_PROXY_CERTIFICATE_FILE": str(certificate),
        }
        node.daemon.environment |= node.environment
        try:
            node.join()
            text = node.settings_file.read_text()
            node.settings_file.write_text(text.replace("127.0.0.1:", f"{CONTROLLER}:"))
            node.start()
            node.wait_ready()
            namespace = make_namespace(controller, STORE)
            datastore = want_datastore(REGISTRY)
            datastore["metadata"]["name"], datastore["spec"]["url"] = "tls", f"https://{REGISTRY}"
            controller.operator.create("datastores", datastore, namespace)

            # By the proxy of the settings, which looks into TLS too.
            run_app(node, namespace, "before", f"{REGISTRY}/shop/shell:1", "tls")
            assert f"CONNECT {REGISTRY}:443" in first.asked
            assert not second.asked

            # By the proxy of the uplink, in a trial and from then on.
            named = {"servers": [{"protocol": "HTTPS", "host": ROUTER, "port": 3129}], "caCertificates": second.ca_pem}
            set_uplink(company, node, "10.77.0.9", named)
            assert f"CONNECT {CONTROLLER}:{controller.gateway_port}" in second.asked
            first.asked.clear()
            run_app(node, namespace, "web", f"{REGISTRY}/shop/web:1", "tls")
            assert f"CONNECT {REGISTRY}:443" in second.asked
            assert any(line.startswith("GET /v2/shop/web/manifests/") for line in second.seen), second.seen
            done = controller.kubectl.ok("exec", "-n", namespace, "before", "--", "echo", "through", "the", "proxy")
            assert done.out.split() == ["through", "the", "proxy"]
            assert any("/ext/eaves/" in line for line in second.seen), second.seen

            # As a file says, without TLS as well.
            second.asked.clear()
            pac = PAC.format(controller=CONTROLLER, router=ROUTER, port=3129)
            set_uplink(company, node, "10.77.0.10", {"pac": pac, "caCertificates": second.ca_pem})
            run_app(node, namespace, "plain", f"{STORE}/shop/web:1", "registry")
            assert f"GET {STORE}" in second.asked
            assert not first.asked, "what the settings say no longer counts"
        finally:
            node.remove()


def set_uplink(company: Company, node: NodeHost, address: str, proxy: dict[str, Any]) -> None:
    """And wait until the node works by it."""
    operator = company.controller.operator
    uplink = {"name": "wan0", "addresses": [f"{address}/24"], "gateway": ROUTER, "proxy": proxy}
    operator.patch("edgenodes", node.name, {"spec": {"uplinks": [uplink]}}, "")
    node.wait(f"the address {address}", lambda: address in company.box.addresses("wan0"), 120)

    def check() -> bool:
        found = operator.condition("edgenodes", node.name, "PortsApplied")
        return (found.get("status"), found.get("reason")) == ("True", "Applied")

    node.wait("the uplink with its proxy to be in force", check, 120)


def run_app(node: NodeHost, namespace: str, name: str, image: str, datastore: str) -> None:
    operator = node.controller.operator
    operator.create("apps", want_app(node, name, image, datastoreRef={"name": datastore}), namespace)
    node.wait(
        f"the app {name} to be ready",
        lambda: operator.condition("apps", name, "Ready", namespace).get("status") == "True",
        120,
    )
