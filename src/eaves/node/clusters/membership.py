"""One membership on this node: looks at what is there, and carries out what :mod:`.plan` decides.

Owned by :class:`.service.Clusters`. Every step may be cut off at any point and is taken again from what is found then.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from eaves.kit import files, process
from eaves.kit.retry import Backoff
from eaves.node import pids
from eaves.node.clusters import addons, addresses, certificates, cgroups, leaving, program, running, spec
from eaves.node.clusters.apihealth import ApiWatch, Health
from eaves.node.clusters.errors import ClusterError
from eaves.node.clusters.joining import Answer, ask, ask_all, judge
from eaves.node.clusters.model import ClusterFolders, ClusterRecord
from eaves.node.clusters.plan import Plan, View, has_order, joins_anew
from eaves.node.clusters.preparing import FindPin, Preparer, Program
from eaves.node.clusters.running import K3sSeen
from eaves.node.clusters.spec import K3sSpec, Surroundings
from eaves.node.clusters.statusserver import SharedSettings
from eaves.node.clusters.veil import Veil, load_words
from eaves.node.desired.cluster_model import ClusterDatastore, DesiredCluster
from eaves.node.images.ways import FindWay, find_host_way
from eaves.node.instance import Instance
from eaves.node.networks.model import Port
from eaves.node.statefile import StateFile
from eaves.node.workloads.abc import Usage

log = logging.getLogger(__name__)

FIRST_RESTART_S, LIMIT_RESTART_S = 2.0, 300.0
HEALTHY_AFTER_S = 600.0
"""K3s that ran this long starts its back-off anew."""
STOP_GRACE_S = 60.0
CERTIFICATES_EVERY_S = 60.0
ANSWERS_HOLD_S = 10.0
"""A decision to make a cluster rests on what the other servers say now, not an hour ago."""
ROTATE_TIMEOUT_S = 300.0


class Membership:
    """``find_pin``: content tree id → what is here of it. ``own_binary``: program for controllers that name none."""

    def __init__(
        self,
        instance: Instance,
        *,
        find_pin: FindPin,
        ports: Sequence[Port],
        own_binary: str,
        proxies: Mapping[str, str],
        find_way: FindWay = find_host_way,
        status_port: int,
    ) -> None:
        self._instance = instance
        self._ports = ports
        self.proxies = proxies
        self.find_way = find_way
        self.preparer = Preparer(instance, find_pin=find_pin, own_binary=own_binary, proxies=proxies, find_way=find_way)
        self._status_port = status_port
        self._file = StateFile(instance.state_dir / "cluster.json", ClusterRecord)
        self.backup_file = instance.state_dir / "backups.json"
        self._backoff = Backoff(FIRST_RESTART_S, LIMIT_RESTART_S, jitter=0.1)
        self._counted_end = 0.0
        self._start_after = 0.0
        self._end_message = ""
        self.interface = ""
        self.ca_hash = ""
        self.has_data = False
        self._answer = Answer()
        self._join_problem = ""
        self._other_server = ""
        self._asked_at = float("-inf")
        self._saving = asyncio.Lock()
        self._certificates_mark: tuple[str, int, bool, int] | None = None
        self.record = ClusterRecord()
        self.seen = K3sSeen()
        self.health = Health()
        self.validity = certificates.Validity()
        self.veil = Veil()
        """Over all that K3s says."""
        self.watch = ApiWatch(self.folders(""))
        self.generation = 0
        """Counts departures: who follows one membership ends when it does, whatever comes after."""

    async def open(self) -> None:
        self.record = await self._file.load()
        self.watch = ApiWatch(self.folders(self.record.id))
        self.veil.learn(await asyncio.to_thread(load_words, self.own))

    def folders(self, cluster_id: str) -> ClusterFolders:
        return ClusterFolders(self._instance.k3s_dir / cluster_id, self._instance.k3s_run_dir / cluster_id)

    @property
    def own(self) -> ClusterFolders:
        return self.folders(self.record.id)

    async def update(self, **changes: Any) -> None:
        """Change fields of the record, durably. The loop and the backups do so at once, so nobody saves a record of his own.

        Raises OSError; the former record then holds. After a departure there is nothing to change.
        """
        async with self._saving:
            if not self.record.id and "id" not in changes:
                return
            record = replace(self.record, **changes)
            await self._file.save(record)
            self.record = record

    async def note_done(self, **orders: int) -> None:
        """Note orders that have been obeyed. Raises OSError."""
        await self.update(done=replace(self.record.done, **orders))

    # Looking.

    async def look(self, cluster: DesiredCluster | None) -> View:
        """What is there now. Raises ClusterError when the machine lacks something that a start needs."""
        folders = self.own
        self.seen = await running.observe(folders) if self.record.id else K3sSeen()
        has_datastore = cluster is not None and cluster.datastore is not ClusterDatastore.SQLITE
        self.health = Health()
        if self.seen.pid:
            self.health = await self.watch.look(is_server=self.record.is_server, has_datastore=has_datastore)
        await self._look_at_certificates(folders)
        await self._note_health()
        self._note_end()
        is_anew = cluster is not None and joins_anew(cluster, self.record)
        self.has_data = (
            cluster is not None and not is_anew and await asyncio.to_thread(has_data, self.folders(cluster.id), cluster)
        )
        self.ca_hash = await asyncio.to_thread(load_ca_hash, folders) if self.record.is_server else ""
        wanted = self.preparer.find_program(cluster) if cluster is not None else Program()
        return View(
            record=self.record,
            is_running=bool(self.seen.pid),
            is_ready=self.health.is_ready,
            has_data=self.has_data,
            was_removed=self.record.is_server and await asyncio.to_thread(folders.tombstone.exists),
            is_renewal_due=certificates.is_renewal_due(
                self.validity, self.seen.started_at, time.time(), self.record.node_name, is_ready=self.health.is_ready
            ),
            missing_images=wanted.missing,
            wanted_digest=await self._want_digest(cluster, wanted) if cluster is not None else "",
            join_problem=self._join_problem,
            other_server=self._other_server,
            was_asked=time.monotonic() - self._asked_at < ANSWERS_HOLD_S,
            start_after=self._start_after,
            end_message=self._end_message,
            now=time.monotonic(),
        )

    async def ask_servers(self, cluster: DesiredCluster) -> None:
        """Ask whom the config says to join, and every other server that it names."""
        others = [member.address for member in cluster.servers if member.address != cluster.address]
        self._answer, self._join_problem = Answer(), ""
        if cluster.join_address != cluster.address:
            self._answer = await ask(cluster.join_address, port=self._status_port)
            self._join_problem = judge(self._answer, cluster.id, cluster.orders.restore)
        others = [address for address in others if address != cluster.join_address]
        self._other_server, answer = await ask_all(others, cluster.id, cluster.orders.restore, port=self._status_port)
        if self._other_server and (self._join_problem or cluster.join_address == cluster.address):
            self._answer = answer
        self._asked_at = time.monotonic()

    # Steps.

    async def start(self, cluster: DesiredCluster, plan: Plan) -> None:
        """Everything from the address to the process. Raises EavesError, OSError."""
        if plan.join:
            cluster = replace(cluster, join_address=plan.join)
        if plan.joins_anew:
            await asyncio.to_thread(forget_member, self.folders(cluster.id))
        rendered, backend = await self.prepare(cluster, is_first=plan.is_first)
        if cluster.is_server:
            await asyncio.to_thread(addons.place, self.own, cluster.add_ons)
        await self._renew(cluster, rendered)
        await self._run(cluster, rendered, backend)

    async def prepare(self, cluster: DesiredCluster, *, is_first: bool) -> tuple[K3sSpec, str]:
        """All but the process: address, program, bundles, files. Answers what to start and the flannel backend."""
        await self.begin(cluster)
        interface = await self._want_address(cluster)
        wanted = self.preparer.find_program(cluster)
        await self.preparer.install(cluster, wanted, self.own, self.record.program)
        await self.preparer.learn_proxies()
        around = await self._surround(cluster, wanted, interface, is_first=is_first)
        rendered = spec.render_spec(self.with_token(cluster), around)
        await asyncio.to_thread(running.save_files, self.own, rendered)
        self.veil.learn(await asyncio.to_thread(load_words, self.own))
        await asyncio.to_thread(running.save_node_password, cluster.node_name, rendered.token)
        return rendered, around.backend

    def with_token(self, cluster: DesiredCluster) -> DesiredCluster:
        """The token that the cluster goes by now: the former one until the leader has made the new one known."""
        if cluster.former_token and cluster.orders.rotate_token > self.record.done.rotate_token:
            return replace(cluster, token=cluster.former_token)
        return cluster

    async def start_again(self) -> None:
        """With the files that are on the disk, while the config cannot be understood. Raises EavesError, OSError."""
        role = "server" if self.record.is_server else "agent"
        argv = (self.record.program, role, "--config", str(self.own.config))
        groups = await asyncio.to_thread(cgroups.make, self._instance.k3s_cgroup, 0, 0)
        if self.record.address:
            await addresses.add_address(self.record.interface, self.record.address)
        await self.preparer.learn_proxies()
        kept = K3sSpec(argv, self.preparer.environment(), {}, "", "", {}, self.record.started_spec)
        await running.start(self.own, kept, groups)

    async def stop(self) -> None:
        """End K3s; its pods go on. The note of its start goes too, so that nobody takes this for a crash."""
        log.info("K3s is stopped: cluster=%s", self.record.name)
        await self.watch.close()
        await pids.stop(self.seen.pid, STOP_GRACE_S)
        await asyncio.to_thread((self.own.run / "state.json").unlink, missing_ok=True)
        self._start_after = 0.0

    async def leave(self, *, keep_data: bool | None = None) -> None:
        """Remove every trace of the membership. Raises EavesError, OSError; then it is tried again."""
        await self.update(is_leaving=True, keep_data=self.record.keep_data if keep_data is None else keep_data)
        record = self.record
        await self.watch.close()
        self.seen = await asyncio.to_thread(running.load_seen, self.own)
        if self.seen.pid:
            await pids.stop(self.seen.pid, STOP_GRACE_S)
        await leaving.remove_traces(self._instance, self.own, record)
        async with self._saving:
            await self._file.remove()
            self.record = ClusterRecord()
            self.generation += 1
        log.info("cluster left: cluster=%s data_kept=%s", record.name, record.keep_data)
        self._forget_answers()
        self._start_after, self._end_message = 0.0, ""

    async def run_k3s(self, *words: str, timeout_s: float = ROTATE_TIMEOUT_S) -> process.Completed:
        """A command of K3s's own, with this node's data. Raises EavesError."""
        argv = [self.record.program or self.preparer.own_binary, *words, "--data-dir", str(self.own.data)]
        # Without the config: its ``server`` would send the command to whom this node joined once.
        environment = {**self.preparer.environment(), "K3S_NODE_NAME": self.record.node_name}
        return await process.run(argv, timeout_s=timeout_s, env=environment)

    def observe_usage(self) -> Usage | None:
        """Counters of K3s and its pods. Blocking, short."""
        return cgroups.observe_usage(self._instance.k3s_cgroup)

    def shared_settings(self) -> SharedSettings:
        """What other servers must agree on."""
        return SharedSettings(self.record.id, self.record.flannel_backend, self.record.done.restore)

    # Parts of a start.

    async def begin(self, cluster: DesiredCluster) -> None:
        """Note whose member this node is before anything is made, so that it is removed again whatever happens."""
        await self.update(
            id=cluster.id,
            name=cluster.name,
            node_name=cluster.node_name,
            is_server=cluster.is_server,
            member_since=cluster.member_since,
            keep_data=cluster.keep_data,
            before=self.record.before or await leaving.observe_before(),
        )
        await self.watch.close()
        self.watch = ApiWatch(self.own)

    async def _want_address(self, cluster: DesiredCluster) -> str:
        """The cluster's port, with the cluster IP on it."""
        interface = await addresses.want_interface(cluster.interface_label, self._ports)
        address = f"{cluster.address}/{cluster.prefix_length}"
        if self.record.address and (self.record.address, self.record.interface) != (address, interface.name):
            await addresses.remove_address(self.record.interface, self.record.address)
            await self.update(address="", interface="")
        if not interface.has(cluster.address) or self.record.address:
            await self.update(address=address, interface=interface.name)
            await addresses.add_address(interface.name, address)
        self.interface = interface.name
        return interface.name

    async def _renew(self, cluster: DesiredCluster, rendered: K3sSpec) -> None:
        """Before a start: nothing that a wrong clock would spoil; certificates anew where the start alone would not do."""
        now = time.time()
        validity = await asyncio.to_thread(certificates.load_validity, self.own)
        if certificates.is_clock_behind(validity, now):
            raise ClusterError(
                "the clock of this node is before the begin of the cluster's certificates",
                code="ClockBehind",
                resolution="set the clock; K3s is started as soon as it is right",
            )
        is_ordered = has_order(cluster, self.record)
        if validity.expires_at and (is_ordered or certificates.is_expired(validity, now)):
            argv = [rendered.argv[0], "certificate", "rotate", "--data-dir", str(self.own.data)]
            await process.run(argv, timeout_s=ROTATE_TIMEOUT_S, env=rendered.environment)
            log.info("certificates are rotated: cluster=%s ordered=%s", cluster.name, is_ordered)
        if is_ordered:
            await self.note_done(rotate_certificates=cluster.orders.rotate_certificates)

    async def _run(self, cluster: DesiredCluster, rendered: K3sSpec, backend: str) -> None:
        groups = await asyncio.to_thread(
            cgroups.make, self._instance.k3s_cgroup, cluster.memory_reserved_bytes, cluster.cpu_reserved_millis
        )
        await self.update(
            is_installed=True,
            version=cluster.version or await program.observe_version([rendered.argv[0]]),
            program=rendered.argv[0],
            flannel_backend=backend,
            started_spec=rendered.digest,
        )
        if not cluster.former_token:
            # Started with the new token, whether this order or an earlier one brought it.
            await self.note_done(rotate_token=cluster.orders.rotate_token)
        await running.start(self.own, rendered, groups)
        self._forget_answers()
        log.info("K3s is started: cluster=%s version=%s", self.record.name, self.record.version)

    async def _surround(
        self, cluster: DesiredCluster, wanted: Program, interface: str, *, is_first: bool
    ) -> Surroundings:
        known = self._answer.settings.flannel_backend or self.record.flannel_backend
        folders = self.folders(cluster.id)
        return await self.preparer.surround(cluster, wanted, interface, folders, known, is_first=is_first)

    async def _want_digest(self, cluster: DesiredCluster, wanted: Program) -> str:
        if wanted.missing or not self.record.is_installed:
            return ""
        if not self.interface or await asyncio.to_thread(addresses.has_moved, self.interface):
            self.interface = (await addresses.want_interface(cluster.interface_label, self._ports)).name
        around = await self._surround(cluster, wanted, self.interface, is_first=False)
        return spec.render_spec(self.with_token(cluster), around).digest

    async def _look_at_certificates(self, folders: ClusterFolders) -> None:
        """Now and then: they change when K3s starts, and for the rest of a year not at all."""
        mark = (self.record.id, self.seen.pid, self.health.is_ready, int(time.monotonic() / CERTIFICATES_EVERY_S))
        if mark != self._certificates_mark:
            self.validity = await asyncio.to_thread(certificates.load_validity, folders)
            self._certificates_mark = mark

    async def _note_health(self) -> None:
        if self.health.is_ready and not self.record.has_been_ready:
            await self.update(has_been_ready=True)
        if self.health.is_ready and time.time() - self.seen.started_at > HEALTHY_AFTER_S:
            self._backoff.reset()

    def _note_end(self) -> None:
        """K3s ended by itself: when it is started again, and what to tell."""
        seen = self.seen
        if seen.pid or not seen.was_started or seen.started_at == self._counted_end:
            return
        self._counted_end = seen.started_at
        self._end_message = self.veil.hide(running.explain_end(seen.end))
        delay_s = self._backoff.next_s()
        self._start_after = time.monotonic() + delay_s
        self.record = replace(self.record, restarts=self.record.restarts + 1)
        log.warning(
            "K3s ended by itself: cluster=%s %s: restart_in_s=%.0f", self.record.name, self._end_message, delay_s
        )

    def _forget_answers(self) -> None:
        self._asked_at, self._join_problem, self._other_server = float("-inf"), "", ""


def has_data(folders: ClusterFolders, cluster: DesiredCluster) -> bool:
    """Whether the cluster's datastore is on this disk. Blocking."""
    if cluster.datastore is ClusterDatastore.SQLITE:
        return (folders.data / "server" / "db" / "state.db").exists()
    has_etcd = cluster.datastore is ClusterDatastore.EMBEDDED_ETCD and (folders.etcd / "member").is_dir()
    return has_etcd and not folders.tombstone.exists()


def forget_member(folders: ClusterFolders) -> None:
    """Let K3s put the data of a former member aside when it starts, as it does by itself when etcd tells it. Blocking. Raises OSError."""
    if folders.etcd.is_dir():
        files.save_file(folders.tombstone, b"")


def load_ca_hash(folders: ClusterFolders) -> str:
    """As in K3s's secure tokens: SHA-256 of the servers' certificate authority. Blocking; empty = there is none."""
    raw = files.load_file(folders.server_tls / "server-ca.crt")
    return hashlib.sha256(raw).hexdigest() if raw else ""
