"""K3s on :class:`eaves.testing.k3s_machine.Machine`, started as an operator would, for tests of K3s's own behaviour."""

from __future__ import annotations

import json
import shutil
from typing import Any

import yaml

from eaves.testing.daemons import run_program
from eaves.testing.k3s import Release
from eaves.testing.k3s_machine import Machine

START_LIMIT_S = 240.0
DATA = "/var/lib/rancher/k3s"
CONFIG = "/etc/rancher/k3s/config.yaml"


class K3sHost:
    """One K3s, a server or an agent, with its configuration file."""

    def __init__(self, machine: Machine, release: Release, role: str, **options: Any) -> None:
        """``options`` by their names in the configuration file, with ``_`` for ``-``."""
        self.machine = machine
        self.release = release
        self.data = machine.path(DATA)
        self.config = machine.path(CONFIG)
        self.role = role
        config: dict[str, Any] = {
            "node-name": machine.name,
            "node-ip": machine.address,
            "kubelet-arg": [f"cgroup-root={machine.cgroup}"],
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        if role == "server":
            config = {
                "flannel-backend": "host-gw",
                "disable": ["traefik", "servicelb", "metrics-server", "local-storage"],
                **config,
            }
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.write_text(yaml.safe_dump(config))
        images = self.data / "agent" / "images"
        images.mkdir(parents=True, exist_ok=True)
        if not (images / release.images.name).exists():
            shutil.copy(release.images, images)
        self.daemon = machine.daemon(f"k3s-{role}", [str(release.program), role])

    def k3s(self, *arguments: str, check: bool = True) -> str:
        """``k3s ARGUMENTS`` on the machine; what it printed."""
        return self.machine.run(str(self.release.program), *arguments, check=check)

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        """``k3s kubectl`` with the server's own kubeconfig."""
        argv = [*self.machine.prefix, str(self.release.program), "kubectl", *arguments]
        return run_program(argv, stdin=stdin, environment={"KUBECONFIG": "/etc/rancher/k3s/k3s.yaml"}, check=check)

    def ask(self, path: str) -> str:
        """What the API answers the administrator to a GET; empty for anything but success. Costs a twentieth of a kubectl."""
        tls = f"{DATA}/server/tls"
        files = (
            "--cacert",
            f"{tls}/server-ca.crt",
            "--cert",
            f"{tls}/client-admin.crt",
            "--key",
            f"{tls}/client-admin.key",
        )
        return self.machine.run("curl", "-sf", "-m", "10", *files, f"https://127.0.0.1:6443{path}", check=False)

    def start(self) -> None:
        self.daemon.start()

    def wait_ready(self, limit_s: float = START_LIMIT_S) -> None:
        """The API answers and this server's node is ready."""
        self.daemon.wait(f"the node {self.machine.name}", lambda: self.is_node_ready(self.machine.name), limit_s)

    def is_api_ready(self) -> bool:
        return self.ask("/readyz") == "ok"

    def is_node_ready(self, name: str) -> bool:
        return self.node_condition(name, "Ready") == "True"

    def node_condition(self, name: str, kind: str) -> str:
        text = self.ask(f"/api/v1/nodes/{name}")
        conditions = (json.loads(text) if text else {}).get("status", {}).get("conditions") or []
        return next((condition["status"] for condition in conditions if condition["type"] == kind), "")

    def nodes(self) -> list[str]:
        text = self.ask("/api/v1/nodes")
        return [node["metadata"]["name"] for node in json.loads(text)["items"]] if text else []

    def read(self, path: str) -> str:
        """A file of the data directory; on the machine, since some are links to absolute paths."""
        return self.machine.run("cat", f"{DATA}/{path}")

    def url(self) -> str:
        return f"https://{self.machine.address}:6443"
