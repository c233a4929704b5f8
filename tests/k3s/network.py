"""The pods' network: a bridge on each node and, in flannel's place, a route to each other node's pods (its ``host-gw`` back end)."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.k3s import log
from tests.k3s.api import Api, ApiError, Object
from tests.k3s.paths import DataDir, write

_POLL_S = 1.0
_BRIDGE = "cni0"
_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
    "net/ipv4/conf/all/forwarding": "1",
}


def prepare() -> None:
    """What the kernel must do for pods. Of the machine, or of the namespace that this runs in."""
    for name, value in _SYSCTLS.items():
        with contextlib.suppress(OSError):
            Path("/proc/sys", name).write_text(value)


def follow(
    data: DataDir, server: str, node_name: str, settings: dict[str, Any], is_stopping: Callable[[], bool]
) -> None:
    """Writes the CNI configuration once the node has its subnet, and keeps the routes; returns when K3s stops."""
    if settings["flannelBackend"] == "none":
        return
    agent = data.agent
    api = Api(server, agent / "server-ca.crt", agent / "client-k3s-controller.crt", agent / "client-k3s-controller.key")
    while not is_stopping():
        with contextlib.suppress(ApiError):
            nodes = api.items("/api/v1/nodes")
            own = next((node for node in nodes if node["metadata"]["name"] == node_name), None)
            if own is not None and own["spec"].get("podCIDR"):
                _write_configuration(data, own["spec"]["podCIDR"], settings["clusterCIDR"][0])
                _want_routes([node for node in nodes if node is not own], settings["clusterCIDR"][0])
        time.sleep(_POLL_S)


def _write_configuration(data: DataDir, subnet: str, cluster: str) -> None:
    path = data.etc / "cni" / "net.d" / "10-flannel.conflist"
    ranges = [[{"subnet": subnet}]]
    address_plugin = {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": _BRIDGE, "isGateway": True, "hairpinMode": True, "forceAddress": True}
    plugins = [{**bridge, "ipam": address_plugin}, {"type": "portmap", "capabilities": {"portMappings": True}}]
    text = json.dumps({"name": "cbr0", "cniVersion": "1.0.0", "plugins": plugins})
    if not path.exists() or path.read_text() != text:
        write(path, text, 0o644)
        write(
            Path("/run/flannel/subnet.env"),
            f"FLANNEL_NETWORK={cluster}\nFLANNEL_SUBNET={subnet}\nFLANNEL_IPMASQ=true\n",
        )
    rule = [
        "POSTROUTING",
        "-s",
        cluster,
        "!",
        "-d",
        cluster,
        "-m",
        "comment",
        "--comment",
        "flanneld masq",
        "-j",
        "MASQUERADE",
    ]
    if not _run("iptables", "-w", "-t", "nat", "-C", *rule):
        _run("iptables", "-w", "-t", "nat", "-A", *rule)
    for side in ("-s", "-d"):
        accept = ["FORWARD", side, cluster, "-m", "comment", "--comment", "flanneld forward", "-j", "ACCEPT"]
        if not _run("iptables", "-w", "-C", *accept):
            _run("iptables", "-w", "-A", *accept)


def _want_routes(others: list[Object], cluster: str) -> None:
    """One to each other node's pods, and none to those of nodes that went."""
    wanted = {}
    for node in others:
        addresses = [a["address"] for a in node["status"].get("addresses") or [] if a["type"] == "InternalIP"]
        if node["spec"].get("podCIDR") and addresses:
            wanted[node["spec"]["podCIDR"]] = addresses[0]
    listed = subprocess.run(["ip", "-j", "route"], capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        return
    prefix = ".".join(cluster.split(".")[:2]) + "."
    have = {r["dst"]: r["gateway"] for r in json.loads(listed.stdout) if "gateway" in r and r["dst"].startswith(prefix)}
    for subnet, gateway in wanted.items():
        if have.get(subnet) != gateway and not _run("ip", "route", "replace", subnet, "via", gateway):
            log.warn(f"no route to the pods at {gateway}")
    for subnet in have.keys() - wanted.keys():
        _run("ip", "route", "delete", subnet)


def _run(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0
