"""Keeps this node's membership of a K3s cluster. Owned by ``manager``; the access proxy asks it for the way to the API.

One loop looks, plans, takes one step and publishes; beside it run the leader's rounds, the shared API address, backups, and the reader
of K3s's log. What K3s runs goes on when all of them are cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from eaves.kit.errors import EavesError
from eaves.node import pids
from eaves.node.clusters import addons, kubeapi, logs
from eaves.node.clusters.backups import Backups
from eaves.node.clusters.errors import ClusterError, KubeApiError
from eaves.node.clusters.leader import ROUND_S, Leader
from eaves.node.clusters.membership import Membership
from eaves.node.clusters.model import STATUS_PORT, ClusterApi, Step
from eaves.node.clusters.observe import LeaderReport
from eaves.node.clusters.plan import Plan, plan_step
from eaves.node.clusters.prefetching import Prefetcher, explain_images
from eaves.node.clusters.preparing import FindPin, observe_size
from eaves.node.clusters.sharedaddress import RENEW_EVERY_S, SharedAddress
from eaves.node.clusters.status import Sight, find_id, want_status
from eaves.node.clusters.statusserver import StatusServer
from eaves.node.clusters.tokens import rotate_token
from eaves.node.clusters.turns import Turns, is_own_business
from eaves.node.desired.cluster_model import DesiredCluster
from eaves.node.desired.model import DesiredNode
from eaves.node.errors import as_fault
from eaves.node.guard import keep_running
from eaves.node.images.ways import FindWay, find_host_way
from eaves.node.instance import Instance
from eaves.node.networks.model import Port
from eaves.node.observed import ClusterStatus, Fault, Observations
from eaves.node.observed_cluster import ClusterState, ClusterUsage
from eaves.node.workloads.abc import Usage
from eaves.wire.newlog import LogRecord

log = logging.getLogger(__name__)

STEADY_S = 5.0
BUSY_S = 1.0
_TROUBLE = (EavesError, OSError)


class Clusters:
    """Use :meth:`open`, :meth:`set_desired`, :meth:`run`."""

    def __init__(
        self,
        instance: Instance,
        observations: Observations,
        *,
        find_pin: FindPin,
        ports: Sequence[Port] = (),
        own_binary: str = "",
        proxies: Mapping[str, str] | None = None,
        find_way: FindWay = find_host_way,
        status_port: int = STATUS_PORT,
    ) -> None:
        self._observations = observations
        self.note_line: Callable[[LogRecord], None] = lambda _: None
        """Takes each line that K3s writes."""
        self.membership = Membership(
            instance,
            find_pin=find_pin,
            ports=ports,
            own_binary=own_binary,
            proxies=proxies or {},
            find_way=find_way,
            status_port=status_port,
        )
        self.backups = Backups(self.membership)
        self._prefetcher = Prefetcher(self.membership.preparer, self._explain_images)
        self._server = StatusServer(status_port)
        self._leader = Leader()
        self._report = LeaderReport()
        self._shared = SharedAddress()
        self._turns = Turns()
        self._desired: DesiredCluster | None = None
        self._is_refused = False
        self._is_told = False
        self._wake = asyncio.Event()
        self._fault: Fault | None = None
        self._is_member = asyncio.Event()
        self._used: tuple[float, Usage | None] | None = None

    async def open(self) -> None:
        await self.membership.open()
        await self.backups.open()
        if self.membership.record.id:
            self._observations.expect(ClusterStatus, self.membership.record.id)
            self._is_member.set()

    def set_desired(self, desired: DesiredNode) -> None:
        """Take the config's cluster as the wish from now on."""
        self._is_told = True
        self._is_refused = desired.is_cluster_refused
        if not desired.is_cluster_refused or self._desired is None:
            self._desired = desired.cluster
        self.wake()

    def wake(self) -> None:
        """Something that a step may wait for has changed."""
        self._wake.set()

    def api(self, cluster_id: str) -> ClusterApi:
        """How to reach the own API server of ``cluster_id`` as admin. Blocking, short. Raises ClusterError."""
        record = self.membership.record
        if record.id != cluster_id or not record.is_server:
            raise ClusterError(
                "this node is no server of the cluster",
                code="ClusterUnknown",
                element=cluster_id,
                resolution="ask another server of the cluster",
            )
        found = kubeapi.load_api(self.membership.own)
        if found is None or not self.membership.health.is_ready:
            raise KubeApiError("the cluster's API on this node is not ready", element=cluster_id)
        return found

    async def usage(self) -> ClusterUsage | None:
        """What the cluster takes of this machine; None while K3s does not run, or for the first time."""
        record = self.membership.record
        if not self.membership.seen.pid:
            return None
        found = await asyncio.to_thread(self.membership.observe_usage)
        former, self._used = self._used, (time.monotonic(), found)
        if former is None or former[1] is None or found is None or self._used[0] <= former[0]:
            return None
        size = observe_size()
        millis = max(0.0, (found.cpu_ns - former[1].cpu_ns) / (self._used[0] - former[0]) / 1e6)
        return ClusterUsage(
            record.id,
            record.node_name,
            int(millis),
            100 * millis / size.cpu_millis,
            found.memory_bytes,
            100 * found.memory_bytes / size.memory_bytes,
        )

    async def run(self) -> None:
        """Until cancelled; K3s and its pods then go on by themselves."""
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_running("cluster", self._keep), name="cluster")
            for name, run in (
                ("cluster-leader", self._lead),
                ("cluster-address", self._share),
                ("cluster-backups", self._back_up),
                ("cluster-log", self._follow_log),
            ):
                group.create_task(keep_running(name, self._once_member(run)), name=name)

    async def teardown(self) -> None:
        """Leave without asking anybody; data go too."""
        await self._server.close()
        if self.membership.record.id:
            await self.membership.leave(keep_data=False)

    # The loop.

    async def _keep(self) -> None:
        try:
            while True:
                self._wake.clear()
                delay_s = await self._take_turn() if self._is_told else STEADY_S
                await self._wait(delay_s)
        finally:
            await self._server.close()

    async def _wait(self, delay_s: float) -> None:
        """Until something changes, K3s ends, or the time is over."""
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._wake.wait())]
        if self.membership.seen.pid:
            waits.append(asyncio.ensure_future(pids.wait_exit(self.membership.seen.pid)))
        try:
            await asyncio.wait(waits, timeout=delay_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _take_turn(self) -> float:
        """Look, plan, one step; answers after how many seconds to look again."""
        membership, cluster = self.membership, self._desired
        try:
            await self._note_fate_of_data(cluster)
            view = await membership.look(cluster)
            if view.missing_images and cluster is not None:
                view = replace(view, image_message=self._explain_images(cluster.image_ids))
            plan = plan_step(cluster, view, is_refused=self._is_refused)
            if plan.asks_servers and cluster is not None:
                await membership.ask_servers(cluster)
                plan = plan_step(cluster, await membership.look(cluster), is_refused=self._is_refused)
            if plan.step is Step.NONE:
                self._publish(None)
                return STEADY_S
            plan = await self._await_turn(plan, cluster)
            self._publish(plan)
            await self._carry_out(plan, cluster)
            self._fault = None
        except _TROUBLE as error:
            since = self._fault.since if self._fault is not None else time.time()
            self._fault = as_fault(error, since=since, retry_at=time.time() + STEADY_S)
            log.warning("cluster: %s code=%s", self._fault.message, self._fault.code)
            self._publish_failed()
            return STEADY_S
        if plan.step in (Step.KEEP, Step.WAIT):
            self._publish(plan)
        return STEADY_S if plan.state in (ClusterState.READY, ClusterState.STOPPED) else BUSY_S

    async def _note_fate_of_data(self, cluster: DesiredCluster | None) -> None:
        """At once, whatever K3s does: a later config that names no cluster any more cannot say it."""
        record = self.membership.record
        if cluster is not None and record.id == cluster.id and record.keep_data != cluster.keep_data:
            await self.membership.update(keep_data=cluster.keep_data)

    async def _await_turn(self, plan: Plan, cluster: DesiredCluster | None) -> Plan:
        """A restart for another config waits for that of another server."""
        membership = self.membership
        if not plan.is_restart or cluster is None or not membership.health.is_ready:
            return plan
        if is_own_business(cluster, membership.record, membership.preparer.find_program(cluster).path):
            return plan
        name = await self._turns.wait_for(membership.watch.api, cluster, self._report.members)
        if not name:
            return plan
        message = f"restarts with the changed config when server {name} is ready again"
        return Plan(Step.KEEP, ClusterState.READY, f"server {name}", message)

    async def _carry_out(self, plan: Plan, cluster: DesiredCluster | None) -> None:
        membership = self.membership
        if plan.step is Step.LEAVE:
            await self._leave()
        elif plan.step is Step.STOP:
            await self._shared.release(membership.watch.api, membership.record.node_name)
            self._server.settings = None
            await membership.stop()
        elif plan.step is Step.START:
            if cluster is None:
                await membership.start_again()
            else:
                self._publish(replace(plan, state=ClusterState.INSTALLING, message="getting program and files ready"))
                await membership.start(cluster, plan)
            self._is_member.set()
        elif plan.step is Step.RESTORE and cluster is not None:
            await self.backups.restore(cluster)
        elif plan.step is Step.KEEP and cluster is not None:
            await self._tend(cluster)

    async def _tend(self, cluster: DesiredCluster) -> None:
        """While K3s runs: files that change without a restart, the status server."""
        membership, record = self.membership, self.membership.record
        # What an earlier release did not note yet is noted while all is well.
        since = record.member_since or (cluster.member_since if membership.health.is_ready else 0)
        if record.member_since != since:
            await membership.update(member_since=since)
        await self._prefetcher.take_turn(cluster, record.program)
        if not record.is_server:
            return
        await asyncio.to_thread(addons.place, membership.own, cluster.add_ons)
        if cluster.is_leader and membership.health.is_ready:
            await rotate_token(membership, cluster)
        is_ready = membership.health.is_ready
        if is_ready:
            await self._turns.end(membership.watch.api, record.node_name)
        with contextlib.suppress(OSError):
            # The address may be on its way; it is tried again in the next turn.
            await self._server.open(cluster.address)
        self._server.settings = membership.shared_settings() if is_ready else None

    async def _leave(self) -> None:
        self._server.settings = None
        await self._server.close()
        await self._shared.release(self.membership.watch.api, self.membership.record.node_name)
        former = self.membership.record.id
        await self.membership.leave()
        self._report = LeaderReport()
        self._is_member.clear()
        self._observations.remove(ClusterStatus, former)

    # Beside the loop.

    def _once_member(self, run: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """A node that is no member runs none of it."""

        async def run_as_member() -> None:
            while True:
                await self._is_member.wait()
                await run()

        return run_as_member

    async def _lead(self) -> None:
        while self._is_member.is_set():
            cluster, api = self._desired, self.membership.watch.api
            if cluster is not None and cluster.acts_as_leader and api is not None:
                try:
                    if self.membership.record.has_restored:
                        await self._leader.forget_vanished(api, cluster)
                        await self.membership.update(has_restored=False)
                    self._report = await self._leader.take_round(api, cluster, self.membership.own)
                except KubeApiError as error:
                    self._report = replace(self._report, problem=error.message)
            elif cluster is not None and cluster.is_native and cluster.is_server and api is not None:
                try:
                    self._report = await self._leader.watch(api, cluster)
                except KubeApiError:
                    self._report = LeaderReport()
            else:
                self._report = LeaderReport()
            self.wake()
            await asyncio.sleep(ROUND_S)

    async def _share(self) -> None:
        """The address goes as soon as this server cannot be sure to be the one that holds it."""
        dropped = ""
        try:
            while self._is_member.is_set():
                cluster, membership = self._desired, self.membership
                if cluster is None or not cluster.is_server or not cluster.api_address or not membership.interface:
                    await self._shared.give_up()
                else:
                    if dropped != cluster.api_address:
                        await self._shared.drop(membership.interface, cluster.api_address)
                        dropped = cluster.api_address
                    if membership.watch.api is not None:
                        args = (membership.watch.api, cluster.node_name, membership.interface, cluster.api_address)
                        await self._shared.keep(*args)
                    else:
                        await self._shared.check()
                await asyncio.sleep(RENEW_EVERY_S)
        finally:
            # K3s goes on without the daemon, but nobody would renew the lease.
            await self._shared.give_up()

    async def _back_up(self) -> None:
        while self._is_member.is_set():
            cluster = self._desired
            if cluster is not None and cluster.is_leader and self.membership.health.is_ready:
                await self.backups.take_turn(cluster)
                self.wake()
            await asyncio.sleep(STEADY_S)

    async def _follow_log(self) -> None:
        await logs.follow(self.membership, self.note_line)

    # What is published.

    def _explain_images(self, image_ids: Iterable[str]) -> str:
        return explain_images(self._observations, image_ids)

    def _publish_failed(self) -> None:
        """The step failed; what runs is told as it is."""
        membership = self.membership
        if membership.seen.pid:
            state = ClusterState.READY if membership.health.is_ready else ClusterState.STARTING
        else:
            state = ClusterState.LEAVING if membership.record.is_leaving else ClusterState.FAILED
        self._publish(Plan(Step.KEEP, state), self._fault)

    def _publish(self, plan: Plan | None, fault: Fault | None = None) -> None:
        """``plan`` None = there is no cluster to tell of."""
        membership = self.membership
        cluster_id = find_id(self._desired, membership.record)
        for status in list(self._observations.each(ClusterStatus)):
            if status.id != cluster_id or plan is None:
                self._observations.remove(ClusterStatus, status.id)
        if plan is None or not cluster_id:
            return
        sight = Sight(
            record=membership.record,
            is_running=bool(membership.seen.pid),
            is_ready=membership.health.is_ready,
            is_etcd_healthy=membership.health.is_etcd_healthy,
            certificates_expire_at=membership.validity.expires_at,
            ca_hash=membership.ca_hash,
            has_data=membership.has_data,
            report=self._report,
            snapshots=self.backups.snapshots,
            order_message=self.backups.order_message,
            fetched=self._prefetcher.fetched,
        )
        self._observations.publish(want_status(self._desired, sight, plan, fault))
