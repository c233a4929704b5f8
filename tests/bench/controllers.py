"""The controller that benchmarks measure: the real daemon, on a core of its own, with devices and an operator that call it."""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from eaves.testing.device import Device, OnboardingPair, make_onboarding_pair
from eaves.testing.device_transport import TlsTransport
from eaves.testing.system import ControllerHost
from tests.bench.connections import Address
from tests.bench.cores import server_prefix

IN_FLIGHT = 32
"""Devices that onboard at the same time."""

_UNLIMITED = {
    "EAVES_CONTROLLER_GATEWAY__DEVICE_REQUESTS_PER_S": "1e6",
    "EAVES_CONTROLLER_GATEWAY__DEVICE_BURST": "1e6",
    "EAVES_CONTROLLER_GATEWAY__CONNECTIONS_PER_ADDRESS": "20000",
    "EAVES_CONTROLLER_LOG__LEVEL": "WARNING",
}
"""All devices of a benchmark are one address, and one device asks more often than any real one would."""


class BenchController:
    """Use as a context manager. ``folder`` of an earlier one continues its data."""

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="eaves-bench-")
        self.folder = Path(self._temporary.name)
        self.host = ControllerHost(self.folder, environment=_UNLIMITED)
        self.host.daemon.prefix = server_prefix()
        self.onboarding: OnboardingPair = make_onboarding_pair()
        self.root_pem = b""

    def __enter__(self) -> BenchController:
        self.host.start()
        key = {
            "apiVersion": "eaves.dev/v1alpha1",
            "kind": "OnboardingKey",
            "metadata": {"name": "bench"},
            "spec": {"certificate": self.onboarding.pem, "approval": "Automatic"},
        }
        self.host.operator.create("onboardingkeys", key)
        announced = self.host.operator.get("configmaps", "eaves-gateway", "kube-public")
        assert announced is not None, "the controller announces no gateway"
        self.root_pem = announced["data"]["root-certificate.pem"].encode()
        return self

    def __exit__(self, *error: object) -> None:
        self.host.__exit__(*error)
        self._temporary.cleanup()

    @property
    def gateway(self) -> Address:
        return Address("127.0.0.1", self.host.gateway_port, self.root_pem.decode())

    @property
    def api(self) -> Address:
        return Address("127.0.0.1", self.host.api_port, self.root_pem.decode())

    @property
    def api_headers(self) -> dict[str, str]:
        document: Any = yaml.safe_load(self.host.kubeconfig.read_text())
        return {"Authorization": f"Bearer {document['users'][0]['user']['token']}"}

    def cpu_s(self) -> float:
        """Processor time used so far, from the scheduler's own count."""
        return sum(_task_cpu_s(task) for task in Path(f"/proc/{self.host.daemon.pid}/task").iterdir())

    def resident_mib(self) -> float:
        return self.host.daemon.resident_bytes() / 2**20

    def make_devices(self, count: int, first: int = 0) -> list[Device]:
        context = self.gateway.make_context()
        return [
            Device(self._transport(context), self.onboarding, serial=f"bench-{number}", soft_serial=f"bench-{number}")
            for number in range(first, first + count)
        ]

    async def onboard(self, devices: list[Device]) -> None:
        """All steps from nothing to the first config, :data:`IN_FLIGHT` devices at once; connections stay open."""
        waiting = asyncio.Semaphore(IN_FLIGHT)

        async def run(device: Device) -> None:
            async with waiting:
                await device.onboard(self.root_pem)

        await asyncio.gather(*(run(device) for device in devices))

    async def settle(self, limit_s: float = 60.0) -> None:
        """Wait until the controller has nothing left to do: it used less than 3 % of a core for half a second."""
        end = time.monotonic() + limit_s
        before = self.cpu_s()
        while time.monotonic() < end:
            await asyncio.sleep(0.5)
            now = self.cpu_s()
            if now - before < 0.015:
                return
            before = now
        raise AssertionError(f"the controller does not come to rest within {limit_s:g} s")

    def _transport(self, context: ssl.SSLContext) -> TlsTransport:
        return TlsTransport("127.0.0.1", self.host.gateway_port, context)


class Meter:
    """Time on the wall and processor time of a controller between two moments."""

    def __init__(self, cpu_s: Callable[[], float]) -> None:
        self._cpu_s = cpu_s
        self._cpu_start_s, self._start_s = cpu_s(), time.perf_counter()

    def stop(self) -> tuple[float, float]:
        """Seconds on the wall, and of the processor."""
        return time.perf_counter() - self._start_s, self._cpu_s() - self._cpu_start_s


def _task_cpu_s(task: Path) -> float:
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except FileNotFoundError:
        return 0.0


def want_scale(default: int) -> int:
    """How many nodes to use: ``EAVES_BENCH_NODES`` or the default."""
    return int(os.environ.get("EAVES_BENCH_NODES", default))
