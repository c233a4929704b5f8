"""The engine's place in the daemon: open it, hand it the desired state, go on without it while it cannot start.

A machine without podman must still reach its controller and say so; hence the daemon holds a slot and not the engine itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from eaves.kit.errors import EavesError
from eaves.node.clusters.model import ClusterApi
from eaves.node.desired.model import DesiredNode
from eaves.node.images.ways import ManagedWays, WebProxy
from eaves.node.observed import AppUsage, LogLine, Observations
from eaves.node.observed_cluster import ClusterUsage
from eaves.node.settings import NodeSettings, want_ports
from eaves.node.tunnel.export import Exported
from eaves.node.workloads.errors import NotRunningError
from eaves.node.workloads.sessions import Command, Session
from eaves.wire.export import ExportParameters
from eaves.wire.newlog import LogRecord

Seal = Callable[[bytes], bytes]
"""Payload → envelope signed by the device; blocking."""
NoteDevice = Callable[[LogRecord], None]
"""Keeps one line of the device's own log; returns at once."""
DeliverLogs = Callable[[list[LogLine]], Awaitable[None]]
"""Takes log lines; when it returns they are kept."""


class Engine(Protocol):
    """What runs apps, networks, volumes and images; it publishes what it sees on the Observations it was given."""

    @property
    def podman_version(self) -> str:
        """For inventories."""

    async def apply(self, desired: DesiredNode) -> None:
        """Take over the desired state; the work is done by :meth:`run`."""

    async def run(self) -> None:
        """Converge for ever. What runs goes on running when this is cancelled."""

    async def usages(self) -> list[AppUsage]:
        """Counters of the running apps."""

    async def cluster_usage(self) -> ClusterUsage | None:
        """What K3s and its pods use; None on a node that is no member of a cluster."""

    async def exec(self, app_id: str, command: Command) -> Session:
        """Run a command in an app. Raises EavesError."""

    async def attach(self, app_id: str, *, stdin: bool) -> Session:
        """An app's standard streams. Raises EavesError."""

    async def go_down(self) -> None:
        """Before the machine reboots: end what would suffer from it."""

    def find_export(self, token: str) -> Exported | None:
        """An image of a volume that was made before."""

    async def make_export(self, wanted: ExportParameters, say: Callable[[int], Awaitable[None]]) -> Exported:
        """An image of a volume. Raises EavesError, OSError."""

    def use_seal(self, seal: Seal) -> None:
        """The device's signature, for apps that ask for it."""

    def use_ways(self, ways: ManagedWays) -> None:
        """By which ports the node's downloads leave, and through which proxies."""

    def note_moved(self) -> None:
        """The node's way out changed: what waits for the network may try again at once."""

    def use_device_log(self, note: NoteDevice) -> None:
        """The device's log, for what K3s writes."""

    def cluster_api(self, cluster_id: str) -> ClusterApi:
        """The API of the cluster's server on this node. Blocking, short. Raises EavesError."""

    async def teardown(self) -> None:
        """Stop and remove everything."""


OpenEngine = Callable[[NodeSettings, Observations, DeliverLogs], Awaitable[Engine]]


async def open_manager(settings: NodeSettings, observations: Observations, deliver: DeliverLogs) -> Engine:
    """The real engine. Raises EavesError when this machine lacks something."""
    from eaves.node.manager import EngineOptions, Manager

    options = EngineOptions(
        ports=want_ports(settings),
        proxy=await asyncio.to_thread(_load_proxy, settings),
        k3s_binary=settings.k3s_binary,
    )
    return await Manager.open(settings.engine, observations, deliver, options=options)


def _load_proxy(settings: NodeSettings) -> WebProxy:
    """That of the settings. Blocking. Raises OSError for a certificate that is not there."""
    if not settings.proxy:
        return WebProxy()
    pem = Path(settings.proxy_certificate_file).read_text("ascii") if settings.proxy_certificate_file else ""
    return WebProxy((("HTTPS_PROXY", settings.proxy), ("HTTP_PROXY", settings.proxy)), ca_pems=(pem,) if pem else ())


class EngineSlot:
    """Holds the engine once it could be opened."""

    def __init__(
        self, open_engine: OpenEngine, settings: NodeSettings, observations: Observations, deliver: DeliverLogs
    ) -> None:
        self._open = open_engine
        self._settings = settings
        self._observations = observations
        self._deliver = deliver
        self.seal: Seal | None = None
        """Lent to the engine when it opens."""
        self.note_device: NoteDevice | None = None
        """As well."""
        self.ways: ManagedWays | None = None
        """As well, on a node that sets up its own ports."""
        self._engine: Engine | None = None
        self._desired: DesiredNode | None = None
        self.podman_version = ""
        self.problem: EavesError | None = None
        self.changed: Callable[[], None] = lambda: None
        """Called when the problem comes or goes."""

    async def apply(self, desired: DesiredNode) -> None:
        """Hand on, now or as soon as the engine is open."""
        self._desired = desired
        if self._engine is not None:
            await self._engine.apply(desired)

    async def run(self) -> None:
        """Open and run the engine; ends with its error, the supervisor tries again."""
        try:
            engine = await self._open(self._settings, self._observations, self._deliver)
        except EavesError as error:
            self._note(error)
            raise
        except OSError as error:
            problem = EavesError(
                f"the engine cannot start: {error.strerror}",
                code="EngineUnavailable",
                element=str(error.filename or "engine"),
                retryable=True,
                resolution="make room on the disk, or correct the permissions of the folder",
            )
            self._note(problem)
            raise problem from error
        self.podman_version = engine.podman_version
        if self.seal is not None:
            engine.use_seal(self.seal)
        if self.note_device is not None:
            engine.use_device_log(self.note_device)
        if self.ways is not None:
            engine.use_ways(self.ways)
        self._engine = engine
        self._note(None)
        try:
            if self._desired is not None:
                await engine.apply(self._desired)
            await engine.run()
        finally:
            self._engine = None

    def note_moved(self) -> None:
        """The node's way out changed."""
        if self._engine is not None:
            self._engine.note_moved()

    async def usages(self) -> list[AppUsage]:
        """Counters of the running apps; none while there is no engine."""
        return await self._engine.usages() if self._engine is not None else []

    async def cluster_usage(self) -> ClusterUsage | None:
        """What K3s and its pods use."""
        return await self._engine.cluster_usage() if self._engine is not None else None

    async def exec(self, app_id: str, command: Command) -> Session:
        return await self._want_engine().exec(app_id, command)

    async def attach(self, app_id: str, *, stdin: bool) -> Session:
        return await self._want_engine().attach(app_id, stdin=stdin)

    def cluster_api(self, cluster_id: str) -> ClusterApi:
        """Blocking, short. Raises EavesError."""
        return self._want_engine().cluster_api(cluster_id)

    async def go_down(self) -> None:
        """Before the machine reboots."""
        if self._engine is not None:
            await self._engine.go_down()

    def find_export(self, token: str) -> Exported | None:
        return self._engine.find_export(token) if self._engine is not None else None

    async def make_export(self, wanted: ExportParameters, say: Callable[[int], Awaitable[None]]) -> Exported:
        return await self._want_engine().make_export(wanted, say)

    def _want_engine(self) -> Engine:
        if self._engine is None:
            raise NotRunningError("the node's engine does not run", resolution="see the node's conditions")
        return self._engine

    def _note(self, problem: EavesError | None) -> None:
        self.problem = problem
        self.changed()
