"""K3s's options: flags, environment and configuration file with its drop-ins, merged as the documentation says.

The command line wins over the environment, and that over the files; of several files the last one that names a key wins, ``key+`` adds.
An unknown flag is refused; an unknown key in a file is skipped with a warning (K3s's ``configfilearg``). Names, aliases, environment and
defaults are those of https://docs.k3s.io/cli/server and https://docs.k3s.io/cli/agent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.k3s import log

CONFIG_FILE = "/etc/rancher/k3s/config.yaml"


class Flag(NamedTuple):
    """``kind``: text, number, switch or list. A list may be given several times, and with commas."""

    name: str
    kind: str = "text"
    default: Any = None
    environment: str = ""
    aliases: tuple[str, ...] = ()


class Options:
    """Values by flag name; what was not given has its default."""

    def __init__(self, flags: Sequence[Flag], given: Mapping[str, Any], arguments: Sequence[str]) -> None:
        self.given = dict(given)
        self.arguments = list(arguments)
        self._defaults = {
            flag.name: flag.default if flag.kind != "list" else list(flag.default or []) for flag in flags
        }

    def text(self, name: str) -> str:
        value = self.given.get(name, self._defaults.get(name))
        return "" if value is None else str(value)

    def number(self, name: str) -> int:
        return int(self.given.get(name, self._defaults[name]))

    def is_on(self, name: str) -> bool:
        return bool(self.given.get(name, self._defaults.get(name)))

    def list(self, name: str) -> list[str]:
        return list(self.given.get(name, self._defaults.get(name)) or [])


def _texts(*names: str) -> list[Flag]:
    return [Flag(name) for name in names]


def _switches(*names: str) -> list[Flag]:
    return [Flag(name, "switch", False) for name in names]


def _lists(*names: str) -> list[Flag]:
    return [Flag(name, "list") for name in names]


DATA_DIR = Flag("data-dir", default="/var/lib/rancher/k3s", environment="K3S_DATA_DIR", aliases=("d",))
COMMON = [
    Flag("config", aliases=("c",), environment="K3S_CONFIG_FILE"),
    Flag("debug", "switch", False, "K3S_DEBUG"),
    Flag("v", "number", 0),
    *_texts("vmodule", "log"),
    Flag("alsologtostderr", "switch", False),
]
_NODE = [
    DATA_DIR,
    Flag("token", environment="K3S_TOKEN", aliases=("t",)),
    Flag("token-file", environment="K3S_TOKEN_FILE"),
    Flag("server", environment="K3S_URL", aliases=("s",)),
    Flag("node-name", environment="K3S_NODE_NAME"),
    *_switches("with-node-id", "docker", "protect-kernel-defaults", "rootless", "prefer-bundled-bin"),
    *_switches("disable-default-registry-endpoint", "nonroot-devices"),
    Flag("selinux", "switch", False, "K3S_SELINUX"),
    Flag("lb-server-port", "number", 6444, "K3S_LB_SERVER_PORT"),
    *_lists("node-label", "node-taint", "node-external-ip", "node-internal-dns", "node-external-dns"),
    *_lists("kubelet-arg", "kube-proxy-arg", "airgap-extra-registry"),
    Flag("node-ip", "list", aliases=("i",)),
    *_texts("image-credential-provider-bin-dir", "image-credential-provider-config", "container-runtime-endpoint"),
    *_texts("default-runtime", "image-service-endpoint", "private-registry", "flannel-iface", "flannel-conf"),
    *_texts("flannel-cni-conf", "vpn-auth", "vpn-auth-file"),
    Flag("pause-image", default="rancher/mirrored-pause:3.6"),
    Flag("snapshotter", default="overlayfs"),
    Flag("resolv-conf", environment="K3S_RESOLV_CONF"),
]
_S3 = [
    Flag("etcd-s3", "switch", False, aliases=("s3",)),
    *[
        Flag(f"etcd-s3-{name}", aliases=(f"s3-{name}",))
        for name in (
            "endpoint",
            "endpoint-ca",
            "bucket",
            "bucket-lookup-type",
            "region",
            "folder",
            "proxy",
            "config-secret",
        )
    ],
    *[
        Flag(f"etcd-s3-{name}", aliases=(f"s3-{name}",))
        for name in ("access-key", "secret-key", "session-token", "timeout")
    ],
    *[Flag(f"etcd-s3-{name}", "switch", False, aliases=(f"s3-{name}",)) for name in ("skip-ssl-verify", "insecure")],
    Flag("etcd-s3-retention", "number", 5, aliases=("s3-retention",)),
]
AGENT = [*COMMON, *_NODE]
SERVER = [
    *COMMON,
    *_NODE,
    *_S3,
    *_texts("bind-address", "advertise-address", "helm-job-image", "servicelb-namespace", "system-default-registry"),
    Flag("https-listen-port", "number", 6443),
    Flag("advertise-port", "number", 0),
    Flag("supervisor-metrics", "switch", False),
    *_lists(
        "tls-san", "disable", "kube-apiserver-arg", "etcd-arg", "kube-controller-manager-arg", "kube-scheduler-arg"
    ),
    *_lists("kube-cloud-controller-manager-arg"),
    Flag("tls-san-security", "switch", True),
    Flag("cluster-cidr", "list", ("10.42.0.0/16",)),
    Flag("service-cidr", "list", ("10.43.0.0/16",)),
    Flag("service-node-port-range", default="30000-32767"),
    Flag("cluster-dns", "list", ("10.43.0.10",)),
    Flag("cluster-domain", default="cluster.local"),
    Flag("flannel-backend", default="vxlan"),
    *_switches("flannel-ipv6-masq", "flannel-external-ip", "etcd-expose-metrics", "etcd-disable-snapshots"),
    *_switches("etcd-snapshot-compress", "disable-scheduler", "disable-cloud-controller", "disable-kube-proxy"),
    *_switches("disable-network-policy", "disable-helm-controller", "disable-apiserver", "disable-controller-manager"),
    *_switches("disable-etcd", "disable-agent", "embedded-registry", "secrets-encryption", "enable-pprof"),
    Flag("secrets-encryption-provider", default="aescbc"),
    Flag("egress-selector-mode", default="agent"),
    Flag("write-kubeconfig", default="/etc/rancher/k3s/k3s.yaml", environment="K3S_KUBECONFIG_OUTPUT", aliases=("o",)),
    Flag("write-kubeconfig-mode", default="600", environment="K3S_KUBECONFIG_MODE"),
    Flag("write-kubeconfig-group", environment="K3S_KUBECONFIG_GROUP"),
    Flag("agent-token", environment="K3S_AGENT_TOKEN"),
    Flag("agent-token-file", environment="K3S_AGENT_TOKEN_FILE"),
    Flag("cluster-init", "switch", False, "K3S_CLUSTER_INIT"),
    Flag("cluster-reset", "switch", False, "K3S_CLUSTER_RESET"),
    *_texts("cluster-reset-restore-path", "etcd-snapshot-dir", "default-local-storage-path"),
    Flag("datastore-endpoint", environment="K3S_DATASTORE_ENDPOINT"),
    Flag("datastore-cafile", environment="K3S_DATASTORE_CAFILE"),
    Flag("datastore-certfile", environment="K3S_DATASTORE_CERTFILE"),
    Flag("datastore-keyfile", environment="K3S_DATASTORE_KEYFILE"),
    Flag("etcd-snapshot-name", default="etcd-snapshot"),
    Flag("etcd-snapshot-schedule-cron", default="0 */12 * * *"),
    Flag("etcd-snapshot-retention", "number", 5),
]
SNAPSHOT = [
    *COMMON,
    DATA_DIR,
    *_S3,
    Flag("node-name", environment="K3S_NODE_NAME"),
    Flag("etcd-token", environment="K3S_TOKEN", aliases=("token", "t")),
    Flag("etcd-server", default="https://127.0.0.1:6443", environment="K3S_URL", aliases=("server", "s")),
    Flag("etcd-snapshot-dir", aliases=("dir",)),
    Flag("name", default="on-demand"),
    Flag("etcd-snapshot-compress", "switch", False, aliases=("snapshot-compress",)),
    Flag("etcd-snapshot-retention", "number", 5, aliases=("snapshot-retention",)),
    Flag("output", aliases=("o",)),
]
CERTIFICATE = [
    *COMMON,
    DATA_DIR,
    Flag("service", "list", aliases=("s",)),
    Flag("server", default="https://127.0.0.1:6443", environment="K3S_URL"),
    Flag("path"),
    Flag("force", "switch", False),
    Flag("output", default="text", aliases=("o",)),
]
TOKEN = [
    *COMMON,
    DATA_DIR,
    Flag("kubeconfig", environment="KUBECONFIG"),
    Flag("description"),
    Flag("groups", "list"),
    Flag("usages", "list"),
    Flag("ttl", default="24h0m0s"),
    Flag("output", default="text", aliases=("o",)),
    Flag("server", default="https://127.0.0.1:6443", environment="K3S_URL", aliases=("s",)),
    Flag("token", environment="K3S_TOKEN", aliases=("t",)),
    Flag("new-token"),
]
SECRETS_ENCRYPT = [
    *COMMON,
    DATA_DIR,
    Flag("server", default="https://127.0.0.1:6443", environment="K3S_URL", aliases=("s",)),
    Flag("token", environment="K3S_TOKEN", aliases=("t",)),
    Flag("output", default="text", aliases=("o",)),
    *_switches("force", "skip", "f"),
]


def parse(flags: Sequence[Flag], argv: Sequence[str], environment: Mapping[str, str] | None = None) -> Options:
    """Raises log.FatalError as K3s ends for what it does not know."""
    environment = os.environ if environment is None else environment
    line, arguments = _parse_line(flags, argv)
    path = str(line.get("config") or environment.get("K3S_CONFIG_FILE") or CONFIG_FILE)
    is_named = path != CONFIG_FILE
    given = _parse_files(flags, load_files(Path(path), is_named=is_named))
    for flag in flags:
        if flag.environment and environment.get(flag.environment):
            given[flag.name] = _convert(flag, environment[flag.environment])
    return Options(flags, {**given, **line}, arguments)


def load_files(path: Path, *, is_named: bool) -> dict[str, Any]:
    """The configuration file and ``FILE.d/*.yaml`` in order of their names, merged key by key."""
    import yaml  # costs 20 ms, and most commands have no file

    files = [path] if path.exists() else []
    if not files and is_named and not path.with_name(path.name + ".d").exists():
        log.fatal(f"open {path}: no such file or directory")
    files += sorted(path.with_name(path.name + ".d").glob("*.yaml"))
    merged: dict[str, Any] = {}
    for file in files:
        try:
            document = yaml.safe_load(file.read_text()) or {}
        except yaml.YAMLError as error:
            log.fatal(f"failed to load {file}: {error}")
        for key, value in document.items():
            name = str(key).removesuffix("+")
            is_added = str(key).endswith("+") and name in merged
            merged[name] = _add(merged[name], value) if is_added else value
    return merged


def _add(before: Any, value: Any) -> Any:
    if isinstance(before, list) or isinstance(value, list):
        return [*(before if isinstance(before, list) else [before]), *(value if isinstance(value, list) else [value])]
    return f"{before}{value}"


def _parse_files(flags: Sequence[Flag], document: Mapping[str, Any]) -> dict[str, Any]:
    known = _index(flags)
    given: dict[str, Any] = {}
    for key, value in document.items():
        if key not in known:
            log.warn(f"Unknown flag --{key} found in config.yaml, skipping\n")
            continue
        flag = known[key]
        given[flag.name] = _convert(flag, value)
    return given


def _parse_line(flags: Sequence[Flag], argv: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    known = _index(flags)
    given: dict[str, Any] = {}
    arguments: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            return given, [*arguments, *words]
        if not word.startswith("-") or word == "-":
            arguments.append(word)
            continue
        name, separator, value = word.lstrip("-").partition("=")
        flag = known.get(name)
        if flag is None:
            log.fatal(f"flag provided but not defined: -{name}")
        if flag.kind == "switch":
            given[flag.name] = _convert(flag, value if separator else "true")
            continue
        if not separator:
            if not words:
                log.fatal(f"flag needs an argument: -{name}")
            value = words.pop(0)
        converted = _convert(flag, value)
        given[flag.name] = [*given.get(flag.name, []), *converted] if flag.kind == "list" else converted
    return given, arguments


def _index(flags: Sequence[Flag]) -> dict[str, Flag]:
    return {name: flag for flag in flags for name in (flag.name, *flag.aliases)}


def _convert(flag: Flag, value: Any) -> Any:
    if flag.kind == "list":
        values = value if isinstance(value, list) else [value]
        # Arguments for a component and labels may hold commas of their own only in the former.
        if flag.name.endswith("-arg"):
            return [str(one) for one in values]
        return [part for one in values for part in str(one).split(",") if part]
    if flag.kind == "number":
        if not re.fullmatch(r"-?\d+", str(value)):
            log.fatal(f'invalid value "{value}" for flag -{flag.name}: parse error')
        return int(value)
    if flag.kind == "switch":
        if str(value).lower() not in ("true", "false", "1", "0"):
            log.fatal(f'invalid boolean value "{value}" for -{flag.name}: parse error')
        return str(value).lower() in ("true", "1")
    return "" if value is None else str(value)
