"""The operator API over TLS with 10,000 Apps: the whole controller on one core, eight kept connections on another.

The same was measured earlier of kube-apiserver 1.37.2 with etcd, 10,000 custom objects, on another day; goals are multiples of those
figures, which the notes name. ``api_*_cpu`` are milliseconds of the server's processor time a request.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import uvloop

from tests.bench.connections import Connection, render_request, send_in_turn
from tests.bench.controllers import BenchController, Meter
from tests.bench.cores import client_core
from tests.bench.results import Result, median_result

OBJECTS = 10_000
CONNECTIONS = 8
RUNS = 5
REQUESTS = 800
"""In a run."""
LISTS = 7
WATCHERS = 200
WRITES = 60
EVENT_LIMIT_S = 20.0
BASE = "/apis/eaves.dev/v1alpha1/namespaces/default/apps"
PEER = "kube-apiserver 1.37.2 + etcd, measured earlier"

Requests = Callable[[int], bytes]


class ApiRun:
    """Requests to one controller. Numbers go from 0 to OBJECTS - 1."""

    def __init__(self, controller: BenchController, connections: Sequence[Connection]) -> None:
        self._controller = controller
        self.connections = connections
        self._headers = controller.api_headers

    def render(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> bytes:
        content = b"" if body is None else json.dumps(body).encode()
        headers = {**self._headers, "Accept": "application/json"}
        if content:
            headers["Content-Type"] = content_type
        return render_request(method, path, content, headers)

    async def send_all(self, requests: Sequence[bytes], statuses: Iterable[int] = (200,)) -> tuple[float, float]:
        """Send them over all connections; seconds on the wall, and of the server's processor with what follows."""
        await self._controller.settle()
        meter = Meter(self._controller.cpu_s)
        await send_in_turn(
            self.connections,
            [requests[first :: len(self.connections)] for first in range(len(self.connections))],
            frozenset(statuses),
        )
        took_s, _ = meter.stop()
        await self._controller.settle()
        _, used_s = meter.stop()
        return took_s, used_s

    async def measure(
        self, name: str, want_request: Requests, *, peer_rate: float, peer_cpu_ms: float, times: float
    ) -> list[Result]:
        """Rate and processor time of a kind of request; ``want_request`` gets a number that grows over all runs."""
        numbers = itertools.count()
        rates, cpus = [], []
        for _ in range(RUNS):
            requests = [want_request(next(numbers)) for _ in range(REQUESTS)]
            took_s, used_s = await self.send_all(requests)
            rates.append(REQUESTS / took_s)
            cpus.append(used_s / REQUESTS * 1000)
        note = f"{PEER}: {peer_rate:,.0f}/s"
        return [
            median_result(f"api_{name}", "requests/s", "higher", rates, goal=times * peer_rate, note=note),
            _cpu_result(name, cpus, peer_cpu_ms, times),
        ]


def _cpu_result(name: str, cpus: Sequence[float], peer_ms: float, times: float) -> Result:
    """The goal of a rate, as processor time: what other work on the machine disturbs less."""
    note = f"with what the controller then does; {PEER}: {peer_ms:g} ms, without any controller"
    return median_result(f"api_{name}_cpu", "ms/request", "lower", cpus, goal=peer_ms / times, note=note)


def name_of(number: int) -> str:
    return f"app-{number % OBJECTS:05d}"


def want_app(number: int, **spec: object) -> dict[str, object]:
    return {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "App",
        "metadata": {"name": name_of(number), "labels": {"app": f"a{number % 20}", "tier": "front"}},
        "spec": {
            "image": "registry.example/shop/web:1.4",
            "resources": {"cpus": 1, "memory": "256Mi"},
            "env": [{"name": f"KEY_{index}", "value": f"value {index}"} for index in range(8)],
            "networks": [{"name": "default", "ports": [{"port": 80, "nodePort": 20_000 + number % 10_000}]}],
            **spec,
        },
    }


async def measure() -> list[Result]:
    with BenchController() as controller, client_core():
        context = controller.api.make_context()
        connections = [await Connection.open(controller.api, context) for _ in range(CONNECTIONS)]
        run = ApiRun(controller, connections)
        results = await measure_creates(run)
        await controller.settle()
        note = f"{OBJECTS} objects; {PEER}: 1,350 MB"
        results.append(
            median_result("api_rss", "MiB", "lower", [controller.resident_mib()], goal=250 / 1.048576, note=note)
        )
        results += await run.measure(
            "get", lambda n: run.render("GET", f"{BASE}/{name_of(n)}"), peer_rate=1322, peer_cpu_ms=0.76, times=5
        )
        results += await measure_lists(controller, run)
        results += await measure_changes(run)
        results += await measure_watches(controller, run)
        for connection in connections:
            connection.close()
    return results


async def measure_creates(run: ApiRun) -> list[Result]:
    """All objects; the rate of each tenth of them is a run."""
    rates, cpus = [], []
    part = OBJECTS // 10
    for first in range(0, OBJECTS, part):
        requests = [run.render("POST", BASE, want_app(number)) for number in range(first, first + part)]
        took_s, used_s = await run.send_all(requests, (201,))
        rates.append(part / took_s)
        cpus.append(used_s / part * 1000)
    return [
        median_result("api_create", "requests/s", "higher", rates, goal=5 * 441, note=f"{PEER}: 441/s"),
        _cpu_result("create", cpus, 2.26, 5),
    ]


