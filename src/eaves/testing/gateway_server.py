"""A gateway over TLS in a process of its own: ``python -m eaves.testing.gateway_server FOLDER [JSON of GatewaySettings]``.

Contract tests and benchmarks start it with :func:`start_gateway`, so that its memory and CPU time can be measured and it can be killed.
It prints one line of JSON (:class:`Started`) when it serves, and stops when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import uvloop
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct

from eaves.controller.devicelistener import listen_for_devices
from eaves.controller.settings import GatewaySettings
from eaves.kit.files import load_file, save_file, want_folder
from eaves.testing.device import Device, OnboardingPair, make_onboarding_pair
from eaves.testing.device_transport import TlsTransport
from eaves.testing.deviceside import open_rig
from eaves.wire import certificates

START_TIMEOUT_S = 90.0


class Started(Struct, frozen=True):
    port: int


class RunningGateway:
    """A gateway process."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path, port: int) -> None:
        self.process = process
        self.port = port
        self.root_pem = (folder / "root.pem").read_bytes()
        self.onboarding = load_pair(folder)
        self.context = ssl.create_default_context(cadata=self.root_pem.decode())

    def transport(self) -> TlsTransport:
        return TlsTransport("127.0.0.1", self.port, self.context)

    def device(self, *, serial: str = "") -> Device:
        return Device(self.transport(), self.onboarding, serial=serial)

    def cpu_s(self) -> float:
        """Processor time used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.asynccontextmanager
async def start_gateway(
    folder: Path, *, settings: GatewaySettings | None = None, prefix: Sequence[str] = ()
) -> AsyncIterator[RunningGateway]:
    """A gateway whose data lies in ``folder``. ``prefix`` goes before the command, such as ``taskset -c 0``."""
    argument = msgspec.json.encode(settings or GatewaySettings()).decode()
    process = await asyncio.create_subprocess_exec(
        *prefix,
        sys.executable,
        "-m",
        "eaves.testing.gateway_server",
        str(folder),
        argument,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            line = await process.stdout.readline()
        yield RunningGateway(process, folder, msgspec.json.decode(line, type=Started).port)
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def want_pair(folder: Path) -> OnboardingPair:
    """The onboarding pair of the folder, made when there is none."""
    if load_file(want_folder(folder) / "onboard.key.pem") is None:
        pair = make_onboarding_pair()
        key = pair.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        save_file(folder / "onboard.cert.pem", pair.pem.encode())
        save_file(folder / "onboard.key.pem", key)
    return load_pair(folder)


def load_pair(folder: Path) -> OnboardingPair:
    key = serialization.load_pem_private_key((folder / "onboard.key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return OnboardingPair(key, certificates.parse_certificate_pem((folder / "onboard.cert.pem").read_bytes()))


async def serve(folder: Path, settings: GatewaySettings) -> None:
    pair = want_pair(folder)
    async with open_rig(folder, settings=settings, onboarding=pair) as rig:
        if await rig.objects.get("OnboardingKey", "", "lab") is None:
            await rig.add_key()
        save_file(folder / "root.pem", rig.identity.current.root_pem)
        listener = listen_for_devices(rig.side, rig.identity.current.server_file, "127.0.0.1", 0, settings)
        serving = asyncio.create_task(listener.run())
        await rig.until(lambda: listener.is_started)
        sys.stdout.write(msgspec.json.encode(Started(listener.port)).decode() + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        listener.stop()
        await serving


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=GatewaySettings)))
