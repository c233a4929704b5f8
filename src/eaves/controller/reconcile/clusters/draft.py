"""A cluster while it is being planned: members by name, decisions so far, and what holds things up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import StrEnum

import msgspec
from msgspec import Struct

from eaves.controller.reconcile.clusters.model import ClusterInputs, NodeFacts
from eaves.kinds.durations import parse_duration_s
from eaves.kinds.k3s_version import K3sVersion, find_span, parse_k3s_version
from eaves.kinds.k3scluster_spec import ClusterDatastore
from eaves.kinds.k3scluster_status import K3sMemberStatus, MemberRole, MemberWish
from eaves.kinds.times import parse_time, render_time

BELONGING = (MemberWish.READY, MemberWish.DRAINED)


class Activity(StrEnum):
    """What is going on, by which phase and conditions are told."""

    WAITING = "Waiting"
    """Nothing of the cluster can start."""
    CREATING = "Creating"
    UPDATING = "Updating"
    UPGRADING = "Upgrading"
    RESTORING = "Restoring"
    FAULT = "Fault"
    """Something is broken and does not mend by waiting."""


class Remark(Struct, frozen=True):
    """Why something is not as it should be yet."""

    activity: Activity
    reason: str
    message: str


class Draft:
    """Filled by the steps of the planner, one after the other."""

    def __init__(self, inputs: ClusterInputs) -> None:
        status = inputs.cluster.status
        self.inputs = inputs
        self.spec = inputs.cluster.spec
        self.now = inputs.now
        self.before = status
        self.members = {member.node_name: member for member in status.members}
        self.first_server = status.first_server
        self.initialized = status.initialized
        self.leader = status.leader
        self.ca_hash = status.ca_hash
        self.done = status.done
        self.automatic_rotations = status.automatic_rotations
        self.rotated_at = status.rotated_at
        self.remarks: list[Remark] = []
        self.forget: set[str] = set()
        self.roles: dict[str, MemberRole] = {}
        """Who is to be a member, as what."""
        self.leaving: set[str] = set()
        """Members on their way out."""
        self._deadlines: list[float] = []

    # --- What is there -------------------------------------------------------------------------------------------------------------

    def node_of(self, member: K3sMemberStatus) -> NodeFacts | None:
        """Its EdgeNode; None when that is gone or another device has its name."""
        node = self.inputs.nodes.get(member.node_name)
        return node if node is not None and node.id == member.id else None

    def is_connected(self, member: K3sMemberStatus) -> bool:
        node = self.node_of(member)
        return node is not None and node.is_connected

    def explain_contact(self, member: K3sMemberStatus) -> str:
        """Why its device cannot tell; empty when it can."""
        if self.is_connected(member):
            return ""
        return "the node is out of contact" if self.node_of(member) is not None else "its EdgeNode is gone"

    def by_role(self, role: MemberRole) -> list[K3sMemberStatus]:
        """Those that are to be members, by name."""
        return [member for member in self._sorted() if member.role is role and member.want in BELONGING]

    def servers(self) -> list[K3sMemberStatus]:
        return self.by_role(MemberRole.SERVER)

    def agents(self) -> list[K3sMemberStatus]:
        return self.by_role(MemberRole.AGENT)

    def started(self) -> list[K3sMemberStatus]:
        """Members whose K3s may run."""
        return [member for member in self._sorted() if member.want in BELONGING and not member.stopped]

    def staying(self) -> list[K3sMemberStatus]:
        """Members whose K3s may run and that are not on their way out."""
        return [member for member in self.started() if member.node_name not in self.leaving]

    def obeying(self) -> list[K3sMemberStatus]:
        """Those of :meth:`staying` that take versions and orders."""
        return [member for member in self.staying() if not member.runs_eve]

    def holders(self) -> list[K3sMemberStatus]:
        """Servers that hold the cluster's state, those on their way out included."""
        return [
            member
            for member in self._sorted()
            if member.role is MemberRole.SERVER and member.has_data and member.want is not MemberWish.LEFT
        ]

    def _sorted(self) -> Iterator[K3sMemberStatus]:
        return (self.members[name] for name in sorted(self.members))

    @property
    def has_api(self) -> bool:
        return any(member.api_ready and self.is_connected(member) for member in self.servers())

    @property
    def acting_leader(self) -> K3sMemberStatus | None:
        """The leader, while it can act and tell."""
        member = self.members.get(self.leader)
        return member if member is not None and member.api_ready and self.is_connected(member) else None

    @property
    def can_drain(self) -> bool:
        """Whether the leader drains others and forgets their Nodes; one that runs EVE takes no orders."""
        leader = self.acting_leader
        return leader is None or not leader.runs_eve

    @property
    def has_eve(self) -> bool:
        return any(member.runs_eve and member.want in BELONGING for member in self.members.values())

    @property
    def has_quorum_rules(self) -> bool:
        return self.spec.datastore is ClusterDatastore.EMBEDDED_ETCD

    @property
    def keeps_state_on_servers(self) -> bool:
        """Whether servers hold the cluster's state; with an External datastore none does, and each that joined is as good."""
        return self.spec.datastore is not ClusterDatastore.EXTERNAL

    def find_span(self) -> tuple[K3sVersion, K3sVersion] | None:
        """Lowest and highest version of those that stay and do not bring their own; None while no K3s of the cluster has run."""
        return find_span(
            (member.running_version, member.version if member.joined else "")
            for member in self.members.values()
            if member.want in BELONGING and not member.runs_eve
        )

    def running_versions(self) -> list[K3sVersion]:
        found = (parse_k3s_version(member.running_version) for member in self.members.values())
        return [version for version in found if version is not None]

    # --- Decisions -----------------------------------------------------------------------------------------------------------------

    def change(self, member: K3sMemberStatus, **fields: object) -> K3sMemberStatus:
        """Set fields of a member, with the time where it is kept."""
        if fields.get("want", member.want) is not member.want:
            fields["want_since"] = render_time(self.now)
        if fields.get("version", member.version) != member.version:
            fields["version_since"] = render_time(self.now)
        changed = msgspec.structs.replace(member, **fields)
        self.members[member.node_name] = changed
        return changed

    def drop(self, member: K3sMemberStatus) -> None:
        """It is no member any more; one that is wanted again begins anew."""
        del self.members[member.node_name]
        self.forget.add(member.id)

    def say(self, activity: Activity, reason: str, message: str) -> None:
        remark = Remark(activity, reason, message)
        if remark not in self.remarks:
            self.remarks.append(remark)

    def has_passed(self, since: str | None, duration: str) -> bool:
        """Whether so much time has gone by; the plan is made again when it will have."""
        if since is None:
            return False
        return self.is_past(parse_time(since) + (parse_duration_s(duration) or 0))

    def is_past(self, moment: float) -> bool:
        """Whether the time, in Unix seconds, has come; the plan is made again when it will have."""
        left_s = moment - self.now
        if 0 < left_s < math.inf:
            self._deadlines.append(left_s)
        return left_s <= 0

    @property
    def look_again_s(self) -> float | None:
        return min(self._deadlines, default=None)
