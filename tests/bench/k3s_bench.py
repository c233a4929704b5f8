"""K3s clusters through Eaves against the same program started by hand, in turns on the same machine.

``make bench BENCH="k3s_bring_up k3s_node_memory k3s_proxy k3s_upgrade"`` as root. Which K3s runs inside is in each note; the stand-in's
memory is that of Kubernetes in separate processes, K3s's own is smaller.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from eaves.testing.daemons import wait_for
from eaves.testing.guest_image import want_guest_disk
from eaves.testing.k3s import Release, find_releases
from eaves.testing.k3s_host import K3sHost
from eaves.testing.k3s_machine import Lan, Machine
from eaves.testing.k3s_stage import READY_LIMIT_S, ClusterNode, ClusterStage, want_cluster
from eaves.testing.namespaces import Namespace
from eaves.testing.registry import Registry
from eaves.testing.relay import Relay
from eaves.testing.system import ControllerHost, want_app, want_datastore
from tests.bench.results import Result, median_result

RUNS = 3
UPGRADE_GOAL = 0.0
LISTED = 500
BOX_MIB = 4096
WRITES = 100
_PROBE_EVERY_S = 0.1


@contextlib.contextmanager
def open_stage() -> Iterator[tuple[ClusterStage, str]]:
    """A controller, no node yet, and a namespace with the releases."""
    folder = Path(tempfile.mkdtemp(prefix="eaves-bench.", dir="/var/tmp"))
    try:
        with (
            ControllerHost(folder / "controller") as controller,
            ClusterStage(folder, controller, find_releases()) as stage,
        ):
            controller.operator.create("namespaces", {"metadata": {"name": "bench"}})
            stage.want_releases("bench")
            yield stage, "bench"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def bench_bring_up() -> Sequence[Result]:
    """From ``kubectl apply`` to a ready API, files on the node already; by hand from the command to a ready API."""
    release = find_releases()[0]
    ours, bare = [], []
    with open_stage() as (stage, namespace):
        node = stage.add_node()
        bring_up(stage, namespace, node, release)  # The first run fetches the files, which is measured elsewhere.
        for _ in range(RUNS):
            ours.append(bring_up(stage, namespace, node, release))
            bare.append(bring_up_by_hand(release))
    note = f"{_name(release)}, one server with embedded etcd"
    return [median_result("k3s_bring_up", "s", "lower", ours, peer="k3s server by hand", peer_runs=bare, note=note)]


def bring_up(stage: ClusterStage, namespace: str, node: ClusterNode, release: Release) -> float:
    name = f"bench-{secrets.token_hex(3)}"
    started = time.perf_counter()
    stage.apply(want_cluster(name, release.version, [node]), namespace)
    wait_for("the API", lambda: stage.ask(node, "/readyz") == "ok", READY_LIMIT_S, node.explain)
    took_s = time.perf_counter() - started
    stage.controller.operator.delete("k3sclusters", name, namespace)
    wait_for("the cluster to be gone", lambda: stage.find(name, namespace) is None, READY_LIMIT_S, node.explain)
    return took_s


def bring_up_by_hand(release: Release) -> float:
    folder = Path(tempfile.mkdtemp(prefix="eaves-bench.", dir="/var/tmp"))
    lan = Lan()
    machine = Machine(folder, f"bare-{secrets.token_hex(3)}", lan)
    try:
        host = K3sHost(machine, release, "server", cluster_init=True, secrets_encryption=True)
        started = time.perf_counter()
        host.start()
        wait_for("the API", host.is_api_ready, READY_LIMIT_S, host.daemon.tail)
        took_s = time.perf_counter() - started
        host.daemon.stop()
        return took_s
    finally:
        machine.close()
        lan.close()
        shutil.rmtree(folder, ignore_errors=True)


def bench_node_memory() -> Sequence[Result]:
    """Proportional set size of all that runs on a node by program: a cluster, a virtual machine of 256 MiB and three containers.

    All of it is to fit a box of 4 GB.
    """
    release = find_releases()[0]
    with open_stage() as (stage, namespace), run_apps(stage, namespace) as wait_apps:
        (node,) = stage.nodes
        stage.apply(want_cluster("bench", release.version, [node]), namespace)
        stage.wait_phase("bench", namespace, "Ready")
        wait_apps()
        table = node.machine.load_memory()
    total = sum(table.values())
    shown = ", ".join(f"{name} {mib:.0f}" for name, mib in sorted(table.items(), key=lambda item: -item[1]))
    note = f"{_name(release)}, a VM of 256 MiB, three containers; of {BOX_MIB} MiB; by program: {shown}"
    return [Result("k3s_node_memory", total, "MiB", "lower", (total,), note=note)]


@contextlib.contextmanager
def run_apps(stage: ClusterStage, namespace: str) -> Iterator[Callable[[], None]]:
    """A virtual machine and three containers on a new node; yields what waits until they are ready."""
    operator, disk = stage.controller.operator, want_guest_disk().read_bytes()
    digest = stage.files.add("/guest.raw", disk)
    node = stage.add_node()
    with Registry(stage.controller.folder / "registry") as registry:
        registry.push("shop/shell:1", ("sleep", "1000000"))
        with Namespace.at(f"/proc/{node.machine.pid}/ns/net") as inside:
            relay = Relay(inside, registry.port)
        try:
            operator.create("datastores", want_datastore(registry.server), namespace)
            names = [f"app-{number}" for number in range(3)]
            for name in names:
                app = want_app(node, name, f"{registry.server}/shop/shell:1")
                operator.create("apps", app, namespace)
            image = f"guest.raw@{digest}"
            machine = {"type": "VirtualMachine", "datastoreRef": {"name": "k3s"}, "resources": {"memory": "256Mi"}}
            operator.create("apps", want_app(node, "machine", image, **machine), namespace)

            def is_ready(name: str) -> bool:
                return operator.condition("apps", name, "Ready", namespace).get("status") == "True"

            def wait_apps() -> None:
                for name in (*names, "machine"):
                    wait_for(name, lambda name=name: is_ready(name), READY_LIMIT_S, node.explain)  # type: ignore[misc]  # bound now

            yield wait_apps
        finally:
            relay.close()


def bench_proxy() -> Sequence[Result]:
    """Reads and watches through controller and tunnel against the same at the server itself, in turns over one kept connection each."""
    release = find_releases()[0]
    with open_stage() as (stage, namespace):
        node = stage.add_node()
        stage.apply(want_cluster("bench", release.version, [node]), namespace)
        stage.wait_phase("bench", namespace, "Ready")
        direct = stage.connect(node)
        for number in range(LISTED):
            body = json.dumps({"metadata": {"name": f"bench-{number}"}, "data": {"value": "x" * 1024}})
            read(direct, "/api/v1/namespaces/default/configmaps", "POST", body)
        root = f"/apis/eaves.dev/v1alpha1/namespaces/{namespace}/k3sclusters/bench/proxy"
        figures = {}
        for name, path, runs in (
            ("get", "/api/v1/namespaces/default/configmaps/bench-0", 200),
            ("list", "/api/v1/configmaps", 20),
        ):
            ours, peers = [], []
            for _ in range(runs):
                started = time.perf_counter()
                answer = stage.controller.operator.get_raw(root + path)
                ours.append((time.perf_counter() - started) * 1000)
                assert answer.status_code == 200, answer.text
                started = time.perf_counter()
                read(direct, path)
                peers.append((time.perf_counter() - started) * 1000)
            figures[name] = (ours, peers)
        figures["watch"] = measure_watches(stage, node, direct, root)
        direct.close()
    note = f"{_name(release)}; list: {LISTED} ConfigMaps of 1 KiB; watch: from a write at the server to its event"
    return [
        median_result(
            f"k3s_proxy_{name}", "ms", "lower", ours, peer="directly at the server", peer_runs=peers, note=note
        )
        for name, (ours, peers) in figures.items()
    ]


def measure_watches(
    stage: ClusterStage, node: ClusterNode, direct: http.client.HTTPSConnection, root: str
) -> tuple[list[float], list[float]]:
    """Milliseconds from the begin of a write to its event on a watch, through the controller and at the server."""
    ours: list[float] = []
    peers: list[float] = []
    objects = "/api/v1/namespaces/default/configmaps"
    query = f"{objects}?watch=true&fieldSelector=metadata.name%3Dbench-0"
    with stage.controller.operator.follow_raw(root + query) as far, contextlib.closing(stage.connect(node)) as near:
        near.request("GET", query)
        answer = near.getresponse()
        watches = ((ours, lambda: next(far)), (peers, answer.readline))
        for _, wait_event in watches:
            wait_event()
        for number in range(2 * WRITES):
            # Whoever is waited for second has heard it while the first was waited for, so only the first one counts.
            (figures, wait_event), (_, wait_other) = watches if number % 2 else watches[::-1]
            started = time.perf_counter()
            patch = json.dumps({"data": {"number": str(number)}})
            read(direct, f"{objects}/bench-0", "PATCH", patch, "application/merge-patch+json")
            wait_event()
            figures.append((time.perf_counter() - started) * 1000)
            wait_other()
    return ours, peers


def read(
    connection: http.client.HTTPSConnection,
    path: str,
    method: str = "GET",
    body: str | None = None,
    content_type: str = "application/json",
) -> bytes:
    # As clients do: a kube-apiserver takes its time to compress a long answer.
    connection.request(method, path, body, {"Content-Type": content_type, "Accept-Encoding": "gzip"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.headers["Content-Encoding"] == "gzip":
        content = gzip.decompress(content)
    assert answer.status < 300, content
    return content


def bench_upgrade() -> Sequence[Result]:
    """Reads of three servers' API during an upgrade, each tried once at a server that is not being upgraded, else at the next."""
    new, old = find_releases()[:2]
    with open_stage() as (stage, namespace):
        nodes = [stage.add_node() for _ in range(3)]
        stage.apply(want_cluster("bench", old.version, nodes), namespace)
        stage.wait_phase("bench", namespace, "Ready")
        with Reader(stage, nodes) as reader:
            started = time.perf_counter()
            stage.controller.operator.patch("k3sclusters", "bench", {"spec": {"version": new.version}}, namespace)
            stage.wait_phase("bench", namespace, "Ready", 3 * READY_LIMIT_S)
            took_s = time.perf_counter() - started
    note = f"{old.version} to {new.version} in {took_s:.0f} s, {reader.asked} reads on the site, any server"
    return [Result("k3s_upgrade", reader.failed, "failed reads", "lower", (reader.failed,), UPGRADE_GOAL, note=note)]


class Reader:
    """Reads all the time; a read fails when no server answers it."""

    def __init__(self, stage: ClusterStage, nodes: Sequence[ClusterNode]) -> None:
        self._stage = stage
        self._nodes = nodes
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader")
        self.asked = 0
        self.failed = 0

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(_PROBE_EVERY_S):
            self.asked += 1
            if not any(self._stage.ask(node, "/api/v1/nodes") for node in self._nodes):
                self.failed += 1


def _name(release: Release) -> str:
    return f"{'stand-in for K3s' if release.is_standin else 'K3s'} {release.version}"


BENCHMARKS = {
    "k3s_bring_up": bench_bring_up,
    "k3s_node_memory": bench_node_memory,
    "k3s_proxy": bench_proxy,
    "k3s_upgrade": bench_upgrade,
}