async def measure_lists(controller: BenchController, run: ApiRun) -> list[Result]:
    request = run.render("GET", BASE)
    times, cpus = [], []
    await controller.settle()
    for _ in range(LISTS):
        meter = Meter(controller.cpu_s)
        status, body = await run.connections[0].send(request)
        took_s, used_s = meter.stop()
        times.append(took_s * 1000)
        cpus.append(used_s * 1000)
        assert status == 200, body[:300]
        assert body.count(b'"kind":"App"') == OBJECTS, "the list is not whole"
    note = f"{OBJECTS} objects as JSON, {len(body) / 1e6:.0f} MB; {PEER}"
    return [
        median_result("api_list", "ms", "lower", times, goal=677 / 5, note=f"{note}: 677 ms"),
        median_result("api_list_cpu", "ms", "lower", cpus, goal=690 / 5, note=f"{note}: 690 ms"),
    ]


async def measure_changes(run: ApiRun) -> list[Result]:
    def want_patch(number: int) -> bytes:
        patch = {"metadata": {"labels": {"round": str(number)}}}
        return run.render("PATCH", f"{BASE}/{name_of(number)}", patch, "application/merge-patch+json")

    def want_apply(number: int) -> bytes:
        applied = want_app(number, image=f"registry.example/shop/web:1.{number}")
        return _render_apply(run, number, applied)

    def want_same_apply(number: int) -> bytes:
        # The objects of the measurement before, as they are.
        number %= REQUESTS
        return _render_apply(run, number, want_app(number, image=f"registry.example/shop/web:1.{number}"))

    results = await run.measure("patch", want_patch, peer_rate=300, peer_cpu_ms=3.33, times=5)
    results += await run.measure("apply", want_apply, peer_rate=218, peer_cpu_ms=4.6, times=4)
    return results + await run.measure("apply_unchanged", want_same_apply, peer_rate=247, peer_cpu_ms=4.0, times=4)


def _render_apply(run: ApiRun, number: int, applied: object) -> bytes:
    path = f"{BASE}/{name_of(number)}?fieldManager=bench&force=true"
    return run.render("PATCH", path, applied, "application/apply-patch+yaml")


async def measure_watches(controller: BenchController, run: ApiRun) -> list[Result]:
    """One write at a time to many watchers: milliseconds from sending it until a watcher has it, over all watchers and writes."""
    context = controller.api.make_context()
    watching = [await Connection.open(controller.api, context) for _ in range(WATCHERS)]
    head = await run.connections[0].send(run.render("GET", f"{BASE}?limit=1"))
    revision = json.loads(head[1])["metadata"]["resourceVersion"]
    request = run.render("GET", f"{BASE}?watch=true&resourceVersion={revision}&timeoutSeconds=300")
    arrivals = _Arrivals()
    tasks = [asyncio.create_task(arrivals.follow(connection.follow(request))) for connection in watching]
    times, cpus = [], []
    try:
        # The first write shows that every watch is served; it is not counted.
        for number in range(-1, WRITES):
            mark = f"mark-{number}-end"
            patch = {"metadata": {"labels": {"round": mark}}}
            write = run.render("PATCH", f"{BASE}/{name_of(0)}", patch, "application/merge-patch+json")
            found, used_s = await arrivals.measure(mark.encode(), run.connections[0], write, controller.cpu_s)
            if number >= 0:
                times += found
                cpus.append(used_s * 1000)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in watching:
            connection.close()
    p50, p99 = (statistics.quantiles(times, n=100)[index] for index in (49, 98))
    note = f"{WATCHERS} watchers, p50 {p50:.1f} ms, reading by the client included; {PEER}: p50 7.8 ms, p99 10.7 ms"
    return [
        Result("api_watch_p99", p99, "ms", "lower", (p99,), 10.0, note=note),
        median_result("api_watch_cpu", "ms/write", "lower", cpus, note=f"to {WATCHERS} watchers; {PEER}: 9.5 ms"),
    ]


class _Arrivals:
    """When each watcher saw the awaited change."""

    def __init__(self) -> None:
        self._mark = b""
        self._times: list[float] = []
        self._all = asyncio.Event()

    async def follow(self, data: AsyncIterator[bytes]) -> None:
        async for part in data:
            if self._mark and self._mark in part:
                self._times.append(time.perf_counter())
                if len(self._times) == WATCHERS:
                    self._all.set()

    async def measure(
        self, mark: bytes, writer: Connection, write: bytes, cpu_s: Callable[[], float]
    ) -> tuple[list[float], float]:
        """Milliseconds to each watcher; seconds of the server's processor."""
        self._mark = mark
        self._times.clear()
        self._all.clear()
        before_s, start = cpu_s(), time.perf_counter()
        status, body = await writer.send(write)
        assert status == 200, body[:300]
        async with asyncio.timeout(EVENT_LIMIT_S):
            await self._all.wait()
        return [(moment - start) * 1000 for moment in self._times], cpu_s() - before_s


BENCHMARKS: dict[str, Callable[[], Sequence[Result]]] = {"api": lambda: uvloop.run(measure())}
