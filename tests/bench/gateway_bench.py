"""Measures the gateway over TLS: ``python tests/bench/gateway_bench.py [NAME …]`` prints one JSON line a figure.

One server process on one core, the client on another; 200 device identities with real keys, kept connections unless a name says
otherwise. ``gateway_*_cpu`` are milliseconds of the server's processor time a request.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import uvloop

from eaves.controller.settings import GatewaySettings
from eaves.testing.device import Device, Reply
from eaves.testing.gateway_server import RunningGateway, start_gateway

IDENTITIES = 200
REQUESTS = 10_000
ADAM_CPU_MS = 0.15
"""Known of Adam with 50 devices: CPU of any request over a kept connection."""
ADAM_ONBOARDING_S = 219.0
"""Known of Adam: 192 to 246 devices a second, attested."""

SETTINGS = GatewaySettings(device_requests_per_s=1e6, device_burst=1e6, unknown_requests_per_s=1e6, unknown_burst=1e6)


def report(name: str, value: float, unit: str, better: str, peer_value: float | None = None) -> None:
    figure = {"name": name, "value": round(value, 4), "unit": unit, "better": better, "peer": None}
    if peer_value is not None:
        figure |= {
            "peer": "Adam, measured elsewhere",
            "peer_value": peer_value,
            "ratio": round(value / peer_value, 3),
        }
    figure |= {"runs": 1, "machine": f"{os.uname().machine}, {os.cpu_count()} cores"}
    print(msgspec.json.encode(figure).decode(), flush=True)


async def measure(
    gateway: RunningGateway,
    name: str,
    devices: list[Device],
    status: int,
    prepare: Callable[[Device], tuple[str, bytes]],
) -> None:
    """Send the same sealed bytes of each device again and again: the client must not be the bottleneck."""
    calls = [(device.transport, *prepare(device)) for device in devices]

    async def run(index: int) -> None:
        transport, path, body = calls[index]
        for _ in range(REQUESTS // len(calls)):
            reply: Reply = await transport.call("POST", path, body)
            assert reply.status == status, (name, reply)

    await asyncio.gather(*(run(index) for index in range(len(calls))))
    cpu_s, start_s = gateway.cpu_s(), time.perf_counter()
    await asyncio.gather(*(run(index) for index in range(len(calls))))
    took_s, used_s = time.perf_counter() - start_s, gateway.cpu_s() - cpu_s
    total = REQUESTS // len(calls) * len(calls)
    report(name, total / took_s, "requests/s", "higher")
    report(f"{name}_cpu", used_s / total * 1000, "ms/request", "lower", ADAM_CPU_MS)


def prepare_config(device: Device) -> tuple[str, bytes]:
    from eaves.wire import paths
    from eaves.wire.pb.config.devconfig_pb2 import ConfigRequest

    request = ConfigRequest(configHash=device.config_hash, integrity_token=device.token)
    return paths.render_path(paths.Endpoint.CONFIG, device.id), device.signer.seal(request.SerializeToString())


def prepare_info(device: Device) -> tuple[str, bytes]:
    from eaves.wire import paths

    return paths.render_path(paths.Endpoint.INFO, device.id), device.signer.seal(device.info().SerializeToString())


def prepare_metrics(device: Device) -> tuple[str, bytes]:
    from eaves.wire import paths

    return paths.render_path(paths.Endpoint.METRICS, device.id), device.signer.seal(
        device.metrics().SerializeToString()
    )


async def measure_info(gateway: RunningGateway, devices: list[Device]) -> None:
    """Each message has a time of its own, so that each is written; they are sealed before the clock starts."""
    from eaves.wire import paths

    rounds = REQUESTS // len(devices)
    now_s = time.time()
    bodies = [
        [device.signer.seal(device.info(now_s + number).SerializeToString()) for number in range(rounds)]
        for device in devices
    ]

    async def run(device: Device, sealed: list[bytes]) -> None:
        path = paths.render_path(paths.Endpoint.INFO, device.id)
        for body in sealed:
            reply = await device.transport.call("POST", path, body)
            assert reply.status == 201, reply

    cpu_s, start_s = gateway.cpu_s(), time.perf_counter()
    await asyncio.gather(*(run(device, sealed) for device, sealed in zip(devices, bodies, strict=True)))
    took_s, used_s = time.perf_counter() - start_s, gateway.cpu_s() - cpu_s
    report("gateway_info", rounds * len(devices) / took_s, "requests/s", "higher")
    report("gateway_info_cpu", used_s / (rounds * len(devices)) * 1000, "ms/request", "lower", ADAM_CPU_MS)


async def measure_onboarding(gateway: RunningGateway) -> list[Device]:
    devices = [gateway.device(serial=f"serial-{number}") for number in range(IDENTITIES)]
    cpu_s, start_s = gateway.cpu_s(), time.perf_counter()
    waiting = asyncio.Semaphore(32)

    async def run(device: Device) -> None:
        async with waiting:
            await device.onboard(gateway.root_pem)

    await asyncio.gather(*(run(device) for device in devices))
    took_s, used_s = time.perf_counter() - start_s, gateway.cpu_s() - cpu_s
    report("onboarding", len(devices) / took_s, "devices/s", "higher", ADAM_ONBOARDING_S)
    report("onboarding_cpu", used_s / len(devices) * 1000, "ms/device", "lower")
    return devices


async def main(names: list[str]) -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    with tempfile.TemporaryDirectory(prefix="eaves-bench-") as folder:
        prefix = ("taskset", "-c", str(cores[0]))
        async with start_gateway(Path(folder), settings=SETTINGS, prefix=prefix) as gateway:
            devices = await measure_onboarding(gateway)
            parts: dict[str, Callable[[], Awaitable[None]]] = {
                "gateway_config_304": lambda: measure(gateway, "gateway_config_304", devices, 304, prepare_config),
                "gateway_info": lambda: measure_info(gateway, devices),
                "gateway_metrics": lambda: measure(gateway, "gateway_metrics", devices, 201, prepare_metrics),
            }
            for name, part in parts.items():
                if not names or name in names:
                    await part()
            report("gateway_rss", gateway.resident_bytes() / 2**20, "MiB", "lower")


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
