"""A K3s cluster as one of its nodes is asked to take part in it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from eaves.node.desired.secret import Secret

if TYPE_CHECKING:
    from eaves.node.desired.model import DesiredDatastore


class ClusterDatastore(StrEnum):
    """Where the cluster's objects are kept."""

    EMBEDDED_ETCD = "EmbeddedEtcd"
    SQLITE = "SQLite"
    EXTERNAL = "External"


class MemberWish(StrEnum):
    """What the leader makes of a member's Kubernetes Node."""

    READY = "Ready"
    DRAINED = "Drained"
    REMOVED = "Removed"


class ClusterMember(Struct, frozen=True):
    """``id``: UUID of the device; ``name``: of its Kubernetes Node; ``address``: its cluster IP."""

    id: str
    name: str
    address: str
    is_server: bool
    want: MemberWish = MemberWish.READY
    version: str = ""
    labels: Mapping[str, str] = {}


class ClusterAddOn(Struct, frozen=True):
    """A file of K3s's manifest folder; ``digest`` is the SHA-256 of ``manifest`` in hex."""

    name: str
    digest: str
    manifest: str

    @property
    def is_leaving(self) -> bool:
        """One without a manifest is to go."""
        return not self.manifest


class ClusterBackup(Struct, frozen=True):
    """``schedule``: five fields of cron in UTC, empty = on order only. ``store`` None = snapshots stay on the server."""

    schedule: str = ""
    keep: int = 0
    store: DesiredDatastore | None = None
    prefix: str = ""


class ClusterOrders(Struct, frozen=True):
    """Counters that only grow; each is obeyed once per change, 0 = never ordered."""

    snapshot: int = 0
    restore: int = 0
    restore_snapshot: str = ""
    rotate_certificates: int = 0
    rotate_token: int = 0


class ExternalDatastore(Struct, frozen=True):
    """How the servers reach a datastore of their own; the endpoint may hold a password."""

    endpoint: Secret = Secret("")
    ca_pem: str = ""
    certificate_pem: str = ""
    key_pem: Secret = Secret("")


class DesiredCluster(Struct, frozen=True):
    """This node's part of one cluster."""

    id: str
    name: str
    node_name: str
    """Of the Kubernetes Node."""
    is_server: bool
    interface_label: str
    """Port that carries the cluster's traffic."""
    address: str
    """Own address in the cluster."""
    prefix_length: int
    join_address: str
    """Of the server to join; the own address = this node makes the cluster."""
    token: Secret
    datastore: ClusterDatastore = ClusterDatastore.EMBEDDED_ETCD
    external: ExternalDatastore = ExternalDatastore()
    former_token: Secret = Secret("")
    """What the cluster still goes by while ``token`` is made known to it."""
    namespace: str = ""
    version: str = ""
    """Empty = whatever the program of the node's settings is."""
    binary_image_id: str = ""
    bundle_image_ids: tuple[str, ...] = ()
    next_version: str = ""
    """Comes after ``version``; its files are fetched and tried meanwhile. Empty = none."""
    next_binary_image_id: str = ""
    next_bundle_image_ids: tuple[str, ...] = ()
    options: Mapping[str, Any] = {}
    """Further options of K3s's config file."""
    override: str = ""
    """YAML that is read last (``k3s.config.override``)."""
    disable: tuple[str, ...] = ()
    api_address: str = ""
    """Virtual address that the servers share."""
    members: tuple[ClusterMember, ...] = ()
    server_ids: tuple[str, ...] = ()
    """UUIDs of all servers, as EVE's field says; empty = not told."""
    is_leader: bool = False
    add_ons: tuple[ClusterAddOn, ...] = ()
    backup: ClusterBackup = ClusterBackup()
    orders: ClusterOrders = ClusterOrders()
    memory_reserved_bytes: int = 0
    cpu_reserved_millis: int = 0
    node_labels: Mapping[str, str] = {}
    keep_data: bool = False
    is_initialized: bool = False
    """The cluster exists; nobody makes it anew."""
    is_stopped: bool = False
    member_since: int = 0
    """Unix seconds; a greater one makes this node another member of etcd than it was. 0 = not told."""
    is_native: bool = False
    """Asked for by a controller that knows Eaves nodes; else K3s keeps the defaults that other kinds of members have."""

    @property
    def is_first(self) -> bool:
        """Whether the config names this node as the one that makes the cluster."""
        return self.is_server and self.join_address == self.address and not self.is_initialized

    @property
    def acts_as_leader(self) -> bool:
        """Of controllers that name no leader, the server that others join tells of the cluster."""
        return self.is_leader or (not self.is_native and self.is_server and self.join_address == self.address)

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Content trees of what it runs with."""
        return (self.binary_image_id, *self.bundle_image_ids)

    @property
    def servers(self) -> tuple[ClusterMember, ...]:
        return tuple(member for member in self.members if member.is_server and member.want is not MemberWish.REMOVED)
