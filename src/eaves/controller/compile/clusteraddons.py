"""An add-on of a K3sCluster as the manifest that its servers get; a chart becomes an object of K3s's Helm controller."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from eaves.kinds.k3scluster import K3sCluster
from eaves.kinds.k3scluster_spec import AddOn, HelmChart, HelmFailurePolicy
from eaves.wire.pb.eaves.cluster_pb2 import ClusterAddOn

_SYSTEM_NAMESPACE = "kube-system"
_DEFAULT_NAMESPACE = "default"


def want_add_on(add_on: AddOn) -> ClusterAddOn:
    """Equal add-ons give equal bytes; ``digest`` is of the manifest."""
    manifest = add_on.manifest if add_on.helm is None else _render_chart(add_on.name, add_on.helm)
    return ClusterAddOn(name=add_on.name, digest=hashlib.sha256(manifest.encode()).hexdigest(), manifest=manifest)


def want_add_ons(cluster: K3sCluster) -> list[ClusterAddOn]:
    """Those of the spec, and without a manifest those that the cluster has still and that are to go."""
    named = {add_on.name for add_on in cluster.spec.add_ons}
    leaving = [ClusterAddOn(name=entry.name) for entry in cluster.status.add_ons if entry.name not in named]
    return sorted([*map(want_add_on, cluster.spec.add_ons), *leaving], key=lambda entry: entry.name)


def _render_chart(name: str, chart: HelmChart) -> str:
    """Fields of a HelmChart as docs.k3s.io, "Helm", has them. JSON is YAML too."""
    policy = chart.failure_policy
    fields: dict[str, Any] = {
        "chart": chart.chart,
        "repo": chart.repo,
        "version": chart.version,
        # Said in any case: the controller would take the chart object's own namespace, kube-system.
        "targetNamespace": chart.target_namespace or _DEFAULT_NAMESPACE,
        "createNamespace": bool(chart.target_namespace),
        "valuesContent": json.dumps(chart.values, sort_keys=True) if chart.values else "",
        "valuesSecrets": [{"name": secret.name, "keys": secret.keys} for secret in chart.values_secrets],
        "authSecret": {"name": chart.auth_secret.name} if chart.auth_secret is not None else None,
        "dockerRegistrySecret": (
            {"name": chart.docker_registry_secret.name} if chart.docker_registry_secret is not None else None
        ),
        "repoCA": chart.ca_certificates,
        "plainHTTP": chart.plain_http,
        "bootstrap": chart.bootstrap,
        "timeout": chart.timeout,
        "failurePolicy": policy.lower() if policy is not HelmFailurePolicy.REINSTALL else "",
    }
    document = {
        "apiVersion": "helm.cattle.io/v1",
        "kind": "HelmChart",
        "metadata": {"name": name, "namespace": _SYSTEM_NAMESPACE},
        "spec": {field: value for field, value in fields.items() if value},
    }
    return json.dumps(document, sort_keys=True, indent=1) + "\n"
