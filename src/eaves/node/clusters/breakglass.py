"""The admin's kubeconfig for who stands at the box: works with no controller and no daemon."""

from __future__ import annotations

from pathlib import Path

import msgspec

from eaves.kit import files
from eaves.node.clusters.errors import ClusterError
from eaves.node.clusters.kubeapi import load_kubeconfig
from eaves.node.clusters.model import ClusterRecord
from eaves.node.instance import Instance


def load_admin_kubeconfig(instance: Instance) -> str:
    """Raises ClusterError when this node is no server of a cluster, or the caller may not read."""
    try:
        raw = files.load_file(instance.state_dir / "cluster.json")
        record = msgspec.json.decode(raw, type=ClusterRecord) if raw else ClusterRecord()
        if not record.id:
            raise ClusterError("this node is no member of a cluster", code="ClusterUnknown")
        if not record.is_server:
            raise ClusterError(
                f"this node is an agent of cluster {record.name}, only servers have the admin's kubeconfig",
                code="ClusterUnknown",
                resolution="run it on a server of the cluster",
            )
        return load_kubeconfig(instance.k3s_dir / record.id / "k3s.yaml").decode()
    except PermissionError as error:
        raise ClusterError("only root may read it", code="PermissionDenied", resolution="use sudo") from error


def save_private(path: Path, text: str) -> None:
    """For its owner alone. Raises ClusterError."""
    try:
        files.want_folder(path.parent)
        files.save_file(path, text.encode(), mode=0o600)
    except OSError as error:
        raise ClusterError(f"cannot write {path}: {error.strerror}", code="FileUnwritable") from error
