"""The place of clusters in the engine: a node that never had one spends no memory on it.

What keeps a membership is imported when the first config asks for a cluster, or when an earlier daemon left one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from eaves.node.clusters.errors import ClusterError
from eaves.node.clusters.model import STATUS_PORT, ClusterApi
from eaves.node.desired.model import DesiredNode
from eaves.node.images.plan import Pin
from eaves.node.images.ways import FindWay, find_host_way
from eaves.node.instance import Instance
from eaves.node.networks.model import Port
from eaves.node.observed import Observations
from eaves.node.observed_cluster import ClusterUsage
from eaves.wire.newlog import LogRecord

if TYPE_CHECKING:
    from eaves.node.clusters.service import Clusters


class ClusterSlot:
    """As :class:`.service.Clusters`, which it makes when it is needed; arguments are handed on."""

    def __init__(
        self,
        instance: Instance,
        observations: Observations,
        *,
        find_pin: Callable[[str], Pin | None],
        ports: Sequence[Port] = (),
        own_binary: str = "",
        proxies: Mapping[str, str] | None = None,
        find_way: FindWay = find_host_way,
        status_port: int = STATUS_PORT,
    ) -> None:
        self._instance = instance
        self._observations = observations
        self._find_pin = find_pin
        self._ports = ports
        self._own_binary = own_binary
        self._proxies = proxies
        self._find_way = find_way
        self._status_port = status_port
        self._desired: DesiredNode | None = None
        self._is_wanted = asyncio.Event()
        self.clusters: Clusters | None = None
        self.note_line: Callable[[LogRecord], None] = lambda _: None

    async def open(self) -> None:
        """Take up the membership that an earlier daemon left."""
        if await asyncio.to_thread((self._instance.state_dir / "cluster.json").exists):
            await self._make()

    def set_desired(self, desired: DesiredNode) -> None:
        self._desired = desired
        if self.clusters is not None:
            self.clusters.set_desired(desired)
        elif desired.cluster is not None:
            self._is_wanted.set()

    def wake(self) -> None:
        if self.clusters is not None:
            self.clusters.wake()

    def api(self, cluster_id: str) -> ClusterApi:
        """How to reach the own API server of ``cluster_id`` as admin. Blocking, short. Raises ClusterError."""
        if self.clusters is None:
            raise ClusterError("this node is no member of a cluster", code="ClusterUnknown", element=cluster_id)
        return self.clusters.api(cluster_id)

    async def usage(self) -> ClusterUsage | None:
        """What the cluster takes of this machine, if it does."""
        return await self.clusters.usage() if self.clusters is not None else None

    async def run(self) -> None:
        """Until cancelled."""
        if self.clusters is None:
            await self._is_wanted.wait()
            await self._make()
        assert self.clusters is not None
        await self.clusters.run()

    async def teardown(self) -> None:
        if self.clusters is not None:
            await self.clusters.teardown()

    async def _make(self) -> None:
        if self.clusters is not None:
            return
        # Costs milliseconds, once, and nothing waits for it.
        from eaves.node.clusters.service import Clusters

        clusters = Clusters(
            self._instance,
            self._observations,
            find_pin=self._find_pin,
            ports=self._ports,
            own_binary=self._own_binary,
            proxies=self._proxies,
            find_way=self._find_way,
            status_port=self._status_port,
        )
        clusters.note_line = lambda record: self.note_line(record)
        await clusters.open()
        self.clusters = clusters
        if self._desired is not None:
            clusters.set_desired(self._desired)
