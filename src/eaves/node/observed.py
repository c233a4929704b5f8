"""What the node sees of the things it manages: the input of ``report`` and of ``eaves node status``.

Each managed thing publishes frozen structs of this module on the :class:`Observations` board; ``report`` turns every change into
one device message. Never filled from desired state: a field that was not observed stays empty.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import TypeVar

from msgspec import Struct

from eaves.node.flows.model import FlowBatch, FlowCount
from eaves.node.observed_cluster import (
    AddOnStatus,
    ClusterSnapshot,
    ClusterState,
    KubeNodeStatus,
    MemberStatus,
    OrdersSeen,
    PodCount,
)
from eaves.node.observed_patches import PatchStatus, PatchUse
from eaves.node.observed_vm import SnapshotStatus, VmStatus

FLOW_LIMIT = 100
"""Batches of flow records that wait for the controller, as in EVE (1.9 of the device API)."""


class Fault(Struct, frozen=True):
    """Why something is not as desired. ``retry_at`` is Unix seconds of the next attempt, 0 = needs a change."""

    code: str
    message: str
    resolution: str = ""
    since: float = 0.0
    retry_at: float = 0.0


class ImageState(StrEnum):
    WAITING = "Waiting"
    RESOLVING = "Resolving"
    DOWNLOADING = "Downloading"
    VERIFYING = "Verifying"
    CONVERTING = "Converting"
    LOADED = "Loaded"
    FAILED = "Failed"


class ImageBlob(Struct, frozen=True):
    """``digest``: ``sha256:<hex>``."""

    digest: str
    size_bytes: int


class ImageStatus(Struct, frozen=True):
    """``downloaded_bytes``: how much of ``size_bytes`` is here, or converted. ``blobs``: what it consists of, the root first."""

    id: str
    name: str
    state: ImageState
    digest: str = ""
    size_bytes: int = 0
    downloaded_bytes: int = 0
    fault: Fault | None = None
    generation: int = 0
    blobs: tuple[ImageBlob, ...] = ()

    @property
    def progress_percent(self) -> int:
        if self.state is ImageState.LOADED:
            return 100
        return min(99, 100 * self.downloaded_bytes // self.size_bytes) if self.size_bytes else 0


class VolumeState(StrEnum):
    WAITING = "Waiting"
    CREATING = "Creating"
    READY = "Ready"
    FAILED = "Failed"


class SnapshotState(StrEnum):
    PENDING = "Pending"
    READY = "Ready"
    FAILED = "Failed"


class VolumeSnapshotStatus(Struct, frozen=True):
    """``taken_at``: Unix seconds, 0 = not yet. ``size_bytes``: what it takes on the disk, 0 = inside of the volume's file."""

    id: str
    name: str
    state: SnapshotState
    taken_at: float = 0.0
    size_bytes: int = 0
    message: str = ""


class VolumeStatus(Struct, frozen=True):
    id: str
    generation: int
    name: str
    state: VolumeState
    size_bytes: int = 0
    used_bytes: int = 0
    path: str = ""
    fault: Fault | None = None
    allocated_bytes: int = 0
    """What it takes on the node's disk."""
    mode: str = ""
    """Filesystem or Block; empty while it is not there, as what follows."""
    format: str = ""
    """Of a block volume: Qcow2 or Raw."""
    enforcement: str = ""
    """What stops it from outgrowing its size: Quota, Image, Disk, or Watched (nothing)."""
    is_encrypted: bool = False
    users: tuple[str, ...] = ()
    """Names of the apps that run with it."""
    snapshots: tuple[VolumeSnapshotStatus, ...] = ()
    rollback_counter: int = 0
    """The order to go back to a snapshot that was obeyed last."""


class Lease(Struct, frozen=True):
    """An address of an app's interface; on a switch learnt by listening, empty while none is known."""

    app_id: str
    interface: str
    mac: str
    address: str


class RouteStatus(Struct, frozen=True):
    """A route of a network's packets. ``gateway`` empty = on the link."""

    destination: str
    gateway: str
    link: str
    gateway_app: str = ""
    """Id of the app that the gateway is."""


class TreePortStatus(Struct, frozen=True):
    """A port in a spanning tree. ``name``: its label; role and state in the words of IEEE 802.1D."""

    name: str
    role: str
    state: str


class TreeStatus(Struct, frozen=True):
    """The spanning tree of a switch. ``root``: identifier of the root bridge, 16 hex digits; ``changes``: topology changes seen."""

    root: str
    is_root: bool
    changes: int
    ports: tuple[TreePortStatus, ...]


