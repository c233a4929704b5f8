"""Eaves nodes that form K3s clusters, for system tests: each node daemon on a machine of its own, all under one controller.

The controller runs on the host; each machine reaches it, and the server that has K3s's files, under the same loopback addresses by a
:class:`eaves.testing.relay.Relay`. Cut that and the controller is away; pull the machine's cable and its neighbours are.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import platform
import secrets
import shutil
import signal
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eaves.kube.resource import Object
from eaves.testing import movable_clock
from eaves.testing.daemons import run_program, wait_for
from eaves.testing.file_server import FileServer
from eaves.testing.k3s import Release
from eaves.testing.k3s_machine import Lan, Machine, end_pods
from eaves.testing.movable_clock import MovableClock
from eaves.testing.namespaces import Namespace
from eaves.testing.relay import Relay
from eaves.testing.system import ControllerHost, NodeHost

READY_LIMIT_S = 600.0
_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


class ClusterNode(NodeHost):
    """A node daemon on a :class:`Machine`."""

    def __init__(
        self,
        folder: Path,
        controller: ControllerHost,
        machine: Machine,
        ports: Sequence[int],
        name: str,
        state_dir: Path,
    ) -> None:
        super().__init__(folder, controller, state_dir=state_dir, prefix=machine.prefix, name=name)
        self.machine = machine
        self.clock: MovableClock | None = None
        with Namespace.at(f"/proc/{machine.pid}/ns/net") as inside:
            self.relays = [Relay(inside, port) for port in ports]

    def add_clock(self) -> None:
        """A clock of the day of its own, for what is started from now on."""
        self.clock = self.machine.add_clock()
        self.daemon.prefix = [*self.machine.prefix, *movable_clock.want_prefix()]

    def fill_disk(self) -> None:
        """To the last byte. Of one that was added with ``disk_bytes``."""
        assert self.instance.data_dir.is_mount()
        filler = self._filler
        whole, rest = (
            f"dd if=/dev/zero of={filler} bs=1M",
            f"dd if=/dev/zero of={filler} bs=512 oflag=append conv=notrunc",
        )
        run_program(["sh", "-c", f"{{ {whole}; {rest}; }} 2>&1; true"])

    def free_disk(self) -> None:
        self._filler.unlink(missing_ok=True)

    @property
    def _filler(self) -> Path:
        return self.instance.data_dir / "filler"

    def count_refusals(self) -> int:
        """How often it asked the controller in vain."""
        return sum(relay.refusals for relay in self.relays)

    def cut_controller(self) -> None:
        for relay in self.relays:
            relay.cut()

    def mend_controller(self) -> None:
        for relay in self.relays:
            relay.mend()

    def cut_power(self) -> None:
        """All that runs on the machine goes at once; its disk stays."""
        self.daemon.kill()
        self.machine.cut_power()
        shutil.rmtree(self.instance.run_dir, ignore_errors=True)

    def remove(self) -> None:
        with contextlib.suppress(AssertionError):
            self.daemon.stop()
        for relay in self.relays:
            relay.close()
        self.machine.close()
        end_pods(self.instance)
        shutil.rmtree(self.instance.run_dir, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)


class ClusterStage:
    """Nodes and a datastore of K3s's files. Use as a context manager."""

    def __init__(self, folder: Path, controller: ControllerHost, releases: Sequence[Release]) -> None:
        self._folder = folder / f"cluster-{secrets.token_hex(3)}"
        self._folder.mkdir(parents=True)
        self.controller = controller
        self.releases = releases
        self.nodes: list[ClusterNode] = []
        self._stack = contextlib.ExitStack()
        self._lan = Lan()
        self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        self._stack.callback(self._lan.close)
        self.files = self._stack.enter_context(FileServer())

    def __enter__(self) -> ClusterStage:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add_node(
        self, *, is_started: bool = True, name: str = "", disk_bytes: int = 0, has_clock: bool = False
    ) -> ClusterNode:
        """A joined node, ready when ``is_started``. ``name``: of one whose place it takes.

        ``disk_bytes``: its state, K3s's included, has a file system of its own of this size. ``has_clock``: it has a clock of the day of
        its own.
        """
        state_dir = self._folder / f"state-{secrets.token_hex(4)}"
        state_dir.mkdir()
        if disk_bytes:
            # Before there is the machine, which sees what is mounted then.
            run_program(["mount", "-t", "tmpfs", "-o", f"size={disk_bytes},mode=700", "tmpfs", str(state_dir)])
            self._stack.callback(run_program, ["umount", "-l", str(state_dir)])
        machine = Machine(self._folder, f"k{len(self.nodes)}-{secrets.token_hex(3)}", self._lan)
        ports = (self.controller.gateway_port, self.controller.api_port, self.port)
        node = ClusterNode(self._folder, self.controller, machine, ports, name, state_dir)
        self._stack.callback(node.remove)
        if has_clock:
            node.add_clock()
        node.join()
        if is_started:
            node.start()
            node.wait_ready()
        self.nodes.append(node)
        return node

    @property
    def port(self) -> int:
        return int(self.files.url.rpartition(":")[2])

    def set_cable(self, node: ClusterNode, *, is_plugged: bool) -> None:
        self._lan.set_port(node.machine.address, is_up=is_plugged)

    def want_releases(self, namespace: str, bundles: Sequence[Path] = ()) -> None:
        """A Datastore ``k3s`` in ``namespace`` with each release's files, and the K3sReleases that name them.

        ``bundles``: archives of images beside the releases' own.
        """
        operator = self.controller.operator
        spec = {"type": "HTTP", "url": self.files.url}
        operator.create("datastores", _object("Datastore", "k3s", spec), namespace)
        for release in self.releases:
            program = self._serve(release.program, release.version)
            images = [self._serve(file, release.version) for file in (release.images, *bundles)]
            built: dict[str, Any] = {"architecture": _ARCHITECTURE, "binary": program, "images": images}
            name = release.version.replace("+", "-")
            operator.create(
                "k3sreleases",
                _object("K3sRelease", name, {"version": release.version, "architectures": [built]}),
                namespace,
            )

    def apply(self, cluster: Object, namespace: str) -> None:
        self.controller.operator.create("k3sclusters", cluster, namespace)

    def find(self, name: str, namespace: str) -> Object | None:
        return self.controller.operator.get("k3sclusters", name, namespace)

    def get(self, name: str, namespace: str) -> Object:
        """The K3sCluster, which must be there."""
        found = self.find(name, namespace)
        assert found is not None, f"no K3sCluster {name}"
        return found

    def wait_phase(self, name: str, namespace: str, phase: str, limit_s: float = READY_LIMIT_S) -> None:
        """Wait until the cluster is in this phase, as of its present spec."""

        def check() -> bool:
            found = self.get(name, namespace)
            status = found.get("status") or {}
            is_current = status.get("observedGeneration") == found["metadata"]["generation"]
            return is_current and status.get("phase") == phase

        wait_for(f"{name} to be {phase}", check, limit_s, lambda: self._explain(name, namespace))

    def ask(self, node: ClusterNode, path: str) -> str:
        """What the API on a server answers its administrator to a GET, on the machine itself; empty for anything but success."""
        data = self._data(node)
        if data is None:
            return ""
        tls = data / "server" / "tls"
        files = (
            "--cacert",
            f"{tls}/server-ca.crt",
            "--cert",
            f"{tls}/client-admin.crt",
            "--key",
            f"{tls}/client-admin.key",
        )
        return node.machine.run("curl", "-sf", "-m", "10", *files, f"https://127.0.0.1:6443{path}", check=False)

    def read(self, node: ClusterNode, path: str) -> str:
        """A file of K3s's data directory; empty when there is none."""
        data = self._data(node)
        return (data / path).read_text() if data is not None and (data / path).exists() else ""

    def connect(self, node: ClusterNode) -> http.client.HTTPSConnection:
        """A connection of its administrator to the API on a server, made on the machine, for who asks often."""
        tls = self.data(node) / "server" / "tls"
        context = ssl.create_default_context(cafile=str(tls / "server-ca.crt"))
        context.load_cert_chain(tls / "client-admin.crt", tls / "client-admin.key")
        connection = http.client.HTTPSConnection("127.0.0.1", 6443, context=context, timeout=30)
        with Namespace.at(f"/proc/{node.machine.pid}/ns/net") as inside, inside.entered():
            connection.connect()
        return connection

    def list_kube_nodes(self, server: ClusterNode) -> list[Object]:
        """The cluster's Node objects; none while its API does not answer."""
        text = self.ask(server, "/api/v1/nodes")
        items: list[Object] = json.loads(text)["items"] if text else []
        return items

    def list_ready(self, server: ClusterNode) -> list[str]:
        """Names of the Nodes that are ready, as this server tells."""
        found = []
        for node in self.list_kube_nodes(server):
            conditions: list[Object] = node["status"].get("conditions") or []
            if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
                found.append(str(node["metadata"]["name"]))
        return sorted(found)

    def count_etcd(self, server: ClusterNode) -> int:
        """Members, as etcd itself tells them; 0 while it does not answer."""
        tls = self.data(server) / "server" / "tls" / "etcd"
        files = ("--cacert", f"{tls}/server-ca.crt", "--cert", f"{tls}/client.crt", "--key", f"{tls}/client.key")
        url = "https://127.0.0.1:2379/v3/cluster/member/list"
        text = server.machine.run("curl", "-sf", "-m", "10", *files, "-X", "POST", "-d", "{}", url, check=False)
        return len(json.loads(text)["members"]) if text else 0

    def list_config_maps(self, node: ClusterNode) -> list[str]:
        """Names of those in namespace ``default``, as soon as the API answers."""
        path = "/api/v1/namespaces/default/configmaps"
        text = wait_for("the API", lambda: self.ask(node, path), READY_LIMIT_S, node.explain)
        return [entry["metadata"]["name"] for entry in json.loads(text)["items"]]

    def write_config_map(self, node: ClusterNode, name: str) -> None:
        """As soon as the API takes it."""
        body = json.dumps({"metadata": {"name": name}})

        def is_written() -> bool:
            try:
                with contextlib.closing(self.connect(node)) as connection:
                    path, headers = "/api/v1/namespaces/default/configmaps", {"Content-Type": "application/json"}
                    connection.request("POST", path, body, headers)
                    status = connection.getresponse().status
            except (OSError, http.client.HTTPException):
                return False
            # A conflict: it took an earlier one whose answer was lost.
            assert status in (201, 409) or status >= 500, status
            return status in (201, 409)

        wait_for(f"the ConfigMap {name}", is_written, READY_LIMIT_S, node.explain)

    def kill_k3s(self, node: ClusterNode) -> None:
        """``kill -9`` of K3s itself; what it had started ends with it or goes on, as with K3s."""
        for pid in self.k3s_pids(node):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                if {"server", "agent"} & {*words[1:8]} and any("k3s" in word for word in words[:6]):
                    os.kill(int(pid), signal.SIGKILL)

    def k3s_pids(self, node: ClusterNode) -> list[str]:
        """Processes of Kubernetes, containerd and etcd on the machine."""
        own = Path(f"/proc/{node.machine.pid}/ns/net").readlink()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_text().split("\0")
                if (entry / "ns" / "net").readlink() == own and any(
                    "/kubernetes/" in w or "k3s" in Path(w).name for w in words[:4]
                ):
                    found.append(entry.name)
        return sorted(found)

    def list_traces(self, node: ClusterNode) -> list[str]:
        """What is left of K3s on the machine."""
        found = [f"process {pid}" for pid in self.k3s_pids(node)]
        found += [str(path) for path in node.instance.data_dir.glob("k3s/*/data")]
        found += [name for name in ("cni0", "flannel.1") if name in node.machine.run("ip", "-o", "link")]
        rules = node.machine.run("sh", "-c", "iptables-save")
        found += [line for line in rules.splitlines() if "KUBE-" in line or "flanneld" in line]
        return found

    def find_leaks(self, node: ClusterNode) -> list[str]:
        """Files outside the machine's own K3s that hold a credential of its cluster: its keys, or its token in clear."""
        server = self.data(node) / "server"
        secrets_of_cluster = [_longest_line(path) for path in sorted((server / "tls").glob("**/*.key"))]
        secrets_of_cluster += [(server / "token").read_text().strip().rpartition(":")[2]]
        own, found = node.instance, []
        places = [self.controller.data_dir, self.controller.settings_file.with_name("controller.log")]
        places += [entry for entry in own.data_dir.iterdir() if entry not in (own.k3s_dir, own.blobs_dir)]
        for place in places:
            for path in [place] if place.is_file() else sorted(place.rglob("*")):
                if path.is_file() and not path.is_symlink():
                    content = path.read_bytes()
                    found += [str(path) for secret in secrets_of_cluster if secret.encode() in content]
        return found

    def data(self, node: ClusterNode) -> Path:
        """K3s's data directory, which must be there."""
        found = self._data(node)
        assert found is not None, f"{node.name} has no K3s"
        return found

    def _data(self, node: ClusterNode) -> Path | None:
        return next(iter(node.instance.data_dir.glob("k3s/*/data")), None)

    def _explain(self, name: str, namespace: str) -> str:
        status = json.dumps((self.get(name, namespace).get("status") or {}), indent=1)
        return "\n".join([status, *(node.explain() for node in self.nodes)])

    def _serve(self, file: Path, version: str) -> dict[str, Any]:
        path = f"/{version.replace('+', '-')}/{file.name}"
        content = file.read_bytes()
        digest = self.files.add(path, content)
        return {
            "datastoreRef": {"name": "k3s"},
            "path": path.lstrip("/"),
            "sha256": digest.removeprefix("sha256:"),
            "size": len(content),
        }


def _longest_line(path: Path) -> str:
    """Of a PEM file, something that is nowhere else."""
    return max((line for line in path.read_text().splitlines() if "-----" not in line), key=len)


def _object(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": "eaves.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def want_cluster(
    name: str, version: str, servers: Sequence[ClusterNode], agents: Sequence[ClusterNode] = (), **spec: Any
) -> Object:
    """A K3sCluster over these nodes."""
    wanted: Object = {
        "version": version,
        "servers": {"nodeNames": [node.name for node in servers]},
        "disable": ["traefik", "servicelb", "metrics-server", "local-storage"],
        **({"agents": {"nodeNames": [node.name for node in agents]}} if agents else {}),
        **spec,
    }
    return _object("K3sCluster", name, wanted)
