"""Which ports of the node lead to which apps. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from eaves.node.desired.model import AclAction, AclRule, DesiredApp
from eaves.node.networks import acls
from eaves.node.networks.model import PortMap, Problem, WantedNetns


def want_port_maps(
    apps: Mapping[str, DesiredApp],
    namespaces: Iterable[WantedNetns],
    listening: frozenset[tuple[str, int]],
    held: set[tuple[str, str, int]],
    interfaces_of: Callable[[str], tuple[str, ...]],
) -> tuple[tuple[PortMap, ...], list[Problem]]:
    """A node port belongs to the first app that asks for it, and never to one when a program of the host listens on it.

    ``held``: (app, protocol, port) that were theirs before; ``interfaces_of``: label of ports → host interfaces. One that no port
    bears opens nothing: a port that was meant for one side must not open on every side.
    """
    port_maps: list[PortMap] = []
    problems: list[Problem] = []
    holders: dict[tuple[str, int], str] = {}
    for netns in namespaces:
        app = apps.get(netns.app_id)
        if app is None:
            continue
        local = [vif for vif in netns.vifs if not vif.is_switched]
        problems += [_port_missing(app, label) for vif in local for label in _list_unknown(vif.acls, interfaces_of)]
        for port_map in (found for vif in local for found in acls.want_port_maps(app, vif, interfaces_of)):
            key = (port_map.protocol, port_map.node_port)
            holder = holders.setdefault(key, app.id)
            where = f"node port {port_map.node_port}/{port_map.protocol}"
            if holder != app.id:
                message = f"app {app.name}: {where} belongs to app {apps[holder].name}"
                problems.append(
                    Problem(app.id, "PortInUse", message, "give each app its own node port", is_blocking=False)
                )
            elif key in listening and (app.id, *key) not in held:
                message = f"app {app.name}: a program of the node listens on {where}"
                remedy = "choose another node port or stop that program"
                problems.append(Problem(app.id, "PortInUse", message, remedy, is_blocking=False))
            else:
                port_maps.append(port_map)
    return tuple(port_maps), problems


def _list_unknown(rules: Iterable[AclRule], interfaces_of: Callable[[str], tuple[str, ...]]) -> list[str]:
    labels = {rule.adapter for rule in rules if rule.action is AclAction.PORT_MAP and rule.adapter}
    return sorted(label for label in labels if not interfaces_of(label))


def _port_missing(app: DesiredApp, label: str) -> Problem:
    return Problem(
        app.id,
        "PortMissing",
        f"app {app.name}: a port of the node is asked for on {label}, a label that no port bears",
        "label a port in the node's settings or in EdgeNode spec.uplinks, or name another label",
        is_blocking=False,
    )
