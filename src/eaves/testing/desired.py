"""What a config asks of a node, for hosts that tests apply it to. Ids are made of the names: ``app-NAME``, ``network-NAME``."""

from __future__ import annotations

from collections.abc import Sequence

from eaves.node.desired.model import (
    AclAction,
    AclDirection,
    AclRule,
    AppKind,
    DesiredApp,
    DesiredInterface,
    DesiredNetwork,
    NetworkKind,
)

ALLOW_ALL = AclRule(100, "all", AclDirection.BOTH, AclAction.ALLOW)


def map_port(
    node_port: int, app_port: int = 80, *, protocol: str = "tcp", number: int = 1, adapter: str = ""
) -> AclRule:
    """A port of the node that leads to an app; ``adapter``: label of the ports on which it does."""
    return AclRule(
        number,
        f"port-{node_port}",
        AclDirection.BOTH,
        AclAction.PORT_MAP,
        protocol=protocol,
        local_port=str(node_port),
        app_port=app_port,
        adapter=adapter,
    )


def make_network(name: str, **changes: object) -> DesiredNetwork:
    values: dict[str, object] = {
        "id": f"network-{name}",
        "version": "1",
        "name": name,
        "kind": NetworkKind.LOCAL,
        "port_label": "uplink",
    }
    return DesiredNetwork(**(values | changes))  # type: ignore[arg-type]


def make_container(
    name: str, networks: Sequence[DesiredNetwork], acls: tuple[AclRule, ...] = (ALLOW_ALL,), **changes: object
) -> DesiredApp:
    """``acls`` are those of the first interface; further ones allow all."""
    interfaces = tuple(
        DesiredInterface(network.name, network.id, acls=acls if index == 0 else (ALLOW_ALL,))
        for index, network in enumerate(networks)
    )
    values: dict[str, object] = {
        "id": f"app-{name}",
        "version": "1",
        "name": name,
        "namespace": "default",
        "kind": AppKind.CONTAINER,
        "activate": True,
        "image_id": "",
        "root_volume_id": f"root-{name}",
        "root_generation": 0,
        "memory_bytes": 32 << 20,
        "cpu_millis": 0,
        "interfaces": interfaces,
    }
    return DesiredApp(**(values | changes))  # type: ignore[arg-type]
