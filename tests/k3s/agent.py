"""K3s's agent: credentials from the supervisor, containerd with its images, kubelet, kube-proxy."""

from __future__ import annotations

import json
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.k3s import kubeconfig, log, network, programs, runtime
from tests.k3s.children import Children
from tests.k3s.joining import JoinError, Supervisor
from tests.k3s.options import Options
from tests.k3s.paths import CONTAINERD_SOCKET, KUBELET, NODE_PASSWORD, POD_LOGS, DataDir, write

_RETRY_S = 1.0
_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\n?", re.DOTALL)


class Agent:
    """``server`` is where the API is reached from this node: the own server, or the agent's load balancer."""

    def __init__(self, data: DataDir, options: Options, children: Children, server: str, token: str) -> None:
        self._data = data
        self._options = options
        self._children = children
        self._server = server
        self._token = token
        self.node_name = name_node(options)
        self.addresses = options.list("node-ip") or [find_address()]

    def prepare(self, check: Callable[[], None]) -> dict[str, Any]:
        """Credentials and settings from the supervisor, asked for until it gives them; ``check`` may raise meanwhile."""
        self._data.make_agent()
        while True:
            try:
                supervisor = Supervisor(f"https://{self._server}", self._token, "node")
                settings: dict[str, Any] = supervisor.get_json("/v1-k3s/config")
                self._fetch(supervisor)
            except JoinError as error:
                check()
                log.info(f"Waiting to retrieve agent configuration; server is not ready: {error}")
                ended = self._children.find_ended()
                if ended:
                    log.fatal(ended)
                time.sleep(_RETRY_S)
                continue
            return settings

    def start(self, settings: dict[str, Any]) -> None:
        """containerd, then kubelet and kube-proxy. From the main thread, as all children."""
        agent = self._data.agent
        runtime.start(self._data, self._options, self._children)
        for name, certificate in (
            ("kubelet", "client-kubelet"),
            ("kubeproxy", "client-kube-proxy"),
            ("k3scontroller", "client-k3s-controller"),
        ):
            path = agent / f"{name}.kubeconfig"
            kubeconfig.write_component(
                path, self._server, agent / "server-ca.crt", agent / f"{certificate}.crt", agent / f"{certificate}.key"
            )
        network.prepare()
        self._children.start("kubelet", *programs.kube("kubelet"), *self._kubelet_arguments(settings))
        if not settings["disableKubeProxy"]:
            self._children.start("kube-proxy", *programs.kube("kube-proxy"), *self._proxy_arguments(settings))

    def follow_network(self, settings: dict[str, Any], is_stopping: Callable[[], bool]) -> None:
        network.follow(self._data, self._server, self.node_name, settings, is_stopping)

    def _fetch(self, supervisor: Supervisor) -> None:
        folder = self._data.agent
        for name in ("client-ca.crt", "server-ca.crt"):
            write(folder / name, supervisor.get(f"/v1-k3s/{name}"), 0o644)
        headers = {
            "K3s-Node-Name": self.node_name,
            "K3s-Node-Password": want_node_password(),
            "K3s-Node-IP": ",".join(self.addresses),
        }
        for name in ("client-kubelet", "serving-kubelet", "client-kube-proxy", "client-k3s-controller"):
            text = supervisor.get(f"/v1-k3s/{name}.crt", headers if "kubelet" in name else None)
            blocks = [(found[1], found[0]) for found in _PEM.finditer(text)]
            write(folder / f"{name}.crt", b"".join(block for kind, block in blocks if b"KEY" not in kind), 0o644)
            write(folder / f"{name}.key", b"".join(block for kind, block in blocks if b"KEY" in kind))

    def _kubelet_arguments(self, settings: dict[str, Any]) -> list[str]:
        agent = self._data.agent
        configuration = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(agent / "client-ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(agent / "serving-kubelet.crt"),
            "tlsPrivateKeyFile": str(agent / "serving-kubelet.key"),
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0 if not runtime.may_lower_oom_score() else -999,
            "clusterDNS": settings["clusterDNS"],
            "clusterDomain": settings["clusterDomain"],
            "staticPodPath": str(agent / "pod-manifests"),
            "podLogsDir": str(POD_LOGS),
            "resolvConf": self._options.text("resolv-conf") or want_resolv_conf(self._data),
            "volumePluginDir": str(agent / "kubelet-plugins"),
            "evictionHard": {"imagefs.available": "5%", "nodefs.available": "5%"},
            "evictionMinimumReclaim": {"imagefs.available": "10%", "nodefs.available": "10%"},
            "shutdownGracePeriod": "0s",
        }
        file = self._data.etc / "kubelet.conf.d" / "00-k3s-defaults.conf"
        write(file, json.dumps(configuration, indent=2))
        (agent / "pod-manifests").mkdir(exist_ok=True)
        labels = ["node.kubernetes.io/instance-type=k3s", *self._options.list("node-label")]
        arguments = {
            "config": str(file),
            "kubeconfig": str(agent / "kubelet.kubeconfig"),
            "hostname-override": self.node_name,
            "node-ip": ",".join(self.addresses),
            "root-dir": str(KUBELET),
            "cert-dir": str(agent / "kubelet" / "pki"),
            "node-labels": ",".join(labels),
        }
        if self._options.list("node-taint"):
            arguments["register-with-taints"] = ",".join(self._options.list("node-taint"))
        return merge_arguments(arguments, self._options.list("kubelet-arg"))

    def _proxy_arguments(self, settings: dict[str, Any]) -> list[str]:
        arguments = {
            "kubeconfig": str(self._data.agent / "kubeproxy.kubeconfig"),
            "cluster-cidr": ",".join(settings["clusterCIDR"]),
            "hostname-override": self.node_name,
            "proxy-mode": "iptables",
            "healthz-bind-address": "127.0.0.1",
            # The kernel's table of connections is the machine's own.
            "conntrack-max-per-core": "0",
            "conntrack-tcp-timeout-established": "0s",
            "conntrack-tcp-timeout-close-wait": "0s",
        }
        return merge_arguments(arguments, self._options.list("kube-proxy-arg"))


