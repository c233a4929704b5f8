"""What is known of a K3sCluster, and what was decided: the decisions are kept here before any node hears of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Struct

from eaves.kinds.fields import Conditions, Quantity, Time, about, keyed


class K3sClusterPhase(StrEnum):
    PENDING = "Pending"
    """It waits for something before the first server can start."""
    CREATING = "Creating"
    READY = "Ready"
    UPDATING = "Updating"
    """Members join or leave, certificates or the token change."""
    UPGRADING = "Upgrading"
    RESTORING = "Restoring"
    DEGRADED = "Degraded"
    DELETING = "Deleting"


class MemberRole(StrEnum):
    SERVER = "Server"
    AGENT = "Agent"


class MemberWish(StrEnum):
    READY = "Ready"
    DRAINED = "Drained"
    """Its pods are to go elsewhere."""
    REMOVED = "Removed"
    """Its Node and its etcd member are to go."""
    LEFT = "Left"
    """Its config has no cluster any more; it takes K3s away."""


class ClusterOrderCounters(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Orders by their counters."""

    snapshot: Annotated[int, about("Snapshot on order.")] = 0
    restore: Annotated[int, about("Restore.")] = 0
    rotate_certificates: Annotated[int, about("Renewal of certificates, with those that were due by themselves.")] = 0
    rotate_token: Annotated[int, about("Change of the token.")] = 0


class K3sMemberStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """One member: first what was decided for it, then what it and the leader tell of it."""

    node_name: Annotated[str, about("EdgeNode.")]
    id: Annotated[str, about("UUID of the device, by which a replaced EdgeNode is told from its predecessor.")]
    role: Annotated[MemberRole, about("Server or Agent.")]
    runs_eve: Annotated[
        bool, about("The device runs EVE, which brings its own K3s and heeds the public fields alone.")
    ] = msgspec.field(default=False, name="runsEVE")
    address: Annotated[str, about("Its address on the cluster interface, with prefix length.")] = ""
    member_since: Annotated[
        Time | None, about("When it was entered here; one that was taken out and is wanted again begins anew.")
    ] = None
    want: Annotated[MemberWish, about("Ready, Drained, Removed or Left.")] = MemberWish.READY
    want_since: Annotated[Time | None, about("When that was decided.")] = None
    version: Annotated[str, about("Version that it is to have; empty of one that brings its own.")] = ""
    version_since: Annotated[Time | None, about("When that was decided.")] = None
    next_version: Annotated[str, about("Version whose files it is to fetch before it is touched for it.")] = ""
    joined_after: Annotated[
        ClusterOrderCounters, about("Orders from before it was a member, which are not for it.")
    ] = ClusterOrderCounters()
    ordered: Annotated[ClusterOrderCounters, about("Orders given to it.")] = ClusterOrderCounters()
    stopped: Annotated[bool, about("Its K3s is not to run, as during a restore.")] = False
    labels: Annotated[dict[str, str], about("Labels of its Kubernetes Node that tell its EdgeNode and site.")] = {}
    checks_authority: Annotated[bool, about("It joined by a token that names the cluster's authority.")] = False
    joined: Annotated[bool, about("It was ready once, so the cluster knows it.")] = False
    state: Annotated[
        str,
        about(
            "Downloading, Installing, WaitingForServer, Starting, Ready, Stopping, Stopped, Restoring, Leaving, Left or Failed."
        ),
    ] = ""
    message: Annotated[str, about("What it waits for, or what is wrong.")] = ""
    running_version: Annotated[str, about("Version that runs.")] = ""
    fetched_version: Annotated[str, about("Version whose files it has fetched beforehand and tried.")] = ""
    fetch_message: Annotated[str, about("What that waits for, or what is wrong with it.")] = ""
    ready: Annotated[bool, about("Its K3s runs and its Node is ready.")] = False
    api_ready: Annotated[bool, about("Of a server: its API answers.")] = False
    etcd_healthy: Annotated[
        bool, about("Of a server: its member of the embedded etcd is healthy, or its external datastore answers.")
    ] = False
    etcd_members: Annotated[int, about("Of a server with embedded etcd: voting members that it knows.")] = 0
    has_data: Annotated[bool, about("Of a server: it holds the cluster's state.")] = False
    drained: Annotated[bool, about("No pod is left on it that is to be evicted.")] = False
    removed: Annotated[bool, about("The cluster does not know it any more.")] = False
    restarts: Annotated[int, about("How often its K3s ended by itself.")] = 0
    certificates_expire_at: Annotated[Time | None, about("When the first of its certificates expires.")] = None
    done: Annotated[ClusterOrderCounters, about("Orders that it obeyed.")] = ClusterOrderCounters()
    order_message: Annotated[str, about("Why an order is not obeyed yet.")] = ""


