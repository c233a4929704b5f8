"""A controller with many nodes: its memory, and how soon it answers after it was killed.

1,000 nodes, or as many as ``EAVES_BENCH_NODES`` says. Each was onboarded over the wire and reported itself, as a real one does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import uvloop

from eaves.testing.device import Device
from eaves.wire import paths
from eaves.wire.paths import Endpoint
from eaves.wire.pb.config.devconfig_pb2 import ConfigRequest
from tests.bench.connections import Address, Connection, render_request
from tests.bench.controllers import BenchController, want_scale
from tests.bench.cores import client_core
from tests.bench.results import Result, median_result

NODES = 1_000
BATCH = 200
RESTARTS = 5
RESTART_GOAL_S = 3.0
RESTART_LIMIT_S = 60.0


async def measure() -> list[Result]:
    nodes = want_scale(NODES)
    with BenchController() as controller, client_core():
        await controller.settle()
        empty_mib = controller.resident_mib()
        sample = await _onboard_all(controller, nodes)
        await controller.settle()
        full_mib = controller.resident_mib()
        gateway_s, api_s = [], []
        for _ in range(RESTARTS):
            gateway, api = await _restart(controller, sample)
            gateway_s.append(gateway)
            api_s.append(api)
            await controller.settle()
        settled_mib = controller.resident_mib()
    note = f"{nodes} nodes; {empty_mib:.0f} MiB without any, {settled_mib:.0f} MiB after a restart"
    both = [max(pair) for pair in zip(gateway_s, api_s, strict=True)]
    parts = (
        f"{nodes} nodes; a device's poll after {min(gateway_s):.2f} s, a get of a node after {min(api_s):.2f} s at best"
    )
    return [
        median_result("controller_rss", "MiB", "lower", [full_mib], note=note),
        median_result(
            "controller_restart", "s", "lower", both, goal=RESTART_GOAL_S, note=f"{parts}; killed, not stopped"
        ),
    ]


async def _onboard_all(controller: BenchController, nodes: int) -> Device:
    """The last device."""
    device: Device | None = None
    for first in range(0, nodes, BATCH):
        devices = controller.make_devices(min(BATCH, nodes - first), first)
        await controller.onboard(devices)
        for device in devices:
            reply = await device.send_info(device.info())
            assert reply.status == 201, reply
            reply = await device.post(Endpoint.METRICS, device.metrics())
            assert reply.status == 201, reply
            await device.transport.close()  # type: ignore[attr-defined]  # TlsTransport
    assert device is not None
    return device


async def _restart(controller: BenchController, device: Device) -> tuple[float, float]:
    """Seconds from the start of the killed controller to a device's answered poll, and to an operator's answered get."""
    request = ConfigRequest(configHash=device.config_hash, integrity_token=device.token)
    poll = render_request(
        "POST",
        paths.render_path(Endpoint.CONFIG, device.id),
        device.signer.seal(request.SerializeToString()),
        {"Content-Type": paths.CONTENT_TYPE},
    )
    name = f"/apis/eaves.dev/v1alpha1/edgenodes/{device.soft_serial}"
    get = render_request("GET", name, headers=controller.api_headers)
    gateway, api = controller.gateway, controller.api
    controller.host.daemon.kill()
    start = time.perf_counter()
    controller.host.daemon.start()
    polled, got = await asyncio.gather(_wait_answer(gateway, poll, 304), _wait_answer(api, get, 200))
    return polled - start, got - start


async def _wait_answer(address: Address, request: bytes, status: int) -> float:
    """The moment of the first good answer."""
    context = address.make_context()
    async with asyncio.timeout(RESTART_LIMIT_S):
        while True:
            try:
                connection = await Connection.open(address, context)
                found, _ = await connection.send(request)
                connection.close()
            except OSError:
                found = 0
            if found == status:
                return time.perf_counter()
            await asyncio.sleep(0.01)


BENCHMARKS: dict[str, Callable[[], Sequence[Result]]] = {"controller": lambda: uvloop.run(measure())}