def merge_arguments(arguments: dict[str, str], extra: list[str]) -> list[str]:
    """The operator's win over K3s's own; such that say more (feature gates) are repeated by the operator."""
    merged = dict(arguments)
    for argument in extra:
        key, _, value = argument.removeprefix("--").partition("=")
        merged[key] = value
    return [f"--{key}={value}" for key, value in merged.items()]


def name_node(options: Options) -> str:
    return (options.text("node-name") or socket.gethostname()).lower()


def find_address() -> str:
    """The address of the interface that has the default route."""
    found = subprocess.run(["ip", "-j", "route", "get", "192.0.2.1"], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        log.fatal('no default routes found in "/proc/net/route" or "/proc/net/ipv6_route"')
    address: str = json.loads(found.stdout)[0]["prefsrc"]
    return address


def want_node_password() -> str:
    """Tells the servers that a node of this name is the one they know; outside of the data directory, as K3s has it."""
    if not NODE_PASSWORD.exists():
        write(NODE_PASSWORD, secrets.token_hex(16) + "\n")
    return NODE_PASSWORD.read_text().strip()


def want_resolv_conf(data: DataDir) -> str:
    """The machine's, unless pods could not reach its name servers."""
    found = Path("/etc/resolv.conf")
    text = found.read_text() if found.exists() else ""
    servers = re.findall(r"^nameserver\s+(\S+)", text, re.MULTILINE)
    if servers and not any(server.startswith(("127.", "::1")) for server in servers):
        return str(found)
    path = data.etc / "resolv.conf"
    write(path, "nameserver 8.8.8.8\n", 0o644)
    return str(path)
