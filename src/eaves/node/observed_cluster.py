"""What the node sees of its K3s cluster; the leader sees the other members too. Never filled from desired state."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class ClusterState(StrEnum):
    """Where this node's membership stands; ``waiting_for`` of the status says for what."""

    DOWNLOADING = "Downloading"
    INSTALLING = "Installing"
    WAITING_FOR_SERVER = "WaitingForServer"
    STARTING = "Starting"
    READY = "Ready"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    RESTORING = "Restoring"
    LEAVING = "Leaving"
    FAILED = "Failed"


class KubeNodeStatus(Struct, frozen=True):
    """A Node of the cluster. Times are Unix seconds; ``conditions``: type → (is true, since)."""

    name: str
    conditions: dict[str, tuple[bool, float]] = {}
    is_server: bool = False
    created_at: float = 0.0
    version: str = ""
    internal_ip: str = ""
    is_schedulable: bool = True
    device_id: str = ""

    @property
    def is_ready(self) -> bool:
        return self.conditions.get("Ready", (False, 0.0))[0]


class PodCount(Struct, frozen=True):
    """Pods of one namespace by phase."""

    namespace: str
    total: int = 0
    running: int = 0
    pending: int = 0
    failed: int = 0
    succeeded: int = 0


class MemberStatus(Struct, frozen=True):
    """A member as the leader sees it. ``message``: what a wish waits for."""

    id: str
    name: str
    is_ready: bool = False
    is_drained: bool = False
    is_removed: bool = False
    version: str = ""
    message: str = ""


class AddOnState(StrEnum):
    PENDING = "Pending"
    APPLIED = "Applied"
    READY = "Ready"
    FAILED = "Failed"
    REMOVING = "Removing"
    """It is not wanted any more, and not gone yet."""


class AddOnStatus(Struct, frozen=True):
    name: str
    digest: str
    state: AddOnState
    message: str = ""


class ClusterSnapshot(Struct, frozen=True):
    """A snapshot of the datastore. ``is_shipped``: it is in the backup's datastore; ``message``: why not, or why it failed."""

    name: str
    taken_at: float = 0.0
    size_bytes: int = 0
    is_shipped: bool = False
    message: str = ""
    is_scheduled: bool = False


class ClusterUsage(Struct, frozen=True):
    """What K3s and all its pods on this node use together; CPU since the usage was asked for last."""

    id: str
    node_name: str
    cpu_millis: int
    cpu_percent: float
    """Of all of the machine's CPUs."""
    memory_bytes: int
    memory_percent: float


class OrdersSeen(Struct, frozen=True):
    """Orders obeyed last."""

    snapshot: int = 0
    restore: int = 0
    rotate_certificates: int = 0
    rotate_token: int = 0
