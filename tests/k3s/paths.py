"""Where K3s keeps its things: below the data directory, and in the fixed places of a machine."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

RUN = Path("/run/k3s")
CONTAINERD_SOCKET = RUN / "containerd" / "containerd.sock"
NODE_PASSWORD = Path("/etc/rancher/node/password")
KUBELET = Path("/var/lib/kubelet")
POD_LOGS = Path("/var/log/pods")


class DataDir:
    """K3s's data directory."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.server = self.path / "server"
        self.agent = self.path / "agent"
        self.tls = self.server / "tls"
        self.credentials = self.server / "cred"
        self.manifests = self.server / "manifests"
        self.database = self.server / "db"
        self.etcd = self.database / "etcd"
        self.tombstone = self.etcd / "tombstone"
        self.snapshots = self.database / "snapshots"
        self.reset_flag = self.database / "reset-flag"
        self.token = self.server / "token"
        self.node_token = self.server / "node-token"
        self.agent_token = self.server / "agent-token"
        self.images = self.agent / "images"
        self.containerd = self.agent / "containerd"
        self.etc = self.agent / "etc"

    def make_server(self) -> None:
        for folder in (self.tls / "etcd", self.credentials, self.manifests, self.database):
            folder.mkdir(parents=True, exist_ok=True)
        for private in (self.server, self.tls, self.credentials):
            private.chmod(0o700)

    def make_agent(self) -> None:
        for folder in (self.images, self.containerd, self.etc):
            folder.mkdir(parents=True, exist_ok=True)


def write(path: Path, text: str | bytes, mode: int = 0o600) -> None:
    """A file whole or not at all, on disk before it bears its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("wb") as file:
        file.write(text.encode() if isinstance(text, str) else text)
        file.flush()
        os.fsync(file.fileno())
    partial.chmod(mode)
    partial.replace(path)


def socket_path(data: DataDir, name: str) -> Path:
    """Short whatever the data directory is called: a socket's path has at most 107 bytes."""
    return RUN / f"{name}-{hashlib.sha256(os.fsencode(data.path)).hexdigest()[:8]}.sock"
