"""Servers restart for another config one after the other, so that no config takes the whole cluster down.

A server whose API is ready gives the others theirs first: it waits until all of them are ready, and until the one that restarts has its
API back. So a config that K3s does not start with costs one server, and the rest says for whom it waits. A server that is not ready
itself has nothing to lose.
"""

from __future__ import annotations

from collections.abc import Sequence

from eaves.node.clusters.errors import KubeApiError
from eaves.node.clusters.kubeapi import KubeApi
from eaves.node.clusters.lease import Lease
from eaves.node.clusters.model import ClusterRecord
from eaves.node.desired.cluster_model import DesiredCluster
from eaves.node.observed_cluster import MemberStatus

NAME = "eaves-restart"
DURATION_S = 600
"""A server that does not come back within this time has to show by its Node that it is not ready."""


class Turns:
    """Ask :meth:`wait_for` before a restart, :meth:`end` when the API is ready."""

    def __init__(self) -> None:
        self._lease = Lease(NAME, DURATION_S)
        self._may_be_held = True

    async def wait_for(self, api: KubeApi | None, cluster: DesiredCluster, seen: Sequence[MemberStatus]) -> str:
        """For whom this server has to wait; empty = it is its turn, or there is nobody to wait for."""
        others = [member for member in cluster.servers if member.name != cluster.node_name]
        if not others or api is None:
            return ""
        # Who has no Node has not joined yet, and may wait for this very config.
        unready = {member.name for member in seen if not member.is_ready and not member.is_removed}
        if waiting := sorted(member.name for member in others if member.name in unready):
            return waiting[0]
        try:
            if await self._lease.take(api, cluster.node_name):
                self._may_be_held = True
                return ""
        except KubeApiError:
            # The API went away under it: then the others cannot count on this server anyhow.
            return ""
        return self._lease.holder or "another server"

    async def end(self, api: KubeApi | None, me: str) -> None:
        """The restart is over, also one that an earlier daemon began."""
        if self._may_be_held and api is not None:
            try:
                await self._lease.release(api, me)
            except KubeApiError:
                return
            self._may_be_held = False


def is_own_business(cluster: DesiredCluster, record: ClusterRecord, program: str) -> bool:
    """Whether a restart was ordered for this server alone: its controller sees to the order of versions, renewals and tokens."""
    return (
        not cluster.is_server
        or program != record.program
        or cluster.orders.rotate_certificates > record.done.rotate_certificates
        or cluster.orders.rotate_token > record.done.rotate_token
    )
