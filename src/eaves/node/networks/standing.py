"""How networks and apps stand after a round of the loop: their faults, the apps' connections, what is published of networks."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from msgspec import Struct

from eaves.kit.errors import EavesError
from eaves.node.desired.model import DesiredNetwork, DesiredNode
from eaves.node.errors import as_fault
from eaves.node.instance import Instance
from eaves.node.networks.connection import AddressesOf, Connection, want_connection, want_network_status
from eaves.node.networks.model import Layout, Problem
from eaves.node.networks.treeview import Tree, want_tree_problems
from eaves.node.observed import Fault, NetworkStatus, Observations

TROUBLE = (EavesError, OSError)
"""What a step of the loop may fail with; it becomes the fault of an object, and the others go on."""


class Learned(Struct, frozen=True):
    """What is known of networks besides their layout."""

    addresses: AddressesOf
    resolver_of: Callable[[str], str]
    """App id → lines of its resolv.conf from the DHCP of a switch."""
    table_of: Callable[[str], int]
    """Network id → its routing table."""
    host_uplink: str
    """Where the host's own default route leads."""
    trees: Mapping[str, Tree] = {}
    """Link of a switch → its spanning tree."""


class Standing:
    """Asked by the apps' keepers; written at the end of each round."""

    def __init__(self, instance: Instance, observations: Observations) -> None:
        self._instance = instance
        self._observations = observations
        self._connections: dict[str, Connection] = {}
        self._faults: dict[str, Fault] = {}
        self._soft: frozenset[str] = frozenset()
        """Ids of objects that are there in spite of their fault."""
        self._up_since: dict[str, float] = {}

    @property
    def faults(self) -> Mapping[str, Fault]:
        return self._faults

    def connection(self, app_id: str) -> Connection | None:
        """How the app is connected, or None while it is not."""
        return self._connections.get(app_id)

    def keep_connections(self, app_ids: Collection[str]) -> None:
        """Only these apps may still start in their namespaces; those of others are about to go."""
        self._connections = {app_id: found for app_id, found in self._connections.items() if app_id in app_ids}

    def as_fault(self, object_id: str, error: BaseException) -> Fault:
        """The fault of an object, as old as the one that it has."""
        return as_fault(error, since=self._since(object_id))

    def settle(self, desired: DesiredNode, layout: Layout, faults: Mapping[str, Fault], learned: Learned) -> None:
        """Take what came out of a round, and publish it."""
        names = {network.id: network.name for network in desired.networks}
        of_trees = [
            problem
            for switch in layout.switches
            for problem in want_tree_problems(switch, names.get(switch.network_id, switch.network_id), learned.trees)
        ]
        told = (*layout.problems, *of_trees)
        problems = {problem.object_id: self._problem_fault(problem) for problem in reversed(told)}
        soft = frozenset(problem.object_id for problem in told if not problem.is_blocking)
        self._faults, self._soft = {**problems, **faults}, soft
        blocked = self._faults.keys() - soft
        self._connections = {
            netns.app_id: want_connection(
                netns,
                layout,
                path=str(self._instance.netns_dir / netns.app_id),
                addresses=learned.addresses,
                resolver=learned.resolver_of(netns.app_id),
                fault=self._faults.get(netns.app_id),
            )
            for netns in layout.netns
            if netns.app_id not in blocked and not any(vif.network_id in blocked for vif in netns.vifs)
        }
        self._publish(desired, layout, learned)

    def _publish(self, desired: DesiredNode, layout: Layout, learned: Learned) -> None:
        wanted = {network.id for network in desired.networks}
        for status in list(self._observations.each(NetworkStatus)):
            if status.id not in wanted:
                self._observations.remove(NetworkStatus, status.id)
                self._up_since.pop(status.id, None)
        for network in desired.networks:
            self._observations.publish(self._want_status(network, layout, learned))

    def _want_status(self, network: DesiredNetwork, layout: Layout, learned: Learned) -> NetworkStatus:
        fault = self._faults.get(network.id)
        is_made = network.id in {made.network_id for made in layout.networks}
        if is_made and (fault is None or network.id in self._soft):
            self._up_since.setdefault(network.id, time.time())
        else:
            self._up_since.pop(network.id, None)
        return want_network_status(
            network,
            layout,
            table=learned.table_of(network.id),
            addresses=learned.addresses,
            host_uplink=learned.host_uplink,
            up_since=self._up_since.get(network.id, 0.0),
            fault=fault,
            trees=learned.trees,
        )

    def _since(self, object_id: str) -> float:
        known = self._faults.get(object_id)
        return known.since if known else time.time()

    def _problem_fault(self, problem: Problem) -> Fault:
        return Fault(problem.code, problem.message, problem.resolution, self._since(problem.object_id))