class NetworkStatus(Struct, frozen=True):
    id: str
    version: str
    name: str
    kind: str
    active: bool
    bridge: str = ""
    bridge_address: str = ""
    uplink: str = ""
    """Host interface that NAT leaves by; empty = air-gapped."""
    uplink_reason: str = ""
    """Why that one."""
    ports: tuple[str, ...] = ()
    """Labels of the ports in use: the uplink, or those that a switch joins."""
    routes: tuple[RouteStatus, ...] = ()
    mtu: int = 0
    leases: tuple[Lease, ...] = ()
    up_since: float = 0.0
    fault: Fault | None = None
    tree: TreeStatus | None = None
    """Of a switch that may be a loop."""


class AppState(StrEnum):
    """Where an app stands; ``waiting_for`` of the status says for what."""

    INITIAL = "Initial"
    DOWNLOADING = "Downloading"
    CREATING = "Creating"
    STARTING = "Starting"
    RUNNING = "Running"
    BACK_OFF = "BackOff"
    COMPLETED = "Completed"
    HALTING = "Halting"
    HALTED = "Halted"
    RESTARTING = "Restarting"
    PURGING = "Purging"
    FAILED = "Failed"


ALIVE = frozenset({AppState.STARTING, AppState.RUNNING, AppState.HALTING, AppState.RESTARTING, AppState.PURGING})
"""Something of the app runs, or is about to."""


class RunRecord(Struct, frozen=True):
    """One run of an app's container. ``finished_at`` 0 = still running; ``exit_code`` counts only when finished."""

    started_at: float
    finished_at: float = 0.0
    exit_code: int = 0
    reason: str = ""
    """Completed, Error, OOMKilled, Stopped (by the node, as asked), StartError, NodeRestarted.

    Of a virtual machine also GuestPanicked, InternalError.
    """


class InterfaceStatus(Struct, frozen=True):
    name: str
    network_id: str
    mac: str
    addresses: tuple[str, ...]


class AppStatus(Struct, frozen=True):
    id: str
    version: str
    name: str
    namespace: str
    state: AppState
    waiting_for: str = ""
    container_id: str = ""
    image_digest: str = ""
    restarts: int = 0
    current: RunRecord | None = None
    last: RunRecord | None = None
    next_start_at: float = 0.0
    interfaces: tuple[InterfaceStatus, ...] = ()
    volume_ids: tuple[str, ...] = ()
    fault: Fault | None = None
    vm: VmStatus | None = None
    """Of a virtual machine that runs."""
    snapshots: tuple[SnapshotStatus, ...] = ()


class InterfaceUsage(Struct, frozen=True):
    name: str
    network_id: str
    rx_bytes: int
    tx_bytes: int
    rx_packets: int = 0
    tx_packets: int = 0
    rx_dropped: int = 0
    tx_dropped: int = 0


class AppUsage(Struct, frozen=True):
    """Counters of one app at one moment; cumulative since its container started.

    ``disk_used_bytes``: of the root that its engine made for it, None for a virtual machine, whose root is one of its volumes.
    """

    id: str
    name: str
    version: str
    cpu_ns: int
    memory_bytes: int
    memory_limit_bytes: int
    disk_used_bytes: int | None = None
    volume_ids: tuple[str, ...] = ()
    interfaces: tuple[InterfaceUsage, ...] = ()
    patches: tuple[PatchUse, ...] = ()


class LogLine(Struct, frozen=True):
    """One line that an app wrote. ``number`` grows by one for each line of the app and survives restarts of everything."""

    app_id: str
    time_ns: int
    stream: str
    """stdout or stderr."""
    text: str
    number: int
    run: str = ""
    """Which start of the app's container wrote it; any text that another start does not have. Empty = not known."""


class ClusterStatus(Struct, frozen=True):
    """This node's membership of a K3s cluster. What only servers or the leader know is empty on others."""

    id: str
    name: str
    state: ClusterState
    node_name: str = ""
    is_server: bool = False
    waiting_for: str = ""
    """As element: ``server 10.17.0.11``, ``image k3s``."""
    message: str = ""
    version: str = ""
    """K3s that runs, empty = none."""
    is_api_ready: bool = False
    is_etcd_healthy: bool = False
    etcd_members: int = 0
    certificates_expire_at: float = 0.0
    ca_hash: str = ""
    """SHA-256 in hex of the servers' certificate authority, as in a secure token."""
    has_data: bool = False
    """It holds the cluster's datastore."""
    keeps_data: bool = False
    """When it leaves, K3s's data stay on the disk."""
    is_leader: bool = False
    restarts: int = 0
    done: OrdersSeen = OrdersSeen()
    order_message: str = ""
    fetched_version: str = ""
    """The version that comes next, once all of its files are here and tried."""
    fetch_message: str = ""
    snapshots: tuple[ClusterSnapshot, ...] = ()
    members: tuple[MemberStatus, ...] = ()
    add_ons: tuple[AddOnStatus, ...] = ()
    nodes: tuple[KubeNodeStatus, ...] = ()
    pods: tuple[PodCount, ...] = ()
    fault: Fault | None = None


