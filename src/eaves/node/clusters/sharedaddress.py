"""The virtual address of the cluster's API: held by one ready server, given up when it is not ready.

Who holds it is agreed by a Lease of the cluster itself (coordination.k8s.io/v1), which only a server with a working API and datastore can
renew; so a server that is cut off loses it by its own clock before another may take it.
"""

from __future__ import annotations

import asyncio
import logging
import time

from eaves.kit.errors import EavesError
from eaves.node.clusters import addresses
from eaves.node.clusters.errors import KubeApiError
from eaves.node.clusters.kubeapi import KubeApi
from eaves.node.clusters.lease import Lease

log = logging.getLogger(__name__)

LEASE_S = 15
RENEW_EVERY_S = 3.0
GIVE_UP_AFTER_S = 10.0
"""Without a renewal for this long the address goes: sooner than others may take it."""
LEASE = "eaves-api-address"


class SharedAddress:
    """Run :meth:`keep` in turns; :meth:`give_up` whenever this server stops or is not ready."""

    def __init__(self) -> None:
        self._lease = Lease(LEASE, LEASE_S)
        self._held: tuple[str, str] | None = None

    @property
    def held(self) -> str:
        """``IP/prefix`` that this server holds; empty = another one does, or nobody."""
        return self._held[1] if self._held is not None else ""

    async def keep(self, api: KubeApi, me: str, interface: str, address: str) -> None:
        """Take or renew the lease, and hold the address accordingly. Never raises for an API that does not answer."""
        prefix = f"{address}/{128 if ':' in address else 32}"
        if self._held not in (None, (interface, prefix)):
            await self.give_up()
        try:
            async with asyncio.timeout(GIVE_UP_AFTER_S - RENEW_EVERY_S):
                is_mine = await self._lease.take(api, me)
        except (KubeApiError, TimeoutError) as error:
            log.debug("API address lease cannot be renewed: error=%s", error)
            await self.check()
            return
        if not is_mine:
            await self.give_up()
        else:
            # The kernel takes it away by itself when nobody renews it, as after a kill of the daemon.
            await addresses.add_address(interface, prefix, lifetime_s=int(GIVE_UP_AFTER_S), is_told=self._held is None)
            if self._held is None:
                self._held = (interface, prefix)
                log.info("API address is held: address=%s interface=%s", prefix, interface)

    async def check(self) -> None:
        """Give the address up when the lease was not renewed for too long."""
        if self._held is not None and time.monotonic() - self._lease.renewed_at > GIVE_UP_AFTER_S:
            await self.give_up()

    async def give_up(self) -> None:
        if self._held is not None:
            interface, prefix = self._held
            self._held = None
            await addresses.remove_address(interface, prefix)
            log.info("API address is given up: address=%s", prefix)

    async def drop(self, interface: str, address: str) -> None:
        """Take away what an earlier daemon left, before anybody else is known to hold it."""
        if self._held is None:
            await addresses.remove_address(interface, f"{address}/{128 if ':' in address else 32}")

    async def release(self, api: KubeApi | None, me: str) -> None:
        """Before a planned stop: let another server take it at once."""
        await self.give_up()
        if api is None:
            return
        try:
            await self._lease.release(api, me)
        except EavesError as error:
            log.debug("API address lease is not released: error=%s", error)
