"""The gateway over TLS: the whole controller on one core, 200 devices with real keys on another.

``gateway_*`` count requests a second, ``gateway_*_cpu`` are milliseconds of the server's processor time a request, which
other work on the machine disturbs less. An info or metrics message is a new one each time, so that each is written; that of info
includes what the controller then makes of it.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import uvloop

from eaves.testing.device import Device
from eaves.wire import paths
from eaves.wire.paths import Endpoint
from eaves.wire.pb.config.devconfig_pb2 import ConfigRequest
from tests.bench.connections import Connection, Resumer, render_request, send_in_turn
from tests.bench.controllers import BenchController, Meter
from tests.bench.cores import client_core
from tests.bench.results import Result, median_result

IDENTITIES = 200
ROUNDS = 25
"""Requests of each device in a run."""
RUNS = 5
RESUMED_ROUNDS = 5
THREADS = 8
ONBOARDING_RUNS = 3

CPU_GOAL_MS = 0.2
RESUMED_CPU_GOAL_MS = 0.6
ONBOARDING_GOAL_S = 200.0
ADAM_CPU = "Adam, measured earlier on another machine: 0.15 ms at 50 devices, 0.37 ms at 1,000"
ADAM_RESUMED = "Adam, measured earlier on another machine: 0.41 ms at 50 devices, 0.62 ms at 1,000"
ADAM_ONBOARDING = "Adam, measured earlier on another machine: 192 to 246 devices/s"

MakeRequests = Callable[[Device, int], Sequence[bytes]]


def want_polls(device: Device, _run: int) -> list[bytes]:
    request = ConfigRequest(configHash=device.config_hash, integrity_token=device.token)
    return [_render(Endpoint.CONFIG, device, request.SerializeToString())] * ROUNDS


def want_infos(device: Device, run: int) -> list[bytes]:
    return [
        _render(Endpoint.INFO, device, device.info(_message_time_s(run, number)).SerializeToString())
        for number in range(ROUNDS)
    ]


def want_metrics(device: Device, run: int) -> list[bytes]:
    return [
        _render(Endpoint.METRICS, device, device.metrics(_message_time_s(run, number)).SerializeToString())
        for number in range(ROUNDS)
    ]


async def measure_kept(name: str, status: int, want_requests: MakeRequests) -> list[Result]:
    with BenchController() as controller, client_core():
        devices = controller.make_devices(IDENTITIES)
        await controller.onboard(devices)
        context = controller.gateway.make_context()
        connections = [await Connection.open(controller.gateway, context) for _ in devices]
        await controller.settle()
        rates, cpus = [], []
        for run in range(-1, RUNS):
            requests = [want_requests(device, run) for device in devices]
            meter = Meter(controller.cpu_s)
            await send_in_turn(connections, requests, frozenset({status}))
            took_s, _ = meter.stop()
            await controller.settle()
            _, used_s = meter.stop()
            if run >= 0:
                rates.append(IDENTITIES * ROUNDS / took_s)
                cpus.append(used_s / (IDENTITIES * ROUNDS) * 1000)
        for connection in connections:
            connection.close()
        await close_devices(devices)
    return [
        median_result(name, "requests/s", "higher", rates),
        median_result(f"{name}_cpu", "ms/request", "lower", cpus, goal=CPU_GOAL_MS, note=ADAM_CPU),
    ]


async def measure_resumed() -> list[Result]:
    """Polls, each over a new connection that resumes the device's TLS session."""
    with BenchController() as controller, client_core():
        devices = controller.make_devices(IDENTITIES)
        await controller.onboard(devices)
        await close_devices(devices)
        context = controller.gateway.make_context()
        resumers = [Resumer(controller.gateway, context) for _ in devices]
        requests = [want_polls(device, 0)[0] for device in devices]
        await controller.settle()
        rates, cpus = [], []
        for run in range(-1, RUNS):
            before = sum(resumer.resumed for resumer in resumers)
            meter = Meter(controller.cpu_s)
            count = await asyncio.to_thread(_call_in_threads, resumers, requests)
            took_s, _ = meter.stop()
            await controller.settle()
            _, used_s = meter.stop()
            if run >= 0:
                assert sum(resumer.resumed for resumer in resumers) - before == count, "sessions were not resumed"
                rates.append(count / took_s)
                cpus.append(used_s / count * 1000)
    note = ADAM_RESUMED
    return [
        median_result("gateway_resumed", "requests/s", "higher", rates),
        median_result("gateway_resumed_cpu", "ms/request", "lower", cpus, goal=RESUMED_CPU_GOAL_MS, note=note),
    ]


def _call_in_threads(resumers: Sequence[Resumer], requests: Sequence[bytes]) -> int:
    def run(number: int) -> int:
        for _ in range(RESUMED_ROUNDS):
            status = resumers[number].call(requests[number])
            assert status == 304, f"status {status}"
        return RESUMED_ROUNDS

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(run, range(len(resumers))))


async def measure_onboarding() -> list[Result]:
    """Register, uuid, attest and the first config of devices that are new; processor time with what follows from it."""
    rates, cpus = [], []
    with BenchController() as controller, client_core():
        for run in range(ONBOARDING_RUNS):
            devices = controller.make_devices(IDENTITIES, run * IDENTITIES)
            await controller.settle()
            meter = Meter(controller.cpu_s)
            await controller.onboard(devices)
            took_s, _ = meter.stop()
            await controller.settle()
            _, used_s = meter.stop()
            rates.append(IDENTITIES / took_s)
            cpus.append(used_s / IDENTITIES * 1000)
            await close_devices(devices)
    goal = ONBOARDING_GOAL_S
    note = "the client signs and checks as much as the server, so that it may be what limits the rate"
    return [
        median_result("onboarding", "devices/s", "higher", rates, goal=goal, note=f"{ADAM_ONBOARDING}; {note}"),
        median_result("onboarding_cpu", "ms/device", "lower", cpus, goal=1000 / goal),
    ]


async def close_devices(devices: Sequence[Device]) -> None:
    await asyncio.gather(*(device.transport.close() for device in devices))  # type: ignore[attr-defined]  # TlsTransport


def _render(endpoint: Endpoint, device: Device, payload: bytes) -> bytes:
    headers = {"Content-Type": paths.CONTENT_TYPE}
    return render_request("POST", paths.render_path(endpoint, device.id), device.signer.seal(payload), headers)


def _message_time_s(run: int, number: int) -> float:
    """Later with each message."""
    return time.time() + run + number / ROUNDS


def _run_kept(name: str, status: int, want_requests: MakeRequests) -> Sequence[Result]:
    return uvloop.run(measure_kept(name, status, want_requests))


BENCHMARKS: dict[str, Callable[[], Sequence[Result]]] = {
    "onboarding": lambda: uvloop.run(measure_onboarding()),
    "gateway_config_304": functools.partial(_run_kept, "gateway_config_304", 304, want_polls),
    "gateway_info": functools.partial(_run_kept, "gateway_info", 201, want_infos),
    "gateway_metrics": functools.partial(_run_kept, "gateway_metrics", 201, want_metrics),
    "gateway_resumed": lambda: uvloop.run(measure_resumed()),
}
