"""Brings bridges, namespaces, interfaces, ports and routes of the host in line with a layout, step by step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from msgspec.structs import replace

from eaves.node.instance import Instance
from eaves.node.networks import apply, observe, plan
from eaves.node.networks.model import Layout, SeenHost
from eaves.node.networks.standing import TROUBLE, Standing
from eaves.node.observed import Fault

log = logging.getLogger(__name__)

_ROUNDS = 3


class Linking:
    """``pid_of``: app id → pid of its running container (0 = none)."""

    def __init__(self, instance: Instance, standing: Standing, pid_of: Callable[[str], int]) -> None:
        self._instance = instance
        self._standing = standing
        self._pid_of = pid_of
        self._guest_routes: dict[str, tuple[tuple[str, str], ...]] = {}
        """App id → routes that this daemon has set in its namespace."""

    async def observe(self, layout: Layout, raised: Collection[str]) -> SeenHost:
        """``raised``: ports that this node has set up itself."""
        seen = await observe.observe_host_network(self._instance)
        vlans = await observe.observe_vlans() if layout.vlans else {}
        return replace(seen, guest_routes=self._guest_routes, vlans=vlans, raised=frozenset(raised))

    async def apply(self, layout: Layout, seen: SeenHost, raised: Collection[str]) -> tuple[SeenHost, dict[str, Fault]]:
        """Bring links in line; a step can show more to do (a new namespace has no interfaces yet), so look again after it.

        Answers what is there then, and faults by the id of the network, app or link.
        """
        faults: dict[str, Fault] = {}
        for _ in range(_ROUNDS):
            steps = plan.plan_links(layout, seen)
            if not steps:
                return seen, faults
            faults = {}
            for step in steps:
                object_id = _owner(step)
                if object_id in faults:
                    continue
                try:
                    await apply.apply_step(step, self._instance, self._pid_of)
                    self._note_routes(step)
                except TROUBLE as error:
                    fault = faults[object_id] = self._standing.as_fault(object_id, error)
                    log.warning(
                        "network step failed: step=%s of=%s error=%s", type(step).__name__, object_id, fault.message
                    )
            seen = await self.observe(layout, raised)
        for step in plan.plan_links(layout, seen):
            object_id = _owner(step)
            faults.setdefault(object_id, Fault("NetworkUnsettled", f"{type(step).__name__} does not take effect"))
        return seen, faults

    async def apply_routing(self, layout: Layout, seen: SeenHost) -> dict[int, Exception]:
        """Answers what failed, by routing table."""
        failed: dict[int, Exception] = {}
        for step in plan.plan_routing(layout, seen):
            try:
                await apply.apply_step(step, self._instance, self._pid_of)
            except TROUBLE as error:
                log.warning("routing failed: table=%d error=%s", step.table, error)
                failed[step.table] = error
        return failed

    def _note_routes(self, step: plan.Step) -> None:
        """Looking into every namespace would cost a process each, so what was set there is remembered."""
        match step:
            case plan.MakeVifs(netns) | plan.SetGuestRoutes(netns):
                self._guest_routes = self._guest_routes | {netns.app_id: netns.routes}
            case plan.MakeNetns(app_id) | plan.RemoveNetns(app_id):
                self._guest_routes = {known: found for known, found in self._guest_routes.items() if known != app_id}


def _owner(step: plan.Step) -> str:
    """The network or app that a failure of the step is told for."""
    match step:
        case plan.MakeBridge(bridge):
            return bridge.network_id
        case plan.MakeSwitch(switch):
            return switch.network_id
        case plan.TakePort(network_id):
            return network_id
        case plan.ReleasePort(link) | plan.SetVlans(link):
            return link
        case plan.MakeNetns(app_id) | plan.RemoveNetns(app_id):
            return app_id
        case plan.MakeVifs(netns) | plan.SetGuestRoutes(netns):
            return netns.app_id
        case plan.SetRouting():
            return ""
        case plan.MakeTaps(app_id):
            return app_id
        case plan.TunePort(vif):
            return vif.app_id
        case plan.RemoveLink(link):
            return link
