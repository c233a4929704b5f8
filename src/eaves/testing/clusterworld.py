"""A site of simulated boxes that obey a K3sCluster's status as nodes obey their configs: for tests of the planner, without any I/O.

Each box has power, a link to the controller, a disk and a K3s that may hold a member of etcd. :meth:`World.turn` plans once and lets
every box act once; what must never happen is checked at every turn, such as a second cluster or a lost quorum that nobody's loss
explains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from eaves.controller.compile.clusters import wire_orders
from eaves.controller.observe.clusters import MemberReport, MemberView
from eaves.controller.observe.model import EventNote
from eaves.controller.reconcile.clusters.model import ClusterInputs, ClusterPlan, NodeFacts, ReleaseFacts
from eaves.controller.reconcile.clusters.plan import plan
from eaves.kinds import k3scluster
from eaves.kinds.k3s_version import parse_k3s_version
from eaves.kinds.k3scluster import K3sCluster
from eaves.kinds.k3scluster_spec import ClusterDatastore, DeletionPolicy
from eaves.kinds.k3scluster_status import (
    AddOnStatus,
    ClusterOrderCounters,
    K3sClusterStatus,
    K3sMemberStatus,
    MemberRole,
    PodCounts,
)
from eaves.kinds.k3scluster_status import MemberWish as Wish
from eaves.kinds.times import render_time
from eaves.kube.resource import Object

UID = "6f3b1c1e-0000-4000-8000-000000000001"
START = 1_800_000_000.0
TURN_S = 15.0
_MOST_PLANS = 8
"""A written status is planned from again at once; that comes to an end."""


class Box(Struct):
    """One node. ``epoch`` names the datastore that its disk holds; 0 = none."""

    name: str
    id: str
    address: str
    labels: dict[str, str] = {}
    has_power: bool = True
    has_link: bool = True
    is_presumed: bool = False
    """The controller has not missed it yet, whatever became of it."""
    is_approved: bool = True
    architecture: str = "amd64"
    is_broken: bool = False
    """Its K3s does not become ready with the newest version that it got."""
    cannot_start: str = ""
    """A version whose K3s does not start here."""
    version: str = ""
    ran: str = ""
    """The version that its Node tells: of the kubelet that ran last."""
    epoch: int = 0
    is_agent_of: int = 0
    is_running: bool = False
    has_cluster: bool = False
    has_left: bool = False
    drained: bool = False
    pods_stuck: bool = False
    eve_k3s: str = ""
    """The version of K3s that its EVE brings; empty = the box runs Eaves."""
    eve_version: str = "16.0.0-k-amd64"
    has_told: bool = True
    is_management: bool = False
    """Its one uplink is how it reaches the controller."""
    fetched: str = ""
    cannot_fetch: str = ""
    """Why it does not get the files of a version that comes next."""
    done: ClusterOrderCounters = ClusterOrderCounters()
    expires_at: float = START + 365 * 86_400
    role: MemberRole = MemberRole.AGENT
    token: int = 0
    last: MemberReport | None = None


class World:
    """The site and the controller's view of it."""

    def __init__(self, spec: Object, names: list[str]) -> None:
        self.now = START
        self.obj: Object = {
            "apiVersion": "eaves.dev/v1alpha1",
            "kind": "K3sCluster",
            "metadata": {"name": "shop", "namespace": "default", "uid": UID, "generation": 1},
            "spec": spec,
            "status": {},
        }
        self.boxes = {name: self._box(name, number) for number, name in enumerate(names)}
        self.releases = [
            ReleaseFacts(v, v, frozenset({"amd64"})) for v in ("v1.34.2+k3s1", "v1.34.3+k3s1", "v1.35.0+k3s1")
        ]
        self.taken: dict[str, str] = {}
        self.obstacles: list[str] = []
        self.epoch = 0
        """The datastore that is the cluster's; each bootstrap and each restore makes another."""
        self.voters: set[str] = set()
        self.known: dict[str, str] = {}
        """Kubernetes Node → UUID of its device."""
        self.cluster_token = 0
        self.bootstraps = 0
        self.restores = 0
        self.snapshots = 0
        self.add_ons: tuple[AddOnStatus, ...] = ()
        """What the leader tells of them."""
        self.losses = 0
        """Boxes that the test took power or disk from: only then may quorum be lost."""
        self.notes: list[EventNote] = []
        self.is_held = True
        self.log: list[str] = []

    @staticmethod
    def _box(name: str, number: int) -> Box:
        return Box(name=name, id=f"{name}-1", address=f"10.17.0.{11 + number}/24")

    # --- What a test does ----------------------------------------------------------------------------------------------------------

    @property
    def cluster(self) -> K3sCluster:
        return k3scluster.decode(self.obj)

    @property
    def status(self) -> K3sClusterStatus:
        return self.cluster.status

    @property
    def members(self) -> Mapping[str, K3sMemberStatus]:
        return {member.node_name: member for member in self.status.members}

    def condition(self, kind: str) -> tuple[str, str, str]:
        found = next(entry for entry in self.status.conditions if entry.type == kind)
        return str(found.status), found.reason, found.message

    def edit(self, **fields: Any) -> None:
        self.obj = {**self.obj, "spec": {**self.obj["spec"], **fields}}
        self.obj["metadata"] = {**self.obj["metadata"], "generation": self.obj["metadata"]["generation"] + 1}

    def delete(self) -> None:
        self.obj["metadata"] = {**self.obj["metadata"], "deletionTimestamp": render_time(self.now)}

    def add_box(self, name: str, **fields: Any) -> Box:
        self.boxes[name] = msgspec.structs.replace(self._box(name, len(self.boxes) + 20), **fields)
        return self.boxes[name]

    def lose(self, name: str) -> None:
        """The box dies for good."""
        self.losses += 1
        self.boxes[name].has_power = self.boxes[name].has_link = False

    def replace_box(self, name: str) -> None:
        """Another device registers under the name of one that died."""
        old = self.boxes[name]
        self.losses += 1
        self.boxes[name] = Box(name=name, id=f"{old.id}x", address=old.address, labels=old.labels)

    def forget_box(self, name: str) -> None:
        """The EdgeNode is deleted."""
        self.boxes.pop(name)

    def run(self, turns: int = 80) -> None:
        """Until nothing changes any more."""
        quiet = 0
        for _ in range(turns):
            before = (msgspec.to_builtins(self.status), [msgspec.structs.astuple(box) for box in self.boxes.values()])
            self.turn()
            after = (msgspec.to_builtins(self.status), [msgspec.structs.astuple(box) for box in self.boxes.values()])
            quiet = quiet + 1 if before == after else 0
            if quiet == 4:
                return
        raise AssertionError(
            f"the cluster does not settle: {self.status.phase} {self.status.message}\n" + "\n".join(self.log[-20:])
        )

    def turn(self) -> ClusterPlan:
        """Plan until nothing changes, then everybody acts once, and the leader for the cluster."""
        self.now += TURN_S
        for _ in range(_MOST_PLANS):
            outcome = plan(self.inputs())
            assert plan(self.inputs()) == outcome, "planning is not deterministic"
            self._check_decisions(outcome)
            self.notes.extend(outcome.notes)
            is_settled = outcome.status == self.status
            self.obj = {**self.obj, "status": msgspec.to_builtins(outcome.status)}
            if is_settled:
                break
        else:
            raise AssertionError("planning goes on without news:\n" + "\n".join(self.log[-_MOST_PLANS:]))
        self.is_held = outcome.is_held
        self.act_alone()
        return outcome

    def act_alone(self) -> None:
        """Everybody acts once by what was decided before, without a controller."""
        for box in self.boxes.values():
            self._act(box)
        self._lead()
        for box in self.boxes.values():
            if box.is_running:
                box.ran = box.version
            if box.has_link and box.has_power:
                box.last = self._report(box)
        self._check()

    def inputs(self) -> ClusterInputs:
        nodes = {
            box.name: NodeFacts(
                name=box.name,
                id=box.id,
                labels=box.labels,
                is_approved=box.is_approved,
                is_connected=(box.has_link and box.has_power) or box.is_presumed,
                has_config=True,
                has_told=box.has_told,
                runs_eve=bool(box.eve_k3s) and box.has_told,
                eve_version=box.eve_version if box.eve_k3s else "",
                management=frozenset({"eth0"} if box.is_management else ()),
                architecture=box.architecture,
                addresses={"eth0": (box.address,)},
            )
            for box in self.boxes.values()
        }
        return ClusterInputs(
            cluster=self.cluster,
            nodes=nodes,
            reports={box.id: box.last for box in self.boxes.values() if box.last is not None},
            releases=self.releases,
            taken=self.taken,
            obstacles=self.obstacles,
            now=self.now,
        )

    # --- Boxes ---------------------------------------------------------------------------------------------------------------------

    def config_of(self, box: Box) -> K3sMemberStatus | None:
        """What its config says, None when it has no cluster in it."""
        member = self.members.get(box.name)
        if member is None or member.id != box.id or member.want is Wish.LEFT:
            return None
        # As the compiler has it: EVE cannot hold K3s back.
        return None if box.eve_k3s and member.stopped and not member.joined else member

    def _act(self, box: Box) -> None:
        if not box.has_power:
            box.is_running = False
            return
        if not box.has_link:
            return
        config = self.config_of(box)
        if config is None:
            if box.has_cluster:
                self._leave(box)
            return
        box.has_cluster, box.has_left, box.role = True, False, config.role
        if box.eve_k3s:
            box.version = box.eve_k3s
            self._start(box, config.role)
            return
        if config.stopped:
            box.is_running = False
            return
        self._fetch(box, config.next_version)
        orders = wire_orders(config)
        if orders.restore and orders.restore != box.done.restore:
            self._restore(box, orders.restore)
        if config.version != box.version:
            box.version, box.is_running = config.version, False
            return
        self._obey(box, orders)
        self._start(box, config.role)

    def _start(self, box: Box, role: MemberRole) -> None:
        if box.is_running or box.cannot_start == box.version:
            return
        if role is MemberRole.AGENT:
            box.is_running = self.has_api or box.is_agent_of == self.epoch
            if box.is_running:
                box.is_agent_of = self.epoch
                self.known[box.name] = box.id
        else:
            self._start_server(box)

    def _fetch(self, box: Box, version: str) -> None:
        if box.is_running:
            box.fetched = version if not box.cannot_fetch else ""

    def _start_server(self, box: Box) -> None:
        if box.epoch == self.epoch and self.epoch:
            box.is_running = box.id in self.voters
            return
        if self.status.first_server == box.name and not self.status.initialized:
            assert self.epoch == 0, f"{box.name} makes a second cluster"
            self.bootstraps += 1
            self._found(box)
        elif self.has_api and self.status.first_server != box.name:
            others = [other for other in self.boxes.values() if other.name == box.name and other.id != box.id]
            if others or self.known.get(box.name, box.id) != box.id or box.id in self.voters:
                # The cluster knows another device, or a member with data, by this name.
                return
            box.epoch, box.is_running = self.epoch, True
            self.voters.add(box.id)
            self.known[box.name] = box.id

    def _found(self, box: Box) -> None:
        self.epoch += 1
        box.epoch, box.is_running = self.epoch, True
        self.voters = {box.id}
        self.known[box.name] = box.id

    def _restore(self, box: Box, counter: int) -> None:
        box.is_running = False
        box.done = msgspec.structs.replace(box.done, restore=counter)
        if self.status.first_server == box.name:
            self.restores += 1
            running = [other.name for other in self._running_servers() if other is not box]
            assert not running, f"{running} run while {box.name} restores"
            known = dict(self.known)
            self._found(box)
            self.known |= known
        else:
            box.epoch = 0

    def _obey(self, box: Box, orders: ClusterOrderCounters) -> None:
        if not box.is_running:
            return
        if orders.snapshot and orders.snapshot != box.done.snapshot:
            self.snapshots += 1
            box.done = msgspec.structs.replace(box.done, snapshot=orders.snapshot)
        if orders.rotate_certificates and orders.rotate_certificates != box.done.rotate_certificates:
            box.done = msgspec.structs.replace(box.done, rotate_certificates=orders.rotate_certificates)
            box.expires_at, box.is_running = self.now + 365 * 86_400, False
        elif orders.rotate_token and orders.rotate_token != box.done.rotate_token:
            box.done = msgspec.structs.replace(box.done, rotate_token=orders.rotate_token)
            box.token = self.cluster_token = orders.rotate_token
            box.is_running = False

    def _leave(self, box: Box) -> None:
        if box.eve_k3s:
            # It drains itself, deletes its Node and goes back to the single-node K3s that it ran before.
            self.voters.discard(box.id)
            self.known.pop(box.name, None)
        box.is_running = box.has_cluster = box.drained = False
        box.epoch = box.is_agent_of = 0
        box.version, box.done, box.has_left = "", ClusterOrderCounters(), True

    # --- The cluster ---------------------------------------------------------------------------------------------------------------

    def _running_servers(self) -> list[Box]:
        return [box for box in self.boxes.values() if box.is_running and box.has_power and box.id in self.voters]

    @property
    def has_api(self) -> bool:
        voters = len(self.voters)
        return bool(voters) and len(self._running_servers()) >= voters // 2 + 1

    def _lead(self) -> None:
        leader = self.boxes.get(self.status.leader)
        if leader is None or leader not in self._running_servers() or not leader.has_link or not self.has_api:
            return
        for name, member in self.members.items():
            box = self.boxes.get(name)
            is_same = box is not None and box.id == member.id
            if leader.eve_k3s and member.want is not Wish.REMOVED:
                continue
            if box is not None and is_same and member.want is Wish.DRAINED:
                box.drained = not box.pods_stuck
            elif box is not None and is_same and member.want is Wish.READY:
                box.drained = False
            elif member.want is Wish.REMOVED and (member.role is MemberRole.SERVER or not leader.eve_k3s):
                if not self._may_take_out(member.id):
                    continue
                self.voters.discard(member.id)
                if self.known.get(name) == member.id:
                    del self.known[name]
                if box is not None and is_same:
                    box.is_running, box.epoch, box.is_agent_of = False, 0, 0

    def _may_take_out(self, device_id: str) -> bool:
        """As etcd has it (strict reconfiguration): the voters that are left must be able to go on at once."""
        left = self.voters - {device_id}
        running = sum(1 for box in self._running_servers() if box.id in left)
        return device_id not in self.voters or running >= len(left) // 2 + 1

    def _tell_as_eve(self, box: Box) -> MemberReport | None:
        """What an EVE device told last: of those that run, the first tells of all Nodes."""
        running = [other for other in self.boxes.values() if other.eve_k3s and other.is_running and other.has_power]
        if not running or running[0] is not box or not self.has_api:
            return box.last
        views = {key: view for key, view in self._views(is_leader=False).items() if view.version}
        former = [other.last.seq for other in self.boxes.values() if other.eve_k3s and other.last is not None]
        if box.last is not None and box.last.views == views and box.last.seq == max(former):
            # What has not changed is not told again.
            return box.last
        return MemberReport(is_server=True, api_ready=True, has_data=True, views=views, seq=max(former, default=0) + 1)

    def _report(self, box: Box) -> MemberReport | None:
        if box.eve_k3s:
            return self._tell_as_eve(box)
        if box.has_left:
            return MemberReport(has_left=True)
        if not box.has_cluster:
            return box.last
        is_server = box.role is MemberRole.SERVER
        is_up = box.is_running and (self.has_api or not is_server) and not box.is_broken
        is_leader = box.name == self.status.leader and is_server and is_up
        config = self.config_of(box)
        stopped = config is not None and config.stopped
        return MemberReport(
            state="Stopped" if stopped else "Ready" if is_up else "Starting",
            version=box.version if box.is_running else "",
            is_server=is_server,
            api_ready=is_server and is_up,
            etcd_healthy=is_server and is_up,
            etcd_members=len(self.voters) if is_server else 0,
            has_data=is_server and self.holds_data(box),
            keeps_data=config is not None and self.cluster.spec.deletion_policy is DeletionPolicy.KEEP_DATA,
            is_leader=is_leader,
            ca_hash="c" * 64 if is_server and is_up else "",
            certificates_expire_at=render_time(box.expires_at),
            done=box.done,
            fetched_version=box.fetched,
            fetch_message=box.cannot_fetch if config is not None and config.next_version else "",
            views=self._views(is_leader=is_leader) if is_server and is_up else {},
            add_ons=self.add_ons if is_leader else (),
            pods=PodCounts(total=3, running=3) if is_leader else None,
        )

    def holds_data(self, box: Box) -> bool:
        """No server does with an external datastore."""
        is_external = self.cluster.spec.datastore is ClusterDatastore.EXTERNAL
        return not is_external and box.epoch == self.epoch and box.epoch > 0 and box.id in self.voters

    def _views(self, *, is_leader: bool) -> dict[str, MemberView]:
        views = {}
        for name, member in self.members.items():
            box = self.boxes.get(name)
            is_there = box is not None and box.id == member.id and self.known.get(name) == member.id
            ready = box is not None and is_there and box.is_running and box.has_power and not box.is_broken
            views[member.id] = MemberView(
                ready=ready,
                drained=is_leader and box is not None and is_there and box.drained,
                removed=is_leader and self.known.get(name) != member.id and member.id not in self.voters,
                version=box.ran if box is not None and is_there else "",
            )
        return views

    # --- What must always hold -----------------------------------------------------------------------------------------------------

    def _check_decisions(self, outcome: ClusterPlan) -> None:
        status = outcome.status
        self.log.append(
            f"{status.phase}: {status.message} | "
            + " ".join(f"{m.node_name}:{m.want[0]}{'s' if m.stopped else ''}{m.version[1:7]}" for m in status.members)
        )
        servers = [member for member in status.members if member.role is MemberRole.SERVER]
        removing = [member.node_name for member in servers if member.want is Wish.REMOVED]
        assert len(removing) <= 1, f"several servers are taken out at once: {removing}"
        if not status.initialized:
            started = [m.node_name for m in servers if not m.stopped and m.want in (Wish.READY, Wish.DRAINED)]
            assert started in ([], [status.first_server]), f"{started} start before the cluster is there"
        under_way = [
            m for m in servers if m.joined and not m.runs_eve and m.running_version and m.version != m.running_version
        ]
        assert len(under_way) <= 1, f"several servers are upgraded at once: {[m.node_name for m in under_way]}"
        assert len({member.address for member in status.members if member.address}) == len(
            [member for member in status.members if member.address]
        ), "two members have one address"

    def _check(self) -> None:
        versions = [parse_k3s_version(box.version) for box in self.boxes.values() if box.is_running and box.has_link]
        minors = {version.minor for version in versions if version is not None}
        assert not minors or max(minors) - min(minors) <= 1, f"versions too far apart: {minors}"
        servers = [parse_k3s_version(box.version) for box in self._running_servers()]
        for box in self.boxes.values():
            version = parse_k3s_version(box.version)
            is_ordered = box.is_running and not box.eve_k3s
            if is_ordered and box.role is MemberRole.AGENT and version is not None and servers:
                assert version <= min(server for server in servers if server is not None), f"agent {box.name} is ahead"
        assert self.bootstraps <= 1 + self.losses, "a second cluster was made"
        if self.epoch and not self.losses and self.status.phase != "Deleting":
            down = len(self.voters) - len(self._running_servers())
            assert down <= max(1, (len(self.voters) - 1) // 2) or self.restores or self._is_restoring(), (
                "quorum was given away"
            )

    def _is_restoring(self) -> bool:
        order = self.cluster.spec.operations.restore
        return order is not None and order.counter > self.status.done.restore
