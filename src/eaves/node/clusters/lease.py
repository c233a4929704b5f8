"""Leases of the cluster (coordination.k8s.io/v1) by which its servers agree who of them does something."""

from __future__ import annotations

import datetime
import time

from msgspec import Struct

from eaves.node.clusters.errors import KubeApiError
from eaves.node.clusters.kubeapi import KubeApi, Object

_PATH = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
_DEFAULT_S = 15.0


class LeaseSeen(Struct, frozen=True):
    """What the Lease says; ``renewed`` changes with every renewal, whatever the clocks of the servers say."""

    holder: str = ""
    renewed: str = ""
    duration_s: float = _DEFAULT_S


def parse_lease(lease: Object) -> LeaseSeen:
    spec = lease.get("spec", {})
    return LeaseSeen(
        str(spec.get("holderIdentity") or ""),
        str(spec.get("renewTime") or ""),
        float(spec.get("leaseDurationSeconds") or _DEFAULT_S),
    )


def may_take(seen: LeaseSeen, me: str, unchanged_for_s: float) -> bool:
    """Mine, nobody's, or not renewed for its duration **as watched by the own clock**."""
    return seen.holder in ("", me) or unchanged_for_s > seen.duration_s


class Lease:
    """One Lease as this server sees it. Every call raises KubeApiError."""

    def __init__(self, name: str, duration_s: int) -> None:
        self._name = name
        self._duration_s = duration_s
        self._seen = LeaseSeen()
        self._seen_at = 0.0
        self.renewed_at = 0.0
        """Monotonic time before the last request that renewed it."""

    @property
    def holder(self) -> str:
        """As seen last."""
        return self._seen.holder

    async def take(self, api: KubeApi, me: str) -> bool:
        """Whether the lease is ours now, renewed. Two at once: the later write conflicts and loses."""
        lease = await api.find(f"{_PATH}/{self._name}")
        if lease is None:
            return await self._write(api, me, None)
        seen = parse_lease(lease)
        if seen != self._seen:
            self._seen, self._seen_at = seen, time.monotonic()
        if not may_take(seen, me, time.monotonic() - self._seen_at):
            return False
        return await self._write(api, me, lease)

    async def release(self, api: KubeApi, me: str) -> None:
        """Let another one have it at once, if it is ours."""
        lease = await api.find(f"{_PATH}/{self._name}")
        if lease is not None and parse_lease(lease).holder == me:
            lease["spec"]["holderIdentity"] = ""
            await api.replace(f"{_PATH}/{self._name}", lease)

    async def _write(self, api: KubeApi, me: str, lease: Object | None) -> bool:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        begun = time.monotonic()
        spec = {"holderIdentity": me, "leaseDurationSeconds": self._duration_s, "renewTime": now}
        try:
            if lease is None:
                metadata = {"name": self._name, "namespace": "kube-system"}
                body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
                await api.create(_PATH, body)
            else:
                lease["spec"] = {**lease.get("spec", {}), **spec}
                await api.replace(f"{_PATH}/{self._name}", lease)
        except KubeApiError as error:
            if error.status == 409:
                return False
            raise
        self.renewed_at = begun
        return True
