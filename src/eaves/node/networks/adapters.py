"""Access rules that hold for one port of the node: labels of the config → interfaces of the host. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from eaves.node.desired.model import AclAction, AclRule, DesiredApp
from eaves.node.networks import ports
from eaves.node.networks.acls import NO_ADAPTER
from eaves.node.networks.model import Port, SeenHost


def resolve_adapters(app: DesiredApp, labelled: Sequence[Port], seen: SeenHost) -> DesiredApp:
    """The app with host interfaces, separated by commas, in its rules where the config has labels of ports.

    Port maps keep their labels: ``portmaps`` reads those.
    """
    interfaces = tuple(
        replace(interface, acls=tuple(_resolve(rule, labelled, seen) for rule in interface.acls))
        for interface in app.interfaces
    )
    return replace(app, interfaces=interfaces)


def _resolve(rule: AclRule, labelled: Sequence[Port], seen: SeenHost) -> AclRule:
    """A label that no port bears must not open every port."""
    if not rule.adapter or rule.action is AclAction.PORT_MAP:
        return rule
    return replace(rule, adapter=",".join(sorted(ports.list_interfaces(rule.adapter, labelled, seen))) or NO_ADAPTER)
