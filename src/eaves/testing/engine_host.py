"""A node engine of its own on this machine, beside any other: for contract tests and benchmarks.

Everything it makes bears a name of its own, and leaving the context removes all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from eaves.kit import process
from eaves.node.desired.model import (
    AclRule,
    DesiredApp,
    DesiredDatastore,
    DesiredImage,
    DesiredNetwork,
    DesiredNode,
    ImageFormat,
)
from eaves.node.instance import Instance
from eaves.node.manager import EngineOptions, Manager
from eaves.node.observed import (
    AppState,
    AppStatus,
    ImageStatus,
    LogLine,
    NetworkStatus,
    Observations,
    Status,
    VolumeStatus,
)
from eaves.testing import power
from eaves.testing.desired import ALLOW_ALL, make_container, make_network

S = TypeVar("S", ImageStatus, VolumeStatus, NetworkStatus, AppStatus)

WAIT_LIMIT_S = 240.0 if os.environ.get("EAVES_IN_GUEST") else 40.0
"""An emulated processor is many times slower."""


def find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class EngineHost:
    """``start`` and ``stop`` a manager over the same folders as often as you like; ``lines`` are the log lines it delivered."""

    def __init__(self, folder: Path, options: EngineOptions | None = None) -> None:
        token = secrets.token_hex(4)
        self.instance = Instance(f"t{token}", folder / "data", Path(f"/run/eaves-t{token}"))
        self.options = options or EngineOptions(first_retry_s=0.5, measure_every_s=1.0)
        self.observations = Observations()
        self.lines: list[LogLine] = []
        self._delivered = asyncio.Event()
        self.desired = DesiredNode("device", "0", "")
        self.manager: Manager | None = None
        self._run: asyncio.Task[None] | None = None
        # Subnets of instances that run side by side must not overlap, so each takes its own part of 10.128/9.
        self._subnet = secrets.randbelow(1 << 14)
        self._networks = 0

    async def __aenter__(self) -> EngineHost:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.teardown()

    async def start(self) -> Manager:
        """Open a manager as a new daemon would."""
        self.observations = Observations()
        self.manager = await Manager.open(self.instance, self.observations, self._deliver, options=self.options)
        self._run = asyncio.create_task(self.manager.run())
        return self.manager

    async def stop(self) -> None:
        """End the daemon's part; what it made goes on."""
        if self._run is not None:
            self._run.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._run
            self._run = None

    async def teardown(self) -> None:
        await self.stop()
        if self.manager is None or not self.instance.host_dir.exists():
            self.manager = await Manager.open(self.instance, Observations())
        await self.manager.teardown()
        self.manager = None

    async def apply(self, **changes: object) -> None:
        """Apply the last desired state with ``apps=``, ``networks=`` … replaced."""
        values = {name: getattr(self.desired, name) for name in self.desired.__struct_fields__} | changes
        self.desired = DesiredNode(**values)
        assert self.manager is not None
        await self.manager.apply(self.desired)

    def network(self, name: str = "default", **changes: object) -> DesiredNetwork:
        second, third = 128 + (self._subnet >> 7), (self._subnet & 127) * 2 + self._networks
        self._networks += 1
        return make_network(name, **({"subnet": f"10.{second}.{third}.0/24"} | changes))

    def image(self, datastore: DesiredDatastore, reference: str, **changes: object) -> DesiredImage:
        values: dict[str, object] = {
            "id": "image-" + re.sub(r"[^a-z0-9]", "-", reference),
            "name": reference,
            "reference": reference,
            "format": ImageFormat.CONTAINER,
            "digest": "",
            "max_size_bytes": 0,
            "generation": 0,
            "datastores": (datastore,),
        }
        return DesiredImage(**(values | changes))  # type: ignore[arg-type]

    def app(
        self,
        name: str,
        image: DesiredImage,
        *networks: DesiredNetwork,
        acls: tuple[AclRule, ...] = (ALLOW_ALL,),
        **changes: object,
    ) -> DesiredApp:
        """``acls`` are those of the first interface; further ones allow all."""
        return make_container(name, networks, acls, **({"image_id": image.id, "stop_grace_s": 1} | changes))

    async def wait(
        self, kind: type[S], object_id: str, accept: Callable[[S], bool], limit_s: float = WAIT_LIMIT_S
    ) -> S:
        """Wait for a status; the error says what there was instead."""
        version = -1
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    status = self.observations.get(kind, object_id)
                    if isinstance(status, kind) and accept(status):
                        return status
                    version = await self.observations.changed(max(version, self.observations.version))
        except TimeoutError:
            raise AssertionError(f"not reached: {self.observations.get(kind, object_id)}") from None

    async def wait_app(self, name: str, state: AppState = AppState.RUNNING, limit_s: float = WAIT_LIMIT_S) -> AppStatus:
        return await self.wait(AppStatus, f"app-{name}", lambda status: status.state is state, limit_s)

    async def wait_gone(self, kind: type[Status], object_id: str, limit_s: float = WAIT_LIMIT_S) -> None:
        async with asyncio.timeout(limit_s):
            while self.observations.get(kind, object_id) is not None:
                await self.observations.changed(self.observations.version)

    async def wait_lines(self, accept: Callable[[list[LogLine]], bool], limit_s: float = WAIT_LIMIT_S) -> None:
        async with asyncio.timeout(limit_s):
            while not accept(self.lines):
                self._delivered.clear()
                await self._delivered.wait()

    async def exec(self, name: str, *command: str) -> tuple[int, str]:
        """Run a command inside an app; answers exit code and output.

        By nsenter with the process's own root: ``podman exec`` enters the mount namespace's root, which is another one where this
        machine is itself a chroot.
        """
        assert self.manager is not None
        name = f"{self.instance.name}-app-{name}"
        pid = (await self.manager.podman.run("inspect", name, "--format", "{{.State.Pid}}")).text.strip()
        options = ("--mount", "--net", "--ipc", "--uts", "--root", "--wd")
        done = await process.run(["nsenter", f"--target={pid}", *options, *command], check=False, timeout_s=30)
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace")

    async def cut_power(self) -> None:
        """Everything that lives in memory goes at once: daemon, containers, links, firewall, run-time files."""
        await self.stop()
        await asyncio.to_thread(power.cut_power, self.instance)

    async def _deliver(self, lines: list[LogLine]) -> None:
        self.lines += lines
        self._delivered.set()
