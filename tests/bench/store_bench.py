"""The store alone, without API, gateway and TLS, in a temporary folder: ``TMPDIR`` decides which disk is measured.

Figures have no peer here: the benchmarks of the API compare the whole server with kube-apiserver.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import uvloop

from eaves.store.abc import Document, Key, ObjectStore, Put
from eaves.store.devices import InfoMessage, NewDevice
from eaves.store.sqlite.devices import SqliteDeviceRegistry
from eaves.store.sqlite.objects import SqliteStore
from eaves.store.sqlite.telemetry import SqliteTelemetry
from eaves.store.telemetry import LogLine, LogSource, RecordKind
from tests.bench.results import Result, median_result

APPS = "apps.eaves.dev"
OBJECTS = 10_000
VALUE_BYTES = 1500
GOALS = {"store_get": 60.0, "store_replace_64_in_flight": 3000.0, "store_list_10000": 60.0}


class Figures:
    """What was measured so far."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def add(self, name: str, value: float, unit: str, better: str) -> None:
        self.results.append(median_result(name, unit, better, [value], goal=GOALS.get(name)))


def make_key(number: int) -> Key:
    return Key(APPS, f"team-{number % 10}", f"app-{number:06d}")


def make_document(number: int) -> Document:
    head = b'{"apiVersion":"eaves.dev/v1alpha1","kind":"App","metadata":{"resourceVersion":"'
    tail = b'"},"spec":{"text":"' + b"x" * (VALUE_BYTES - len(head) - 30) + b'"}}'
    labels = {"app": f"a{number % 20}", "tier": "front"}
    return Document(f"uid-{number}", head, tail, labels, {"spec.nodeName": f"node-{number % 500}"})


async def run_in_flight(count: int, total: int, work: Callable[[int], Awaitable[object]]) -> float:
    """Operations a second with ``count`` in flight."""

    async def run(first: int) -> None:
        for number in range(first, total, count):
            await work(number)

    start = time.perf_counter()
    await asyncio.gather(*(run(first) for first in range(count)))
    return total / (time.perf_counter() - start)


async def bench_writes(figures: Figures, store: ObjectStore) -> None:
    async def create(number: int) -> None:
        await store.commit([Put(make_key(number), make_document(number), 0)])

    async def replace(number: int) -> None:
        await store.commit([Put(make_key(number), make_document(number), None)])

    figures.add("store_create_8_in_flight", await run_in_flight(8, OBJECTS, create), "commits/s", "higher")
    figures.add("store_replace_1_in_flight", await run_in_flight(1, 1000, replace), "commits/s", "higher")
    figures.add("store_replace_8_in_flight", await run_in_flight(8, 8000, replace), "commits/s", "higher")
    figures.add("store_replace_64_in_flight", await run_in_flight(64, 16000, replace), "commits/s", "higher")


async def bench_writes_beside_readers(figures: Figures, store: ObjectStore) -> None:
    """Latency of a write while readers keep the loop busy without a pause."""
    stop = False

    async def read() -> None:
        while not stop:
            for number in range(20):
                await store.get(make_key(number))
            await asyncio.sleep(0)

    reader = asyncio.create_task(read())
    times = []
    for number in range(500):
        start = time.perf_counter()
        await store.commit([Put(make_key(number), make_document(number), None)])
        times.append(time.perf_counter() - start)
    stop = True
    await reader
    figures.add("store_write_p99_busy_loop", statistics.quantiles(times, n=100)[98] * 1e3, "ms", "lower")


