"""Holds the node's table of family bridge as ``switch_rules`` wants it; none while no app is on a switch and none has a spanning tree."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from eaves.kit import process
from eaves.node.instance import Instance
from eaves.node.networks import observe, recheck, switch_recheck, switch_rules
from eaves.node.networks.errors import NetworkError
from eaves.node.networks.model import WantedVif

log = logging.getLogger(__name__)


class SwitchTable:
    """Owned by ``service``; level-based, so that a table that somebody changed is mended at the next call."""

    def __init__(self, instance: Instance) -> None:
        self._table = instance.table
        self._log_group = instance.log_group
        self._applied: tuple[WantedVif, ...] | None = None
        self._trees: tuple[str, ...] = ()
        self._known = ""
        self._unchecked: dict[str, WantedVif] = {}

    async def apply(self, vifs: Sequence[WantedVif], trees: tuple[str, ...] = ()) -> None:
        """Make the rules of exactly these interfaces hold, and end what they forbid. Raises NetworkError, ProcessError.

        ``trees``: all ports of switches with a spanning tree.
        """
        wanted = tuple(vifs)
        fingerprint, chains, sets = observe.parse_table(await observe.observe_table(self._table, "bridge"))
        if not wanted and not trees:
            if fingerprint:
                await self.remove()
            return
        if (wanted, trees) != (self._applied, self._trees) or fingerprint != self._known or not fingerprint:
            await self._change(wanted, trees, fingerprint, chains, sets)
        await self._end_forbidden()

    async def remove(self) -> None:
        """Raises NetworkError when the table is still there."""
        try:
            await process.run(["nft", "delete", "table", "bridge", self._table], timeout_s=20)
        except process.ProcessError as error:
            if b"No such file or directory" not in error.stderr:
                raise NetworkError("the firewall of switches cannot be removed", details=error.details) from error
        self._applied, self._known = None, ""

    async def _change(
        self,
        wanted: tuple[WantedVif, ...],
        trees: tuple[str, ...],
        fingerprint: str,
        chains: Sequence[str],
        sets: Sequence[str],
    ) -> None:
        former = self._applied if fingerprint == self._known else None
        text = switch_rules.render_switch_ruleset(
            wanted, self._table, chains, sets, former, self._log_group, trees=trees, former_trees=self._trees
        )
        changed = recheck.list_edited(self._applied or (), wanted)
        self._applied = None
        try:
            await process.run(["nft", "-f", "-"], stdin=text.encode(), timeout_s=20)
        except process.ProcessError as error:
            details = error.stderr.decode(errors="replace").partition("\n")[0]
            raise NetworkError("the firewall of switches was refused", details=details) from error
        self._known = observe.parse_table(await observe.observe_table(self._table, "bridge"))[0]
        self._applied, self._trees = wanted, trees
        self._unchecked |= {vif.link: vif for vif in changed}

    async def _end_forbidden(self) -> None:
        if not self._unchecked or self._applied is None:
            return
        here = [vif for vif in self._applied if vif.link in self._unchecked]
        ended = await switch_recheck.end_forbidden(here, self._table)
        self._unchecked = {}
        if ended:
            log.info("connections on switches ended that rules forbid now: count=%d", ended)