Status = ImageStatus | VolumeStatus | NetworkStatus | AppStatus | ClusterStatus


_S = TypeVar("_S", ImageStatus, VolumeStatus, NetworkStatus, AppStatus, ClusterStatus)


class Observations:
    """Latest status of each managed object; readers wait for changes with :meth:`changed`.

    Written by managed things from the event loop's thread only. A status equal to the known one is no change. A removed object
    leaves a tombstone until ``report`` has told the controller (:meth:`take_removed`).
    """

    def __init__(self) -> None:
        self._items: dict[tuple[type[Status], str], Status] = {}
        self._removed: list[tuple[type[Status], str]] = []
        self._expected: set[tuple[type[Status], str]] = set()
        self.has_inventory = False
        """Whoever keeps things on this node has said what to :meth:`expect`."""
        self._app_data: dict[tuple[str, str], bytes] = {}
        self._patches: tuple[PatchStatus, ...] = ()
        self._flows: deque[FlowBatch] = deque()
        self._flows_changed = asyncio.Event()
        self.flows_dropped = FlowCount()
        self._version = 0
        self._changed = asyncio.Event()

    def expect(self, kind: type[Status], object_id: str) -> None:
        """It was here when the daemon ended, and nobody has looked since: that nothing is known of it does not mean that it is gone."""
        self._expected.add((kind, object_id))

    def note_inventory(self) -> None:
        """All that a former daemon left here is expected or published by now."""
        self.has_inventory = True
        self._touch()

    def is_expected(self, kind: type[Status], object_id: str) -> bool:
        """Until it is published or removed."""
        return (kind, object_id) in self._expected

    def publish(self, status: Status) -> None:
        key = (type(status), status.id)
        self._expected.discard(key)
        if self._items.get(key) != status:
            self._items[key] = status
            self._touch()

    def remove(self, kind: type[Status], object_id: str) -> None:
        if (kind, object_id) in self._expected:
            self._expected.remove((kind, object_id))
            self._touch()
        if self._items.pop((kind, object_id), None) is not None:
            self._removed.append((kind, object_id))
            self._touch()

    def get(self, kind: type[Status], object_id: str) -> Status | None:
        return self._items.get((kind, object_id))

    def each(self, kind: type[Status]) -> Iterator[Status]:
        return iter([status for (a, _), status in self._items.items() if a is kind])

    @property
    def app_data(self) -> Mapping[tuple[str, str], bytes]:
        """(app id, ``kubeconfig`` or ``customStatus``) → what the app last told by its metadata server."""
        return self._app_data

    def note_app_data(self, app_id: str, kind: str, data: bytes) -> None:
        if self._app_data.get((app_id, kind)) != data:
            self._app_data[app_id, kind] = data
            self._touch()

    def forget_app_data(self, keep: Collection[str]) -> None:
        """Of apps that are not in ``keep``."""
        self._app_data = {key: data for key, data in self._app_data.items() if key[0] in keep}

    @property
    def patches(self) -> tuple[PatchStatus, ...]:
        """Patch envelopes of the config."""
        return self._patches

    def note_patches(self, patches: tuple[PatchStatus, ...]) -> None:
        if self._patches != patches:
            self._patches = patches
            self._touch()

    def post_flows(self, batch: FlowBatch) -> None:
        """Queue flow records for the controller; without room the oldest go."""
        if len(self._flows) >= FLOW_LIMIT:
            self.drop_flows(self._flows.popleft())
        self._flows.append(batch)
        self._flows_changed.set()

    def drop_flows(self, batch: FlowBatch) -> None:
        """Count what nobody will be told."""
        self.flows_dropped = self.flows_dropped.plus(batch)

    @property
    def flows_waiting(self) -> int:
        return len(self._flows)

    async def take_flows(self) -> FlowBatch:
        """The oldest batch, as soon as there is one."""
        while not self._flows:
            self._flows_changed.clear()
            await self._flows_changed.wait()
        return self._flows.popleft()

    def take_removed(self) -> list[tuple[type[Status], str]]:
        removed, self._removed = self._removed, []
        return removed

    @property
    def version(self) -> int:
        return self._version

    async def changed(self, since: int) -> int:
        """Wait until something was published after ``since`` (a former :attr:`version`); answers the new version."""
        while self._version <= since:
            await self._changed.wait()
        return self._version

    def _touch(self) -> None:
        self._version += 1
        self._changed.set()
        self._changed = asyncio.Event()


def list_statuses(observations: Observations, kind: type[_S]) -> list[_S]:
    """All statuses of one kind, with their own type."""
    return [status for status in observations.each(kind) if isinstance(status, kind)]