async def median_s(work: Callable[[], Awaitable[object]], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        await work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


async def bench_reads(figures: Figures, store: ObjectStore) -> None:
    numbers = iter(range(OBJECTS))
    figures.add("store_get", await median_s(lambda: store.get(make_key(next(numbers))), 5000) * 1e6, "µs", "lower")
    figures.add("store_list_10000", await median_s(lambda: store.list(APPS), 9) * 1e3, "ms", "lower")
    figures.add("store_list_page_500", await median_s(lambda: store.list(APPS, limit=500), 20) * 1e3, "ms", "lower")
    by_node = {"spec.nodeName": "node-7"}
    figures.add(
        "store_list_by_field_20_of_10000",
        await median_s(lambda: store.list(APPS, fields=by_node), 50) * 1e3,
        "ms",
        "lower",
    )
    revision = await store.revision() - 2000
    past = await median_s(lambda: store.list(APPS, revision=revision), 9)
    figures.add("store_list_10000_at_old_revision", past * 1e3, "ms", "lower")


async def bench_watches(figures: Figures, store: ObjectStore, watchers: int, writes: int) -> None:
    """One write to many watchers: time from the call until the last has it, durable; p99 over the writes."""
    arrived = 0
    everyone = asyncio.Event()

    async def follow(after: int) -> None:
        nonlocal arrived
        async for _ in store.watch(APPS, after=after):
            arrived += 1
            if arrived == watchers:
                everyone.set()

    after = await store.revision()
    tasks = [asyncio.create_task(follow(after)) for _ in range(watchers)]
    await asyncio.sleep(0.1)
    times = []
    for number in range(writes):
        arrived = 0
        everyone.clear()
        start = time.perf_counter()
        await store.commit([Put(make_key(number), make_document(number), None)])
        await everyone.wait()
        times.append(time.perf_counter() - start)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    figures.add(f"store_watch_{watchers}_p99", statistics.quantiles(times, n=100)[98] * 1e3, "ms", "lower")


async def bench_devices(figures: Figures, store: SqliteStore) -> None:
    registry = SqliteDeviceRegistry(store)

    async def register(number: int) -> None:
        device = NewDevice(f"device-{number:06d}", b"c%06d" % number * 80, b"onboarding", f"serial-{number}", "")
        await registry.register(device)

    async def inform(number: int) -> None:
        await registry.save_info(InfoMessage(f"device-{number % 2000:06d}", 1, "", number, b"i%d" % number * 300))

    figures.add("registry_register_32_in_flight", await run_in_flight(32, 5000, register), "devices/s", "higher")
    figures.add("inbox_save_32_in_flight", await run_in_flight(32, 10_000, inform), "messages/s", "higher")
    await registry.close()


async def bench_telemetry(figures: Figures, folder: Path) -> None:
    telemetry = await SqliteTelemetry.open(folder / "telemetry.db")

    async def upload(number: int) -> None:
        lines = [
            LogLine(number * 1000 + n, "info", "zedagent", f"{n} ".ljust(150, "t"), number * 1000 + n)
            for n in range(200)
        ]
        await telemetry.append_logs(f"device-{number % 50:04d}", "app" if number % 2 else "", lines)

    async def measure(number: int) -> None:
        await telemetry.append_record(RecordKind.METRICS, f"device-{number % 500:04d}", number, b"m" * 3000)

    figures.add("telemetry_log_lines_16_in_flight", await run_in_flight(16, 600, upload) * 200, "lines/s", "higher")
    figures.add("telemetry_records_32_in_flight", await run_in_flight(32, 8000, measure), "records/s", "higher")
    tail = await median_s(lambda: telemetry.read_logs(LogSource("", "app"), tail=100), 50)
    figures.add("telemetry_tail_100", tail * 1e3, "ms", "lower")
    await telemetry.close()


async def measure(folder: Path) -> list[Result]:
    figures = Figures()
    store = await SqliteStore.open(folder / "main.db")
    await bench_writes(figures, store)
    await bench_writes_beside_readers(figures, store)
    await bench_reads(figures, store)
    await bench_watches(figures, store, 200, 300)
    await bench_watches(figures, store, 2000, 100)
    await bench_devices(figures, store)
    await store.close()
    await bench_telemetry(figures, folder)
    return figures.results


def _run() -> Sequence[Result]:
    with tempfile.TemporaryDirectory(prefix="eaves-bench-") as made:
        results: Sequence[Result] = uvloop.run(measure(Path(made)))
        return results


BENCHMARKS: dict[str, Callable[[], Sequence[Result]]] = {"store": _run}
