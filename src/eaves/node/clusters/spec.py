"""DesiredCluster and what the machine offers → the files and the command line that K3s is started with. Pure.

Names of options are those of K3s's configuration file, which are its flags without the dashes (docs.k3s.io, "Configuration File").
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from eaves.node.clusters.model import API_PORT, ClusterFolders, KernelFacts
from eaves.node.desired.cluster_model import ClusterDatastore, DesiredCluster

OWN_OPTIONS = frozenset(
    (
        *("agent-token", "agent-token-file", "cluster-init", "cluster-reset", "cluster-reset-restore-path", "config"),
        *("data-dir", "datastore-cafile", "datastore-certfile", "datastore-endpoint", "datastore-keyfile"),
        *("node-ip", "node-name", "server", "token", "token-file", "with-node-id", "write-kubeconfig"),
        *("write-kubeconfig-mode", "log", "alsologtostderr", "rootless"),
    )
)
"""Decided by the node alone: others would lead K3s out of its folder, its cluster or its name."""
SERVER_LISTS = ("tls-san", "disable")
LISTS = ("node-label", "node-taint", "kubelet-arg", *SERVER_LISTS)
"""Options that are joined with the node's own, entry by entry."""
LEAST_ALLOCATABLE_BYTES = 256 << 20
"""With less the kubelet could not run K3s's own pods."""


class HostSize(Struct, frozen=True):
    memory_bytes: int
    cpu_millis: int


class Surroundings(Struct, frozen=True):
    """What a spec depends on besides the wish. ``backend``: flannel backend; ``is_first``: make the cluster rather than join it."""

    folders: ClusterFolders
    program: str
    interface: str
    backend: str
    is_first: bool
    host: HostSize
    cgroup_root: str = ""
    """Parent of the pods' control groups; empty = K3s's own choice."""
    environment: Mapping[str, str] = {}


