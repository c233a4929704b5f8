"""Is this node's part of the cluster up: the API server of a server, the kubelet of an agent."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from msgspec import Struct

from eaves.kit import files
from eaves.kit.errors import EavesError
from eaves.node.clusters.errors import ClusterError, KubeApiError
from eaves.node.clusters.kubeapi import KubeApi, load_api
from eaves.node.clusters.model import ClusterFolders
from eaves.node.link.client import HttpClient, Server
from eaves.node.link.tls import want_context

log = logging.getLogger(__name__)

KUBELET_HEALTH_PORT = 10248
_TIMEOUT_S = 3.0


class Health(Struct, frozen=True):
    is_ready: bool = False
    is_etcd_healthy: bool = False
    """The embedded etcd, or the external datastore, answers the API server."""


class ApiWatch:
    """Keeps a client of the own API server, a new one whenever K3s has written its kubeconfig anew."""

    def __init__(self, folders: ClusterFolders) -> None:
        self._folders = folders
        self._api: KubeApi | None = None
        self._read = b""
        self._is_ready = False

    @property
    def api(self) -> KubeApi | None:
        """The client while the API server is ready."""
        return self._api if self._is_ready else None

    async def look(self, *, is_server: bool, has_datastore: bool) -> Health:
        """Ask now; never raises."""
        if not is_server:
            return Health(await _is_kubelet_healthy())
        try:
            api = await self._want_api()
            self._is_ready = api is not None and await api.is_ready()
            if api is None or not self._is_ready or not has_datastore:
                return Health(self._is_ready)
            return Health(True, (await api.ask_health("/readyz/etcd"))[0])
        except (ClusterError, OSError) as error:
            log.debug("API is not ready: error=%s", error)
            self._is_ready = False
            return Health()

    async def close(self) -> None:
        self._is_ready = False
        if self._api is not None:
            await self._api.close()
        self._api, self._read = None, b""

    async def _want_api(self) -> KubeApi | None:
        raw = await asyncio.to_thread(files.load_file, self._folders.kubeconfig)
        if raw and (raw != self._read or self._api is None):
            await self.close()
            found = await asyncio.to_thread(load_api, self._folders)
            if found is None:
                raise KubeApiError("K3s has not written its kubeconfig yet")
            self._api, self._read = await KubeApi.open(found), raw
        return self._api


async def _is_kubelet_healthy() -> bool:
    client = HttpClient(
        Server("127.0.0.1", KUBELET_HEALTH_PORT, is_tls=False),
        want_context(b"", use_system=False),
        dial_timeout_s=_TIMEOUT_S,
        send_timeout_s=_TIMEOUT_S,
    )
    try:
        with contextlib.suppress(EavesError):
            return (await client.request("GET", "/healthz")).status == 200
        return False
    finally:
        await client.close()
