"""Options of ``k3s server`` and ``k3s agent`` by their names in K3s' config file, and who may set them.

Data, from the command line reference of K3s and the flags in its source. Each line: the option, whether agents know it too, and the
first minor version of Kubernetes 1 that has it (0 = all that are supported). Options that were taken out have the first minor without
them. ``kinds.k3scluster_rules`` checks ``spec.config`` by it, ``compile.clusters`` gives each role what it knows.
"""

from __future__ import annotations

from typing import NamedTuple

OLDEST_MINOR = 28
"""Older versions are taken for this one."""


class Option(NamedTuple):
    """``is_list``: it may be given several times."""

    of_agents: bool
    since: int = 0
    until: int = 999
    is_list: bool = False


def _server(*names: str, since: int = 0, until: int = 999, is_list: bool = False) -> dict[str, Option]:
    return {name: Option(False, since, until, is_list) for name in names}


def _both(*names: str, since: int = 0, until: int = 999, is_list: bool = False) -> dict[str, Option]:
    return {name: Option(True, since, until, is_list) for name in names}


OPTIONS: dict[str, Option] = {
    **_server(
        "advertise-port",
        "cluster-domain",
        "default-local-storage-path",
        "disable-cloud-controller",
        "disable-helm-controller",
        "disable-kube-proxy",
        "disable-network-policy",
        "disable-scheduler",
        "egress-selector-mode",
        "embedded-registry",
        "enable-pprof",
        "etcd-expose-metrics",
        "etcd-snapshot-compress",
        "flannel-backend",
        "flannel-external-ip",
        "flannel-ipv6-masq",
        "helm-job-image",
        "secrets-encryption",
        "service-node-port-range",
        "servicelb-namespace",
        "system-default-registry",
        "tls-san-security",
    ),
    **_server(
        "cluster-cidr",
        "cluster-dns",
        "etcd-arg",
        "kube-apiserver-arg",
        "kube-cloud-controller-manager-arg",
        "kube-controller-manager-arg",
        "kube-scheduler-arg",
        "service-cidr",
        "tls-san",
        is_list=True,
    ),
    **_server("kine-tls", since=29),
    **_server("supervisor-metrics", since=30),
    **_server("etcd-snapshot-reconcile-interval", since=31),
    **_server("secrets-encryption-provider", since=32),
    **_server("helm-controller-arg", since=35, is_list=True),
    **_both(
        "debug",
        "v",
        "vmodule",
        "container-runtime-endpoint",
        "default-runtime",
        "disable-default-registry-endpoint",
        "flannel-cni-conf",
        "flannel-conf",
        "image-credential-provider-bin-dir",
        "image-credential-provider-config",
        "image-service-endpoint",
        "lb-server-port",
        "pause-image",
        "prefer-bundled-bin",
        "private-registry",
        "protect-kernel-defaults",
        "resolv-conf",
        "selinux",
        "snapshotter",
        "vpn-auth-file",
    ),
    **_both(
        "airgap-extra-registry",
        "kube-proxy-arg",
        "kubelet-arg",
        "node-external-ip",
        "node-label",
        "node-taint",
        is_list=True,
    ),
    **_both("disable-apiserver-lb", since=29),
    **_both("node-external-dns", "node-internal-dns", since=31, is_list=True),
    **_both("nonroot-devices", since=31),
}

_OF_JOINING = "Eaves makes the token and gives it to the members"
_OF_DATASTORE = "spec.datastore and spec.datastoreSecretRef say where the cluster keeps its state"
_OF_BACKUP = "spec.backup says when snapshots are taken and where they go"
_OF_BRING_UP = "Eaves decides which server starts the cluster and whom the others join"
_OF_NODE = "Eaves sets it from the EdgeNode and its interface"
_OF_ACCESS = "Eaves reaches the cluster's API with it"

MANAGED: dict[str, str] = {
    **dict.fromkeys(("token", "token-file", "agent-token", "agent-token-file"), _OF_JOINING),
    **dict.fromkeys(
        ("datastore-endpoint", "datastore-cafile", "datastore-certfile", "datastore-keyfile"), _OF_DATASTORE
    ),
    **dict.fromkeys(
        (
            "etcd-disable-snapshots",
            "etcd-snapshot-dir",
            "etcd-snapshot-name",
            "etcd-snapshot-retention",
            "etcd-snapshot-schedule-cron",
            "etcd-s3",
            "etcd-s3-access-key",
            "etcd-s3-bucket",
            "etcd-s3-bucket-lookup-type",
            "etcd-s3-config-secret",
            "etcd-s3-endpoint",
            "etcd-s3-endpoint-ca",
            "etcd-s3-folder",
            "etcd-s3-insecure",
            "etcd-s3-proxy",
            "etcd-s3-region",
            "etcd-s3-retention",
            "etcd-s3-secret-key",
            "etcd-s3-session-token",
            "etcd-s3-skip-ssl-verify",
            "etcd-s3-timeout",
        ),
        _OF_BACKUP,
    ),
    **dict.fromkeys(("server", "cluster-init", "cluster-reset", "cluster-reset-restore-path"), _OF_BRING_UP),
    **dict.fromkeys(
        ("node-name", "with-node-id", "node-ip", "flannel-iface", "data-dir", "advertise-address"), _OF_NODE
    ),
    **dict.fromkeys(
        (
            "bind-address",
            "https-listen-port",
            "write-kubeconfig",
            "write-kubeconfig-group",
            "write-kubeconfig-mode",
        ),
        _OF_ACCESS,
    ),
    "disable": "name the components in spec.disable",
    "config": "spec.config is the config",
    "rootless": "Eaves runs K3s as root in a control group of its own",
    "docker": "Eaves runs K3s with its own containerd",
    "vpn-auth": "it holds a key; put it in a file and name that in vpn-auth-file",
    **dict.fromkeys(("log", "alsologtostderr"), "Eaves collects the log"),
    **dict.fromkeys(
        ("disable-agent", "disable-apiserver", "disable-controller-manager", "disable-etcd"),
        "every server of a cluster runs the whole control plane",
    ),
}
"""Options that Eaves sets itself, or that would take the cluster away from it, and what to do instead."""

PACKAGED = ("coredns", "servicelb", "traefik", "local-storage", "metrics-server", "runtimes")
"""What ``disable`` may name."""


def is_known(name: str, minor: int) -> bool:
    """Whether K3s of Kubernetes 1.``minor`` has the option."""
    option = OPTIONS.get(name)
    return option is not None and option.since <= max(minor, OLDEST_MINOR) < option.until
