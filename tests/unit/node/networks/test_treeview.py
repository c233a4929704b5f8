"""What is told of a switch's spanning tree."""

from __future__ import annotations

import msgspec

from eaves.node.networks.model import SwitchPort, WantedSwitch
from eaves.node.networks.treeview import Tree, want_tree_problems, want_tree_status
from eaves.node.observed import TreePortStatus

SWITCH = WantedSwitch("net", "evbr0", 1500, (SwitchPort("eth1", "left"), SwitchPort("eth2", "right")))
TREE = msgspec.json.decode(
    b'{"root": "8000020000000001", "isRoot": false, "changes": 2, "ports": {"eth1": {"role": "Root", "state": "Forwarding"},'
    b' "eth2": {"role": "Alternate", "state": "Discarding"}}}',
    type=Tree,
)


def with_port(**changes: bool) -> Tree:
    port = msgspec.structs.replace(TREE.ports["eth2"], **changes)
    return msgspec.structs.replace(TREE, ports=TREE.ports | {"eth2": port})


def test_ports_are_told_by_their_labels_with_role_and_state() -> None:
    status = want_tree_status(SWITCH, {"evbr0": TREE})
    assert status is not None
    assert (status.root, status.is_root, status.changes) == ("8000020000000001", False, 2)
    assert status.ports == (
        TreePortStatus("left", "Root", "Forwarding"),
        TreePortStatus("right", "Alternate", "Discarding"),
    )


def test_a_switch_without_a_tree_or_one_that_has_not_spoken_tells_nothing() -> None:
    assert want_tree_status(SWITCH, {}) is None
    assert want_tree_status(SWITCH, {"evbr0": Tree()}) is None
    assert list(want_tree_problems(SWITCH, "floor", {})) == []


def test_a_second_way_is_no_problem() -> None:
    assert list(want_tree_problems(SWITCH, "floor", {"evbr0": TREE})) == []


def test_a_loop_behind_a_port_and_a_guard_that_has_shut_one_are() -> None:
    (looped,) = want_tree_problems(SWITCH, "floor", {"evbr0": with_port(is_looped=True)})
    assert (looped.code, looped.is_blocking) == ("PortLooped", False)
    assert "port right is shut: what is sent there comes back" in looped.message
    (guarded,) = want_tree_problems(SWITCH, "floor", {"evbr0": with_port(is_shut=True)})
    assert guarded.code == "PortGuarded"
    assert "pull the cable of eth2" in guarded.resolution