class MemberCount(Struct, frozen=True, rename="camel", kw_only=True):
    """How many members of a role."""

    wanted: Annotated[int, about("That the spec asks for.")] = 0
    ready: Annotated[int, about("That are ready.")] = 0


class ClusterSnapshot(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A snapshot of the cluster's state."""

    name: Annotated[str, about("File name, for spec.operations.restore.")]
    taken_at: Annotated[Time | None, about("When it was taken.")] = None
    size: Annotated[Quantity | None, about("Bytes.")] = None
    shipped: Annotated[bool, about("It is in the Datastore.")] = False
    scheduled: Annotated[bool, about("The schedule took it.")] = False
    message: Annotated[str, about("What went wrong with it.")] = ""


class AddOnStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Something that is to run in the cluster."""

    name: Annotated[str, about("Name in spec.addOns.")]
    state: Annotated[str, about("Pending, Applied, Ready, Failed or Removing.")] = ""
    digest: Annotated[str, about("SHA-256 of what the cluster has of it.")] = ""
    message: Annotated[str, about("What it waits for, or what is wrong.")] = ""


class PodCounts(Struct, frozen=True, rename="camel", kw_only=True):
    """Pods of the whole cluster."""

    total: Annotated[int, about("All.")] = 0
    running: Annotated[int, about("Running.")] = 0
    pending: Annotated[int, about("Pending.")] = 0
    failed: Annotated[int, about("Failed.")] = 0


class K3sClusterStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What is known of the cluster."""

    phase: Annotated[K3sClusterPhase | None, about("Summary of the conditions.")] = None
    message: Annotated[str, about("What it waits for.")] = ""
    cluster_id: Annotated[str, about("UUID of the cluster.")] = ""
    version: Annotated[str, about("Lowest version that a member runs.")] = ""
    conditions: Conditions = []
    first_server: Annotated[
        str,
        about(
            "EdgeNode that started the cluster, or the server that others join instead. Recorded before any node hears of it."
        ),
    ] = ""
    initialized: Annotated[bool, about("The cluster has run: no node may start another in its name.")] = False
    leader: Annotated[
        str, about("EdgeNode of the server that acts for the cluster: drains, backs up, places add-ons.")
    ] = ""
    ca_hash: Annotated[
        str, about("SHA-256 of the certificate of the cluster's authority, which joining nodes check.")
    ] = ""
    servers: Annotated[MemberCount, about("Servers.")] = MemberCount()
    agents: Annotated[MemberCount, about("Agents.")] = MemberCount()
    members: Annotated[
        list[K3sMemberStatus], keyed("nodeName", description="Members, and those on their way out.")
    ] = []
    snapshots: Annotated[list[ClusterSnapshot], keyed("name", description="Snapshots, newest first.")] = []
    certificates_expire_at: Annotated[Time | None, about("When the first certificate of a member expires.")] = None
    automatic_rotations: Annotated[int, about("Renewals of certificates that were due by themselves.")] = 0
    rotated_at: Annotated[Time | None, about("When certificates were last renewed because they were due.")] = None
    done: Annotated[ClusterOrderCounters, about("Orders that the whole cluster obeyed.")] = ClusterOrderCounters()
    add_ons: Annotated[list[AddOnStatus], keyed("name", description="What is to run in the cluster.")] = []
    pods: Annotated[PodCounts | None, about("Pods of the cluster.")] = None
    observed_generation: Annotated[int, about("Generation of the spec that the decisions are of.")] = 0
