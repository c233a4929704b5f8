"""The leader's rounds: members brought to what the config wishes, add-ons looked at and taken away, the cluster summed up.

One server at a time is leader, by the config. It works with K3s's admin credential on its own machine. Each round reads everything anew,
so a round that was cut off, or two leaders for a moment, do no harm.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from eaves.node.clusters import departures
from eaves.node.clusters.addonwatch import AddOnWatch
from eaves.node.clusters.errors import KubeApiError
from eaves.node.clusters.kubeapi import KubeApi, Object, want_path
from eaves.node.clusters.members import (
    ETCD_REMOVE,
    NODE_IDENTITY,
    MemberPlan,
    list_passwords,
    list_vanished,
    plan_member,
)
from eaves.node.clusters.model import ClusterFolders
from eaves.node.clusters.observe import ETCD_LABEL, LeaderReport, PodSeen, count_pods, parse_node, parse_pod
from eaves.node.desired.cluster_model import ClusterDatastore, ClusterMember, DesiredCluster, MemberWish
from eaves.node.observed_cluster import MemberStatus

log = logging.getLogger(__name__)

ROUND_S = 5.0
_NODES = "/api/v1/nodes"
_SECRETS = ("api", "v1", "namespaces", "kube-system", "secrets")
_TOO_MANY = 429


class Leader:
    """Remembers between rounds only since when it waits for etcd to let go of a member, and add-ons that were ready lately."""

    def __init__(self) -> None:
        self._removing: dict[str, float] = {}
        self._add_ons = AddOnWatch()

    async def take_round(self, api: KubeApi, cluster: DesiredCluster, folders: ClusterFolders) -> LeaderReport:
        """One round. Raises KubeApiError when the API does not answer at all, OSError."""
        nodes = {node["metadata"]["name"]: node async for node in api.list(_NODES)}
        pods = [parse_pod(pod) async for pod in api.list("/api/v1/pods")]
        device_ids = {member.name: member.id for member in cluster.members}
        members = [await self._keep_member(api, cluster, member, nodes, pods) for member in cluster.members]
        leaving = await departures.take_round(api, cluster.add_ons)
        staying = [add_on for add_on in cluster.add_ons if not add_on.is_leaving]
        now = asyncio.get_running_loop().time()
        return LeaderReport(
            nodes=tuple(parse_node(node, device_ids) for _, node in sorted(nodes.items())),
            pods=count_pods(pods),
            members=tuple(members),
            add_ons=(*await self._add_ons.look(api, folders, cluster.id, staying, now), *leaving),
            etcd_members=sum(1 for node in nodes.values() if ETCD_LABEL in node["metadata"].get("labels", {})),
        )

    async def watch(self, api: KubeApi, cluster: DesiredCluster) -> LeaderReport:
        """What a server sees of the members that is not the leader. Raises KubeApiError.

        When the leader's machine is gone, nobody else would tell of that before the controller misses it.
        """
        nodes = {node["metadata"]["name"]: parse_node(node, {}) async for node in api.list(_NODES)}
        seen = [(member, nodes.get(member.name)) for member in cluster.members]
        return LeaderReport(
            members=tuple(
                MemberStatus(member.id, member.name, node.is_ready, version=node.version)
                for member, node in seen
                if node is not None
            )
        )

    async def forget_vanished(self, api: KubeApi, cluster: DesiredCluster) -> None:
        """Once after a restore: the snapshot knows machines that are gone, and would refuse their names to those in their place.

        May be cut off and done again. Raises KubeApiError.
        """
        nodes = [node async for node in api.list(_NODES)]
        for name in list_vanished(nodes, [*cluster.members, _self_of(cluster)]):
            await api.delete(want_path("api", "v1", "nodes", name))
            log.info("node that is gone is removed after the restore: node=%s", name)
        secrets = [secret async for secret in api.list(want_path(*_SECRETS))]
        for name in list_passwords(secrets):
            await api.delete(want_path(*_SECRETS, name))

    async def _keep_member(
        self,
        api: KubeApi,
        cluster: DesiredCluster,
        member: ClusterMember,
        nodes: dict[str, Object],
        pods: Sequence[PodSeen],
    ) -> MemberStatus:
        """A member that cannot be brought further says why and holds up no other."""
        if member.name == cluster.node_name and member.want is MemberWish.REMOVED:
            seen = parse_node(nodes[member.name], {}) if member.name in nodes else None
            return MemberStatus(
                member.id, member.name, bool(seen and seen.is_ready), message="waits for another server to be leader"
            )
        node = nodes.get(member.name)
        plan = plan_member(
            member,
            node,
            pods,
            has_etcd=cluster.datastore is ClusterDatastore.EMBEDDED_ETCD,
            removing_for_s=self._since(member.name, node),
        )
        try:
            held = await self._carry_out(api, member, plan)
        except KubeApiError as error:
            held = error.message
        if node is None:
            return MemberStatus(member.id, member.name, is_removed=True, is_drained=True)
        seen = parse_node(node, {})
        return MemberStatus(
            member.id,
            member.name,
            is_ready=seen.is_ready,
            is_drained=plan.is_drained,
            version=seen.version,
            message=held or plan.waiting_for,
        )

    async def _carry_out(self, api: KubeApi, member: ClusterMember, plan: MemberPlan) -> str:
        """Answers what holds the wish up."""
        path = want_path("api", "v1", "nodes", member.name)
        if plan.patch is not None:
            await api.patch(path, dict(plan.patch))
        if plan.delete:
            await api.delete(path)
            # K3s would refuse the name to a new machine as long as it knows the old one's password.
            await api.delete(want_path(*_SECRETS, f"{member.name}{NODE_IDENTITY}"))
            log.info("member is removed from the cluster: node=%s", member.name)
        held = ""
        for pod in plan.evict:
            held = held or await self._evict(api, pod)
        return held

    async def _evict(self, api: KubeApi, pod: PodSeen) -> str:
        """Ask one pod away; a disruption budget says no with 429 and is asked again in the next round."""
        path = want_path("api", "v1", "namespaces", pod.namespace, "pods", pod.name, "eviction")
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": pod.namespace},
        }
        try:
            await api.create(path, body)
        except KubeApiError as error:
            if error.status == 404:
                return ""
            if error.status == _TOO_MANY:
                return f"pod {pod.namespace}/{pod.name} is held by a PodDisruptionBudget"
            raise
        return ""

    def _since(self, name: str, node: Object | None) -> float:
        annotations = node["metadata"].get("annotations", {}) if node is not None else {}
        if annotations.get(ETCD_REMOVE) != "true":
            self._removing.pop(name, None)
            return 0.0
        now = asyncio.get_running_loop().time()
        return now - self._removing.setdefault(name, now)


def _self_of(cluster: DesiredCluster) -> ClusterMember:
    return ClusterMember("", cluster.node_name, cluster.address, is_server=True)
