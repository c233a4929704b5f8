"""An engine that runs nothing: it claims that everything desired works, so that the link can be tested without podman."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from eaves.kit.errors import EavesError
from eaves.node.clusters.errors import ClusterError
from eaves.node.clusters.model import ClusterApi
from eaves.node.desired.model import DesiredApp, DesiredNode
from eaves.node.engine import DeliverLogs, NoteDevice, Seal
from eaves.node.images.ways import ManagedWays
from eaves.node.observed import (
    AppState,
    AppStatus,
    AppUsage,
    ImageState,
    ImageStatus,
    InterfaceStatus,
    LogLine,
    NetworkStatus,
    Observations,
    RunRecord,
    VolumeState,
    VolumeStatus,
    list_statuses,
)
from eaves.node.settings import NodeSettings
from eaves.node.tunnel.export import Exported
from eaves.node.workloads.sessions import Command, Session, SessionUnsupportedError
from eaves.wire.export import ExportParameters


class PretendEngine:
    """Publishes a good status for each desired object at once and removes what is no longer desired."""

    podman_version = "0.0.0"

    def __init__(self, observations: Observations, deliver: DeliverLogs) -> None:
        self.observations = observations
        self.deliver = deliver
        self.applied: list[DesiredNode] = []
        self.is_torn_down = False
        self.has_gone_down = False
        self._numbers: dict[str, int] = {}

    async def apply(self, desired: DesiredNode) -> None:
        self.applied.append(desired)
        for image in desired.images:
            self.observations.publish(
                ImageStatus(image.id, image.name, ImageState.LOADED, image.digest or f"sha256:{0:064}")
            )
        for volume in desired.volumes:
            self.observations.publish(
                VolumeStatus(volume.id, volume.generation, volume.name, VolumeState.READY, volume.size_bytes)
            )
        for network in desired.networks:
            self.observations.publish(
                NetworkStatus(network.id, network.version, network.name, network.kind, active=True, bridge="evbr1")
            )
        for app in desired.apps:
            self.observations.publish(_want_status(app))
        self._remove_undesired(desired)

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def exec(self, app_id: str, command: Command) -> Session:
        raise SessionUnsupportedError("an engine that runs nothing runs no commands")

    async def attach(self, app_id: str, *, stdin: bool) -> Session:
        raise SessionUnsupportedError("an engine that runs nothing has no streams")

    async def go_down(self) -> None:
        self.has_gone_down = True

    def find_export(self, token: str) -> Exported | None:
        return None

    async def make_export(self, wanted: ExportParameters, say: Callable[[int], Awaitable[None]]) -> Exported:
        raise EavesError("an engine that runs nothing has no images")

    def use_seal(self, seal: Seal) -> None:
        self.seal = seal

    def use_ways(self, ways: ManagedWays) -> None:
        self.ways = ways

    def note_moved(self) -> None:
        """Nothing waits for the network."""

    def cluster_api(self, cluster_id: str) -> ClusterApi:
        raise ClusterError("this node is no member of a cluster", element=cluster_id)

    def use_device_log(self, note: NoteDevice) -> None:
        self.note_device = note

    async def cluster_usage(self) -> None:
        """No cluster."""

    async def usages(self) -> list[AppUsage]:
        return [
            AppUsage(
                status.id,
                status.name,
                status.version,
                cpu_ns=2 * 10**9,
                memory_bytes=32 << 20,
                memory_limit_bytes=64 << 20,
            )
            for status in list_statuses(self.observations, AppStatus)
        ]

    async def teardown(self) -> None:
        self.is_torn_down = True

    async def write_log(self, app_id: str, *texts: str) -> None:
        """The app writes lines to stdout."""
        lines = []
        for text in texts:
            number = self._numbers[app_id] = self._numbers.get(app_id, 0) + 1
            lines.append(LogLine(app_id, time.time_ns(), "stdout", text, number))
        await self.deliver(lines)

    def _remove_undesired(self, desired: DesiredNode) -> None:
        wanted = {
            thing.id for group in (desired.images, desired.volumes, desired.networks, desired.apps) for thing in group
        }
        for kind in (AppStatus, NetworkStatus, VolumeStatus, ImageStatus):
            for status in list(self.observations.each(kind)):
                if status.id not in wanted:
                    self.observations.remove(kind, status.id)


class PretendEngines:
    """Opens engines for a node and keeps them for the test to look at."""

    def __init__(self) -> None:
        self.opened: list[PretendEngine] = []
        self.error: EavesError | None = None
        """Raised by the next attempts to open."""
        self._changed = asyncio.Condition()

    async def open(self, settings: NodeSettings, observations: Observations, deliver: DeliverLogs) -> PretendEngine:
        if self.error is not None:
            raise self.error
        self.opened.append(PretendEngine(observations, deliver))
        async with self._changed:
            self._changed.notify_all()
        return self.opened[-1]

    async def wait_opened(self, count: int) -> PretendEngine:
        """The engine that is the ``count``-th to be opened, once it is."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(lambda: len(self.opened) >= count)
        return self.opened[count - 1]

    @property
    def last(self) -> PretendEngine:
        return self.opened[-1]


def _want_status(app: DesiredApp) -> AppStatus:
    state = AppState.RUNNING if app.activate else AppState.HALTED
    return AppStatus(
        app.id,
        app.version,
        app.name,
        app.namespace,
        state,
        container_id=f"container-of-{app.name}" if app.activate else "",
        image_digest=f"sha256:{0:064}",
        current=RunRecord(time.time()) if app.activate else None,
        interfaces=tuple(
            InterfaceStatus(
                interface.name, interface.network_id, "02:00:00:00:00:01", (interface.address or "10.1.0.2",)
            )
            for interface in app.interfaces
        ),
    )
