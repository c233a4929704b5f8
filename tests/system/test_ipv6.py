"""A node that reaches its controller by IPv6 alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, want_app
from tests.system.conftest import MakeNode, make_namespace

pytestmark = pytest.mark.system


def test_a_node_is_managed_over_ipv6(folder: Path, registry: Registry, make_node: MakeNode) -> None:
    host = ControllerHost(folder / "six")
    address = f"[::1]:{host.gateway_port}"
    text = host.settings_file.read_text()
    host.settings_file.write_text(text.replace(f'"127.0.0.1:{host.gateway_port}"', f'"{address}"'))
    with host as controller:
        node = make_node(controller)
        assert address in (node.folder / "etc" / "node.toml").read_text()
        namespace = make_namespace(controller, registry.server)
        app = want_app(node, "shell", f"{registry.server}/shop/shell:1")
        controller.operator.create("apps", app, namespace)
        node.wait(
            "the app to be ready, told over IPv6",
            lambda: controller.operator.condition("apps", "shell", "Ready", namespace).get("status") == "True",
            limit_s=90,
        )
        controller.operator.delete("apps", "shell", namespace)
        node.wait("the container to go, by the notify channel", lambda: not node.containers())
