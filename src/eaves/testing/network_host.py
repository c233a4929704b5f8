"""A node's networks without the rest of the engine, in a network stack of its own.

Containers are their namespaces, virtual machines are :class:`~eaves.testing.tap_guest.TapGuest`; the node's interfaces, routes and
firewall are those of a namespace that no other test sees. Use inside a running loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from eaves.kit import process
from eaves.node.desired.model import AclRule, AppKind, DesiredApp, DesiredNetwork, DesiredNode
from eaves.node.instance import Instance
from eaves.node.networks.connection import Connection
from eaves.node.networks.service import Networks
from eaves.node.observed import NetworkStatus, Observations
from eaves.testing import power
from eaves.testing.desired import ALLOW_ALL, make_container, make_network
from eaves.testing.namespaces import Namespace
from eaves.testing.tap_guest import TapGuest

WAIT_LIMIT_S = 90.0


class NetworkHost:
    """Entered, the test's thread is inside the node's namespace. ``options`` go to :class:`Networks`.

    ``namespace``: another one than a new one, for a machine that belongs to the test.
    """

    def __init__(self, folder: Path, *, namespace: Namespace | None = None, **options: Any) -> None:
        token = secrets.token_hex(4)
        self.folder = folder
        self.instance = Instance(f"t{token}", folder / "data", Path(f"/run/eaves-t{token}"))
        self.namespace = namespace or Namespace()
        self.observations = Observations()
        self.in_use: set[str] = set()
        self.desired = DesiredNode("device", "0", "")
        self.networks: Networks | None = None
        self._options: Mapping[str, Any] = {"ports": ()} | options
        self._changed = asyncio.Event()
        self._run: asyncio.Task[None] | None = None
        self._stack = contextlib.ExitStack()

    async def __aenter__(self) -> NetworkHost:
        self._stack.callback(self.namespace.close)
        self._stack.enter_context(self.namespace.entered())
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop()
            await asyncio.to_thread(power.end_in_namespaces, self.instance)
            if self.networks is not None:
                await self.networks.teardown()
            await process.run(["rm", "-rf", str(self.instance.run_dir)])
        finally:
            self._stack.close()

    async def start(self) -> None:
        """As a daemon that starts over what an earlier one left."""
        await asyncio.to_thread(self.instance.prepare)
        self.observations = Observations()
        self.networks = Networks(
            self.instance,
            self.observations,
            pid_of=lambda _: 0,
            is_in_use=lambda app_id: app_id in self.in_use,
            on_change=self._changed.set,
            **self._options,
        )
        await self.networks.open()
        self.networks.set_desired(self.desired)
        self._run = asyncio.create_task(self.networks.run())

    async def stop(self) -> None:
        """End the daemon's part; what it made goes on."""
        if self._run is not None:
            self._run.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._run
            self._run = None

    def apply(self, **changes: object) -> None:
        """Apply the last desired state with ``apps=``, ``networks=`` replaced."""
        values = {name: getattr(self.desired, name) for name in self.desired.__struct_fields__} | changes
        self.desired = DesiredNode(**values)
        assert self.networks is not None
        self.networks.set_desired(self.desired)

    def network(self, name: str = "default", number: int = 0, **changes: object) -> DesiredNetwork:
        return make_network(name, **({"subnet": f"10.{number}.0.0/24"} | changes))

    def app(
        self, name: str, *networks: DesiredNetwork, acls: tuple[AclRule, ...] = (ALLOW_ALL,), **changes: object
    ) -> DesiredApp:
        """``acls`` are those of the first interface; further ones allow all."""
        return make_container(name, networks, acls, **changes)

    def machine(self, name: str, *networks: DesiredNetwork, **changes: object) -> DesiredApp:
        values: dict[str, Any] = {"kind": AppKind.VIRTUAL_MACHINE} | changes
        return self.app(name, *networks, **values)

    async def connection(
        self, name: str, accept: Callable[[Connection], bool] = lambda _: True, limit_s: float = WAIT_LIMIT_S
    ) -> Connection:
        """How the app is connected, once it is."""
        assert self.networks is not None
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    found = self.networks.connection(f"app-{name}")
                    if found is not None and accept(found):
                        return found
                    await self.turn()
        except TimeoutError:
            faults = [self.networks.fault(f"app-{name}")]
            faults += [self.networks.fault(network.id) for network in self.desired.networks]
            raise AssertionError(f"app {name}: {self.networks.connection(f'app-{name}')}, faults {faults}") from None

    async def status(
        self, network: DesiredNetwork, accept: Callable[[NetworkStatus], bool], limit_s: float = WAIT_LIMIT_S
    ) -> NetworkStatus:
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    found = self.observations.get(NetworkStatus, network.id)
                    if isinstance(found, NetworkStatus) and accept(found):
                        return found
                    await self.turn()
        except TimeoutError:
            raise AssertionError(f"not reached: {self.observations.get(NetworkStatus, network.id)}") from None

    async def turn(self) -> None:
        """Wait until the networks have been looked at once more."""
        self._changed.clear()
        await self._changed.wait()

    async def boot(self, name: str, index: int = 0) -> TapGuest:
        """Turn a virtual machine on: one card in its tap."""
        tap = (await self.connection(name, lambda found: len(found.taps) > index)).taps[index]
        return TapGuest(tap.link, tap.mac, self.folder)

    async def exec(self, name: str, *command: str, timeout_s: float = 30) -> tuple[int, str]:
        """Run a command in a container's namespace; answers exit code and output."""
        inside = f"--net={(await self.connection(name)).netns}"
        done = await process.run(["nsenter", inside, *command], check=False, timeout_s=timeout_s)
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace")
