"""What the spanning tree of a switch says of itself → what is told of the network. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from eaves.node.networks.model import Problem, WantedSwitch
from eaves.node.observed import TreePortStatus, TreeStatus


class TreePort(Struct, frozen=True, rename="camel"):
    """One port, as ``rstp.speaker`` writes it. ``is_shut``: by its guard; ``is_looped``: it hears itself."""

    role: str = ""
    state: str = ""
    is_shut: bool = False
    is_looped: bool = False
    is_edge: bool = False
    is_rapid: bool = True


class Tree(Struct, frozen=True, rename="camel"):
    """``root``: identifier of the root bridge, 16 hex digits. ``changes``: how often addresses were forgotten. ``ports`` by interface."""

    root: str = ""
    is_root: bool = False
    changes: int = 0
    changed_at: float = 0.0
    ports: dict[str, TreePort] = {}


def want_tree_status(switch: WantedSwitch, trees: Mapping[str, Tree]) -> TreeStatus | None:
    """None = the switch has no tree, or it has not said anything yet."""
    tree = trees.get(switch.link)
    if tree is None or not tree.ports:
        return None
    ports = tuple(
        TreePortStatus(port.label, found.role, found.state)
        for port in switch.ports
        if (found := tree.ports.get(port.interface)) is not None
    )
    return TreeStatus(tree.root, tree.is_root, tree.changes, ports)


def want_tree_problems(switch: WantedSwitch, name: str, trees: Mapping[str, Tree]) -> Iterator[Problem]:
    """What somebody must see to. A port that is shut because there is another way is none. ``name``: the network's."""
    tree = trees.get(switch.link, Tree())
    for port in switch.ports:
        found = tree.ports.get(port.interface, TreePort())
        if found.is_shut:
            yield Problem(
                switch.network_id,
                "PortGuarded",
                f"network {name}: port {port.label} is shut: a bridge is plugged in where bpduGuardPort forbids it",
                f"remove the bridge, then pull the cable of {port.interface} and plug it in again",
                is_blocking=False,
            )
        if found.is_looped:
            yield Problem(
                switch.network_id,
                "PortLooped",
                f"network {name}: port {port.label} is shut: what is sent there comes back",
                f"remove the loop behind {port.interface}: two ends of one cable in the same switch, as a rule",
                is_blocking=False,
            )
