"""What planning takes and gives: plain values, no store, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from eaves.controller.observe.clusters import MemberReport
from eaves.controller.observe.model import EventNote
from eaves.kinds.k3scluster import K3sCluster
from eaves.kinds.k3scluster_status import K3sClusterStatus


class NodeFacts(Struct, frozen=True, kw_only=True):
    """What a cluster needs to know of an EdgeNode."""

    name: str
    id: str
    labels: Mapping[str, str] = {}
    is_approved: bool = True
    is_going: bool = False
    """It is being deleted."""
    is_connected: bool = True
    has_told: bool = True
    """The device told what it runs."""
    runs_eve: bool = False
    eve_version: str = ""
    """As the device tells it: 16.0.0-k-amd64. The part before the architecture is the flavour."""
    has_config: bool = False
    """The device says that it applied the newest config made for it."""
    architecture: str = ""
    addresses: Mapping[str, Sequence[str]] = {}
    """Uplink → IPv4 addresses, with prefix length where it is known; uplinks for management first."""
    management: frozenset[str] = frozenset()
    """Uplinks by which the device may reach its controller."""


class ReleaseFacts(Struct, frozen=True):
    """A K3sRelease of the cluster's namespace."""

    name: str
    version: str
    architectures: frozenset[str]


class ClusterInputs(Struct, frozen=True, kw_only=True):
    """Everything that decides about one cluster."""

    cluster: K3sCluster
    nodes: Mapping[str, NodeFacts] = {}
    reports: Mapping[str, MemberReport] = {}
    """By the UUID of the device; those of this cluster alone."""
    releases: Sequence[ReleaseFacts] = ()
    taken: Mapping[str, str] = {}
    """Nodes of other clusters → the name of that cluster."""
    obstacles: Sequence[str] = ()
    """What else is missing before the cluster can start: a Secret, a Datastore."""
    problems: Mapping[str, str] = {}
    """Node → why its config lacks the cluster or a part of it."""
    now: float = 0.0


class ClusterPlan(Struct, frozen=True, kw_only=True):
    """What to write and to do."""

    status: K3sClusterStatus
    notes: tuple[EventNote, ...] = ()
    tokens: frozenset[int] = frozenset()
    """Generations of the join token that must be there before the status is written."""
    is_held: bool = True
    """The object is kept by the finalizer; False once a deleted cluster has no members any more."""
    forget: frozenset[str] = frozenset()
    """UUIDs of devices whose last message about the cluster is of no use any more."""
    look_again_s: float | None = None
    """Seconds after which time alone may change the plan."""
