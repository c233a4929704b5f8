"""Memory that an App asks for against what its node has, and what a K3sCluster on that node keeps for itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from eaves.kinds.k3scluster import has_node
from eaves.kinds.k3scluster_spec import DEFAULT_MEMORY as CLUSTER_MEMORY
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.quantity import parse_bytes
from eaves.kube.resource import Object

_DEFAULT_MEMORY = "256Mi"


def find_memory_faults(spec: Mapping[str, Any], node: Object, clusters: Sequence[Object]) -> Iterator[FieldError]:
    """An app that the node could not run even alone."""
    name = node["metadata"]["name"]
    allocatable = ((node.get("status") or {}).get("allocatable") or {}).get("memory")
    if allocatable is None:
        return
    asked = (spec.get("resources") or {}).get("memory", _DEFAULT_MEMORY)
    kept, owner = 0, ""
    for cluster in clusters:
        if has_node(cluster, name):
            text = str((cluster["spec"].get("resources") or {}).get("memory") or CLUSTER_MEMORY)
            kept, owner = parse_bytes(text), f", of which K3sCluster {_name(cluster)} keeps {text}"
    if parse_bytes(asked) > parse_bytes(allocatable) - kept:
        detail = f"node {name} has {allocatable} of memory for apps{owner}, so this can never fit"
        yield FieldError("spec.resources.memory", CauseType.INVALID, detail, str(asked))


def _name(cluster: Object) -> str:
    return f"{cluster['metadata']['namespace']}/{cluster['metadata']['name']}"
