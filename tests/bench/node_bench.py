"""A node: memory of its daemon with ten containers, and the time from ``kubectl apply`` to an answer of the container.

The peer of the latter is ``podman run`` of the same image by the same podman in the same run, taken in turn. Needs root, as nodes do.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from eaves.node.host import observe_host, save_host_files
from eaves.node.instance import Instance
from eaves.testing import power
from eaves.testing.daemons import find_ports, run_program
from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, NodeHost, want_app, want_datastore
from tests.bench.results import Result, median_result

IMAGE = "shop/web:1"
SERVE = ("/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www")
APPS = 10
RSS_GOAL_MB = 60.0
REST_S = 30.0
"""Long enough for every report, metrics message and log upload to have been made."""
ROUNDS = 7
APPLY_GOAL_S = 0.5
ANSWER_LIMIT_S = 60.0
POLL_S = 0.005


class Site:
    """A registry, a controller and a node that is ready."""

    def __init__(self, registry: Registry, controller: ControllerHost, node: NodeHost, folder: Path) -> None:
        self.registry = registry
        self.controller = controller
        self.node = node
        self.folder = folder

    def want_app(self, name: str, port: int | None = None) -> dict[str, object]:
        ports = [{"port": 80, "nodePort": port}] if port is not None else []
        networks = [{"name": "default", "ports": ports}]
        return want_app(self.node, name, f"{self.registry.server}/{IMAGE}", networks=networks)


@contextlib.contextmanager
def open_site() -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eaves-bench-")))
        registry = stack.enter_context(Registry(folder / "registry"))
        registry.push(IMAGE, SERVE)
        controller = stack.enter_context(ControllerHost(folder / "controller-host"))
        controller.operator.create("datastores", want_datastore(registry.server))
        node = NodeHost(folder, controller)
        stack.callback(node.remove)
        node.join()
        node.start()
        node.wait_ready()
        yield Site(registry, controller, node, folder)


def measure_node_rss() -> list[Result]:
    with open_site() as site:
        empty_mb = _resident_mb(site.node.daemon.pid)
        for number in range(APPS):
            site.controller.operator.create("apps", site.want_app(f"app-{number}"))

        def all_run() -> bool:
            phases = [(app.get("status") or {}).get("phase") for app in site.controller.operator.find("apps")]
            return phases.count("Running") == APPS

        site.node.daemon.wait(f"{APPS} running apps", all_run, 180)
        runs = []
        end = time.monotonic() + REST_S
        while time.monotonic() < end:
            time.sleep(REST_S / 10)
            runs.append(_resident_mb(site.node.daemon.pid))
        keepers = [_resident_mb(pid) for pid in power.list_keepers(site.node.instance)]
    note = f"{empty_mb:.1f} MB before the first container; beside it {len(keepers)} monitors and name servers, {sum(keepers):.0f} MB"
    return [median_result("node_rss", "MB", "lower", runs, goal=RSS_GOAL_MB, note=note)]


def measure_apply_to_http() -> list[Result]:
    with open_site() as site:
        podman = Podman(site.folder / "podman", site.registry.server)
        with contextlib.closing(podman):
            _apply_once(site, "warm-up")
            podman.run_once()
            applied, bare = [], []
            for number in range(ROUNDS):
                applied.append(_apply_once(site, f"web-{number}"))
                bare.append(podman.run_once())
    above = [ours - theirs for ours, theirs in zip(applied, bare, strict=True)]
    return [
        median_result("apply_to_http", "s", "lower", applied, peer="podman run", peer_runs=bare),
        median_result(
            "apply_to_http_above_podman", "s", "lower", above, goal=APPLY_GOAL_S, note="the pairs' differences"
        ),
    ]


def _apply_once(site: Site, name: str) -> float:
    """Seconds from the start of kubectl to the first answer; the app is gone again afterwards."""
    (port,) = find_ports(1)
    manifest = site.folder / f"{name}.json"
    manifest.write_text(json.dumps(site.want_app(name, port)))
    start = time.perf_counter()
    site.controller.kubectl.ok("apply", "-f", str(manifest))
    _wait_answer(port)
    took_s = time.perf_counter() - start
    site.controller.kubectl.ok("delete", "app", name, "--wait=true")
    site.node.daemon.wait(f"no container of {name}", lambda: not site.node.containers())
    return took_s


class Podman:
    """Plain podman as a node configures it (runtime, limits, no events), with storage of its own that has the image already."""

    def __init__(self, folder: Path, server: str) -> None:
        instance = Instance("bench", folder / "data", folder / "run")
        instance.prepare()
        asyncio.run(_save_podman_files(instance))
        self._image = f"{server}/{IMAGE}"
        self._environment = {
            "CONTAINERS_CONF": str(instance.host_dir / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(instance.host_dir / "storage.conf"),
            "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
        }
        self._call("pull", "--quiet", "--tls-verify=false", self._image)

    def run_once(self) -> float:
        """Seconds from the start of podman to the first answer, by its own bridge network and port map."""
        (port,) = find_ports(1)
        name = f"bench-{secrets.token_hex(4)}"
        start = time.perf_counter()
        self._call("run", "--detach", f"--name={name}", "--memory=64m", f"--publish={port}:80", self._image)
        _wait_answer(port)
        took_s = time.perf_counter() - start
        self._call("rm", "--force", "--time=1", name)
        return took_s

    def close(self) -> None:
        self._call("system", "reset", "--force")

    def _call(self, *arguments: str) -> str:
        return run_program(["podman", *arguments], environment=self._environment)


async def _save_podman_files(instance: Instance) -> None:
    await save_host_files(instance, await observe_host())


def _wait_answer(port: int) -> None:
    end = time.monotonic() + ANSWER_LIMIT_S
    while time.monotonic() < end:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            connection.request("GET", "/")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            time.sleep(POLL_S)
        finally:
            connection.close()
    raise AssertionError(f"no answer on port {port} within {ANSWER_LIMIT_S:g} s")


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


BENCHMARKS: dict[str, Callable[[], Sequence[Result]]] = {
    "node_rss": measure_node_rss,
    "apply_to_http": measure_apply_to_http,
}