class K3sSpec(Struct, frozen=True):
    """``digest`` changes when K3s must be started anew; whom it joined once is no reason."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    config: Mapping[str, Any]
    override: str
    token: str
    files: Mapping[str, str]
    """Further files beside the config, 0600."""
    digest: str


def choose_backend(kernel: KernelFacts, joined: str = "") -> str:
    """Flannel backend of a cluster: that of the servers which are there already, else what this kernel can do.

    vxlan works over routers; host-gw needs nothing of the kernel, but one layer-2 network.
    """
    if joined:
        return joined
    return "vxlan" if kernel.has_vxlan else "host-gw"


def check_backend(backend: str, kernel: KernelFacts) -> str:
    """Why this kernel cannot take part in a cluster with ``backend``; empty = it can."""
    if backend == "vxlan" and not kernel.has_vxlan:
        return "the cluster's pods talk over vxlan, which this kernel lacks"
    if backend.startswith("wireguard") and not kernel.has_wireguard:
        return "the cluster's pods talk over WireGuard, which this kernel lacks"
    return ""


def want_backend(cluster: DesiredCluster, kernel: KernelFacts, joined: str) -> str:
    """The backend that the operator names, else :func:`choose_backend`; empty for agents, whom the server tells."""
    named = cluster.options.get("flannel-backend")
    if isinstance(named, str) and named:
        return named
    return choose_backend(kernel, joined)


def render_spec(cluster: DesiredCluster, around: Surroundings) -> K3sSpec:
    """The whole of what K3s is started with."""
    own = _render_common(cluster, around)
    if cluster.is_server:
        own |= _render_server(cluster, around)
    config = merge_options(own, cluster.options, LISTS)
    files = _render_files(cluster)
    role = "server" if cluster.is_server else "agent"
    argv = (around.program, role, "--config", str(around.folders.config))
    # A server that has joined, and an agent that knows the servers, do not need to be started anew for another first one.
    lasting = {key: value for key, value in config.items() if key not in ("server", "cluster-init", "tls-san")}
    parts = (argv, lasting, cluster.override, secret_of(cluster.token.reveal()), files, cluster.api_address)
    digest = hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()
    return K3sSpec(argv, around.environment, config, cluster.override, cluster.token.reveal(), files, digest)


def secret_of(token: str) -> str:
    """The secret of a token, whether or not the authority and user are named before it (``K10HASH::USER:SECRET``)."""
    return token.rpartition(":")[2]


def merge_options(own: Mapping[str, Any], further: Mapping[str, Any], lists: Iterable[str]) -> dict[str, Any]:
    """``further`` wins over ``own``, except for what the node alone decides; lists are joined."""
    merged = dict(own)
    for key, value in further.items():
        if key in OWN_OPTIONS:
            continue
        if key in lists:
            values = value if isinstance(value, list) else [value]
            merged[key] = list(dict.fromkeys([*merged.get(key, []), *map(str, values)]))
        else:
            merged[key] = value
    return merged


def render_reset(spec: K3sSpec, snapshot: str) -> tuple[str, ...]:
    """The command that makes a cluster of one member out of ``snapshot`` (a path), or of the own data when it is empty."""
    restore = ("--cluster-reset-restore-path", snapshot) if snapshot else ()
    return (*spec.argv, "--cluster-reset", *restore)


def _render_common(cluster: DesiredCluster, around: Surroundings) -> dict[str, Any]:
    config: dict[str, Any] = {
        "data-dir": str(around.folders.data),
        "token-file": str(around.folders.token),
        "node-name": cluster.node_name,
        "node-ip": cluster.address,
        "node-label": [f"{key}={value}" for key, value in sorted(cluster.node_labels.items())],
        "kubelet-arg": _render_kubelet(cluster, around),
    }
    if around.interface:
        config["flannel-iface"] = around.interface
    if not cluster.is_server:
        config["server"] = _url(cluster.join_address)
    elif cluster.datastore is ClusterDatastore.EMBEDDED_ETCD:
        if around.is_first:
            config["cluster-init"] = True
        elif cluster.join_address != cluster.address:
            config["server"] = _url(cluster.join_address)
    return {key: value for key, value in config.items() if value != []}


def _render_server(cluster: DesiredCluster, around: Surroundings) -> dict[str, Any]:
    names = [cluster.api_address, *(member.address for member in cluster.servers), cluster.address]
    config: dict[str, Any] = {
        "advertise-address": cluster.address,
        "write-kubeconfig": str(around.folders.kubeconfig),
        "write-kubeconfig-mode": "0600",
        "tls-san": sorted({name for name in names if name}),
        "flannel-backend": around.backend,
    }
    if cluster.disable:
        config["disable"] = list(cluster.disable)
    if cluster.is_native:
        # All servers of a cluster must agree on it; a controller that knows nothing of it may have others.
        config["secrets-encryption"] = True
    if cluster.datastore is ClusterDatastore.EXTERNAL:
        config["datastore-endpoint"] = cluster.external.endpoint.reveal()
        for option, name in (("cafile", "ca.pem"), ("certfile", "cert.pem"), ("keyfile", "key.pem")):
            if f"datastore-{name}" in _render_files(cluster):
                config[f"datastore-{option}"] = str(around.folders.root / f"datastore-{name}")
    return config


def _render_files(cluster: DesiredCluster) -> dict[str, str]:
    external = cluster.external
    if cluster.datastore is not ClusterDatastore.EXTERNAL or not cluster.is_server:
        return {}
    named = (
        ("datastore-ca.pem", external.ca_pem),
        ("datastore-cert.pem", external.certificate_pem),
        ("datastore-key.pem", external.key_pem.reveal()),
    )
    return {name: text for name, text in named if text}


def _render_kubelet(cluster: DesiredCluster, around: Surroundings) -> list[str]:
    # The kubelet's own folder stays where it is: drivers of volumes look for its sockets there, whose paths must be short.
    args = []
    if around.cgroup_root:
        args.append(f"cgroup-root={around.cgroup_root}")
    if kept := _want_reserved(cluster, around.host):
        args.append(f"system-reserved={kept}")
    return args


def _want_reserved(cluster: DesiredCluster, host: HostSize) -> str:
    """What the kubelet must leave to virtual machines, containers and the host: all but what is kept for the cluster."""
    parts = []
    if cluster.memory_reserved_bytes:
        share = max(cluster.memory_reserved_bytes, LEAST_ALLOCATABLE_BYTES)
        if (kept := host.memory_bytes - share) > 0:
            parts.append(f"memory={kept >> 20}Mi")
    if cluster.cpu_reserved_millis and (kept := host.cpu_millis - cluster.cpu_reserved_millis) > 0:
        parts.append(f"cpu={kept}m")
    return ",".join(parts)


def _url(address: str) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"https://{host}:{API_PORT}"
