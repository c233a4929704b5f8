"""Holds the table that filters and translates for Local networks, and ends the connections that its newest rules forbid."""

from __future__ import annotations

import logging

from eaves.node.instance import Instance
from eaves.node.networks import apply, recheck
from eaves.node.networks.hostnames import HostNames
from eaves.node.networks.model import Layout
from eaves.node.networks.standing import TROUBLE, Standing
from eaves.node.observed import Fault

log = logging.getLogger(__name__)


class Firewall:
    """``applied`` is the layout that the table in the kernel was made of; None when that is not known."""

    def __init__(self, instance: Instance, standing: Standing) -> None:
        self._instance = instance
        self._standing = standing
        self._table = ""
        self._unchecked: frozenset[str] = frozenset()
        """Links of interfaces whose open connections were not yet held against their new rules."""
        self.applied: Layout | None = None
        self.hostnames = HostNames(instance)

    async def apply(self, live: Layout, seen_table: str) -> dict[str, Fault]:
        """Have the table be that of ``live``; ``seen_table`` is what the kernel has. Answers the faults by the id of the network."""
        if live == self.applied and seen_table == self._table and self._table:
            return {}
        if not live.bridges:
            await apply.remove_table(self._instance)
            self._table, self.applied = "", live
            return {}
        former = self.applied if seen_table == self._table else None
        try:
            self._table = await apply.apply_ruleset(live, self._instance, former)
        except TROUBLE as error:
            log.warning("firewall table failed: error=%s details=%s", error, getattr(error, "details", ""))
            self.applied = None
            return {bridge.network_id: self._standing.as_fault(bridge.network_id, error) for bridge in live.bridges}
        self._unchecked |= {vif.link for vif in recheck.list_changed(self.applied, live)}
        self.applied = live
        return {}

    async def end_forbidden(self) -> None:
        """Only after the table is in place: a connection that was ended before could come back by the old rules."""
        if self.applied is None or not self._unchecked:
            return
        vifs = [vif for vif in self.applied.vifs if vif.link in self._unchecked]
        resolved = await self.hostnames.load(rule.host.lower() for vif in vifs for rule in vif.acls if rule.host)
        try:
            ended = await recheck.end_forbidden(vifs, self.applied, resolved)
        except OSError as error:
            log.warning("open connections were not held against the new rules, again later: error=%s", error)
            return
        self._unchecked = frozenset()
        if ended:
            log.info("connections ended that rules forbid now: count=%d", ended)
