"""What clusters keep on disk and hand to each other. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

API_PORT = 6443
STATUS_PORT = 12346
"""Of EVE's status server."""


class ClusterFolders(Struct, frozen=True):
    """Folders of one cluster on this node. ``data`` is K3s's ``--data-dir``."""

    root: Path
    run: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def drop_ins(self) -> Path:
        return self.root / "config.yaml.d"

    @property
    def token(self) -> Path:
        return self.root / "token"

    @property
    def logs(self) -> Path:
        return self.root / "log"

    @property
    def kubeconfig(self) -> Path:
        """The admin's, as K3s writes it."""
        return self.root / "k3s.yaml"

    @property
    def bundles(self) -> Path:
        """Image archives that K3s loads when it starts."""
        return self.data / "agent" / "images"

    @property
    def manifests(self) -> Path:
        """What lies here K3s applies to the cluster."""
        return self.data / "server" / "manifests"

    @property
    def snapshots(self) -> Path:
        return self.data / "server" / "db" / "snapshots"

    @property
    def etcd(self) -> Path:
        return self.data / "server" / "db" / "etcd"

    @property
    def tombstone(self) -> Path:
        """K3s makes it when etcd tells that this member was taken out. With it K3s starts without its data: joins, or makes a cluster."""
        return self.etcd / "tombstone"

    @property
    def server_tls(self) -> Path:
        return self.data / "server" / "tls"

    @property
    def restores(self) -> Path:
        """Snapshots brought back from a datastore."""
        return self.root / "restore"


class OrdersDone(Struct, frozen=True):
    """Orders obeyed last; 0 = none."""

    snapshot: int = 0
    restore: int = 0
    rotate_certificates: int = 0
    rotate_token: int = 0


class HostBefore(Struct, frozen=True):
    """What the host had of its own before K3s first ran on it, so that leaving takes nothing else away."""

    paths: tuple[str, ...] = ()
    """Of others, with something in them."""
    empty: tuple[str, ...] = ()
    """Folders that were there, with nothing in them."""
    links: tuple[str, ...] = ()
    chains: tuple[str, ...] = ()
    """``program table chain`` of iptables chains named like those that K3s makes."""
    sysctls: Mapping[str, str] = {}
    """Kernel settings that the kubelet changes."""


class ClusterRecord(Struct, frozen=True):
    """What this node knows of its membership; survives the daemon, the machine's power and months without a controller."""

    id: str = ""
    """Empty = no member of any cluster."""
    name: str = ""
    node_name: str = ""
    is_server: bool = False
    is_installed: bool = False
    """K3s was started here at least once: its data are those of a member."""
    has_been_ready: bool = False
    member_since: int = 0
    """As its config said when K3s was started last; 0 = it said nothing."""
    version: str = ""
    """Of the program that was started last."""
    program: str = ""
    """Its path."""
    flannel_backend: str = ""
    keep_data: bool = False
    address: str = ""
    """``IP/prefix`` that was added to ``interface``; empty = the host had it, or none yet."""
    interface: str = ""
    started_spec: str = ""
    """Digest of the spec that K3s was started with last."""
    restarts: int = 0
    done: OrdersDone = OrdersDone()
    before: HostBefore | None = None
    is_leaving: bool = False
    has_restored: bool = False
    """The cluster came out of a snapshot here, and what that tells of nodes that are gone has not been cleared away yet."""
    last_scheduled_at: float = 0.0
    """Unix seconds of the last scheduled snapshot."""


class ClusterApi(Struct, frozen=True):
    """How to reach this node's own API server as the cluster's admin. The files never leave the machine."""

    host: str
    port: int
    ca_file: Path
    certificate_file: Path
    key_file: Path


class KernelFacts(Struct, frozen=True):
    """What this kernel offers to the cluster's network."""

    has_vxlan: bool = False
    has_wireguard: bool = False
    has_bridge: bool = True


class Step(StrEnum):
    """What to do next about the cluster."""

    NONE = "None"
    """Nothing is asked for and nothing is there."""
    KEEP = "Keep"
    """Leave what there is as it is: the config's cluster cannot be understood, or all is as wished."""
    WAIT = "Wait"
    START = "Start"
    STOP = "Stop"
    LEAVE = "Leave"
    RESTORE = "Restore"
