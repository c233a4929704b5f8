"""The virtual address of the cluster's API: held by one ready server, given up when it is not ready.

Who holds it is agreed by a Lease of the cluster itself (coordination.k8s.io/v1), which only a server with a working API and datastore can
renew; so a server that is cut off loses it by its own clock before another may take it.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import time

from msgspec import Struct

from eaves.kit.errors import EavesError
from eaves.node.clusters import addresses
from eaves.node.clusters.errors import KubeApiError
from eaves.node.clusters.kubeapi import KubeApi, Object

log = logging.getLogger(__name__)

LEASE_S = 15
RENEW_EVERY_S = 3.0
GIVE_UP_AFTER_S = 10.0
"""Without a renewal for this long the address goes: sooner than others may take it."""
LEASE = "eaves-api-address"
_PATH = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"


class LeaseSeen(Struct, frozen=True):
    """What the Lease says; ``renewed`` changes with every renewal, whatever the clocks of the servers say."""

    holder: str = ""
    renewed: str = ""
    duration_s: float = LEASE_S


def parse_lease(lease: Object) -> LeaseSeen:
    spec = lease.get("spec", {})
    return LeaseSeen(
        str(spec.get("holderIdentity") or ""),
        str(spec.get("renewTime") or ""),
        float(spec.get("leaseDurationSeconds") or LEASE_S),
    )


def may_take(seen: LeaseSeen, me: str, unchanged_for_s: float) -> bool:
    """Mine, nobody's, or not renewed for its duration **as watched by the own clock**."""
    return seen.holder in ("", me) or unchanged_for_s > seen.duration_s


class SharedAddress:
    """Run :meth:`keep` in turns; :meth:`give_up` whenever this server stops or is not ready."""

    def __init__(self) -> None:
        self._seen = LeaseSeen()
        self._seen_at = 0.0
        self._renewed_at = 0.0
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
                is_mine = await self._renew(api, me)
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
        if self._held is not None and time.monotonic() - self._renewed_at > GIVE_UP_AFTER_S:
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
            lease = await api.find(f"{_PATH}/{LEASE}")
            if lease is not None and parse_lease(lease).holder == me:
                lease["spec"]["holderIdentity"] = ""
                await api.replace(f"{_PATH}/{LEASE}", lease)
        except EavesError as error:
            log.debug("API address lease is not released: error=%s", error)

    async def _renew(self, api: KubeApi, me: str) -> bool:
        """Whether the lease is ours now. Two at once: the later write conflicts and loses."""
        lease = await api.find(f"{_PATH}/{LEASE}")
        if lease is None:
            return await self._write(api, me, None)
        seen = parse_lease(lease)
        if seen != self._seen:
            self._seen, self._seen_at = seen, time.monotonic()
        if not may_take(seen, me, time.monotonic() - self._seen_at):
            return False
        return await self._write(api, me, lease)

    async def _write(self, api: KubeApi, me: str, lease: Object | None) -> bool:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        begun = time.monotonic()
        spec = {"holderIdentity": me, "leaseDurationSeconds": LEASE_S, "renewTime": now}
        try:
            if lease is None:
                metadata = {"name": LEASE, "namespace": "kube-system"}
                body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
                await api.create(_PATH, body)
            else:
                lease["spec"] = {**lease.get("spec", {}), **spec}
                await api.replace(f"{_PATH}/{LEASE}", lease)
        except KubeApiError as error:
            if error.status == 409:
                return False
            raise
        self._renewed_at = begun
        return True
