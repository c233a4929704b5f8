"""Serves ``k3sclusters/NAME/proxy/…``: the API of a cluster, through the tunnel to one of its servers.

The pipeline has authorised the request (a verb on ``k3sclusters/proxy``). K3sClusterAccess says as whom the caller acts in the cluster, and
a server is found that can be reached; the node adds the cluster's credential, which this process never has.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from eaves.controller.access.clusters import map_caller
from eaves.controller.api.http import Passage, Request, Send
from eaves.controller.api.proxying import (
    GONE,
    ClientGoneError,
    Exchange,
    NotSentError,
    Outgoing,
    refuse,
    switch,
    want_request,
)
from eaves.controller.api.proxypool import BrokenError, Connection, Pool, TooBusyError
from eaves.controller.api.routing import Target
from eaves.controller.documents import decode_object, key_of
from eaves.controller.tunnel.abc import Tunnel
from eaves.controller.tunnel.errors import TunnelError
from eaves.kinds import k3scluster, k3sclusteraccess
from eaves.kinds.k3scluster_status import K3sMemberStatus, MemberRole, MemberWish
from eaves.kube import status
from eaves.kube.errors import ApiError
from eaves.store.abc import ObjectStore
from eaves.wire.clusterstream import HttpParameters
from eaves.wire.http1 import HttpError, ResponseHead
from eaves.wire.identifiers import DeviceId
from eaves.wire.tunnel import CloseCause, CloseCode

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1
"""For a cluster that has answered before: kubectl tries again ten times, in which a node calls back or another server takes over."""
AVOID_S = 15.0
"""How long a server that failed is tried after the others."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that may be asked twice."""


class Server(Struct, frozen=True):
    """A server of a cluster, as the proxy needs it."""

    node_name: str
    device: DeviceId


class ClusterProxy:
    """The subresource's handler."""

    def __init__(self, store: ObjectStore, tunnel: Tunnel, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._tunnel = tunnel
        self._clock = clock
        self._pool = Pool(tunnel)
        self._failed: dict[DeviceId, float] = {}
        self._liked: dict[str, DeviceId] = {}
        """The server that answered last, by cluster."""

    def stop(self) -> None:
        """Let go of idle connections: the API is stopping."""
        self._pool.stop()

    async def serve(self, request: Request, target: Target) -> Passage:
        """Raises ApiError 400, 403, 404, 503."""
        stored = await self._store.get(key_of(k3scluster.RESOURCE, target.namespace, target.name))
        if stored is None:
            raise status.not_found(target.group, target.resource, target.name)
        cluster = k3scluster.decode(decode_object(stored))
        parameters = await self._find_identity(request, target, cluster.metadata.uid)
        try:
            outgoing = want_request(request, _prefix(target))
        except HttpError as error:
            raise status.bad_request(error.message) from error
        servers = rank_servers(
            cluster.status.members, self._liked.get(cluster.metadata.uid), self._avoided(), cluster.status.leader
        )
        if not servers:
            why = _explain_absence(cluster)
            raise status.service_unavailable(f'K3sCluster "{target.name}" cannot be reached: {why}', 0)
        retry_after_s = RETRY_AFTER_S if any(member.api_ready for member in cluster.status.members) else 0
        relaying = _Relaying(self, self._pool, request, outgoing, parameters, servers, target.name, retry_after_s)
        return Passage(relaying.run)

    def note(self, cluster: str, server: Server, *, is_well: bool) -> None:
        """Whether a server answered."""
        if is_well:
            self._liked[cluster] = server.device
            self._failed.pop(server.device, None)
        else:
            self._failed[server.device] = self._clock()
            self._liked.pop(cluster, None)

    def is_connected(self, server: Server) -> bool:
        return self._tunnel.is_connected(server.device)

    def _avoided(self) -> set[DeviceId]:
        now = self._clock()
        self._failed = {device: at for device, at in self._failed.items() if now - at < AVOID_S}
        return set(self._failed)

    async def _find_identity(self, request: Request, target: Target, cluster_id: str) -> HttpParameters:
        fields = {"spec.clusterRef.name": target.name}
        page = await self._store.list(k3sclusteraccess.RESOURCE.store_name, target.namespace, fields=fields)
        accesses = [k3sclusteraccess.decode(decode_object(found)) for found in page.items]
        here = [access for access in accesses if access.spec.cluster_ref.name == target.name]
        parameters = map_caller(request.identity, cluster_id, here)
        if parameters is None:
            why = (
                f'no K3sClusterAccess in namespace "{target.namespace}" says as whom user "{request.identity.user}" acts in the '
                "cluster: have a rule with clusterGroups written for you"
            )
            raise status.forbidden(target.group, target.resource_path, target.name, why)
        return parameters


def rank_servers(
    members: Sequence[K3sMemberStatus], liked: DeviceId | None, avoided: set[DeviceId], leader: str
) -> list[Server]:
    """The servers to try, best first: the one that answered last, then those whose API answers. Pure.

    EVE has no way in for requests to its cluster.
    """
    found = [member for member in members if member.role is MemberRole.SERVER and member.want is not MemberWish.LEFT]
    found = [member for member in found if not member.runs_eve]

    def rank(member: K3sMemberStatus) -> tuple[bool, bool, bool, bool]:
        device = DeviceId(member.id)
        return (device in avoided, not member.api_ready, device != liked, member.node_name != leader)

    return [Server(member.node_name, DeviceId(member.id)) for member in sorted(found, key=rank) if member.id]


def _explain_absence(cluster: k3scluster.K3sCluster) -> str:
    """Why there is no server to try."""
    if any(member.role is MemberRole.SERVER and member.runs_eve for member in cluster.status.members):
        return "its servers run EVE, which lets no requests in by way of its controller; add a server that runs Eaves, or ask at the site"
    return cluster.status.message or "none of its members is a server yet"


class _Relaying:
    """One request, over as many servers as it takes."""

    def __init__(
        self,
        proxy: ClusterProxy,
        pool: Pool,
        request: Request,
        outgoing: Outgoing,
        parameters: HttpParameters,
        servers: Sequence[Server],
        name: str,
        retry_after_s: int,
    ) -> None:
        self._proxy = proxy
        self._pool = pool
        self._request = request
        self._outgoing = outgoing
        self._parameters = parameters
        self._servers = servers
        self._name = name
        self._retry_after_s = retry_after_s
        self._reasons: list[str] = []

    async def run(self, send: Send) -> int:
        """Answer the request; the code of the answer. Raises ApiError while nothing is answered yet."""
        cluster = self._parameters.cluster
        try:
            self._pool.enter(cluster)
        except TooBusyError as error:
            raise status.too_many_requests(1, f'K3sCluster "{self._name}": {error.message}') from error
        try:
            for server in self._servers:
                if not self._proxy.is_connected(server):
                    self._reasons.append(f"node {server.node_name} is not connected to this controller")
                    continue
                code = await self._try_server(server, send)
                if code is not None:
                    return code
        finally:
            self._pool.leave(cluster)
        listed = "; ".join(self._reasons)
        raise status.service_unavailable(f'K3sCluster "{self._name}" cannot be reached: {listed}', self._retry_after_s)

    async def _try_server(self, server: Server, send: Send) -> int | None:
        """None when another server may be tried."""
        while True:
            connection = await self._connect(server)
            if connection is None:
                return None
            exchange = Exchange(self._request, self._outgoing, connection)
            try:
                code = await self._exchange(exchange, connection, send)
            except BrokenError as error:
                await connection.close()
                is_sent = not isinstance(error, NotSentError)
                if is_sent and (exchange.is_started or self._request.method not in _SAFE):
                    raise _unknown_outcome(self._name, server, error) from error
                if connection.is_used:
                    # The server may have closed it at the very moment; a fresh one tells.
                    continue
                self._note_failure(server, error.message)
                return None
            except HttpError as error:
                await connection.close()
                raise _unknown_outcome(self._name, server, error) from error
            except ClientGoneError:
                await connection.close(GONE)
                return 499
            except BaseException:
                await connection.close(CloseCause(CloseCode.GONE, "the request was given up"))
                raise
            self._proxy.note(self._parameters.cluster, server, is_well=True)
            return code

    async def _connect(self, server: Server) -> Connection | None:
        connection = self._pool.take_idle(server.device, self._parameters)
        if connection is not None:
            return connection
        try:
            return await self._pool.open(server.device, self._parameters)
        except TunnelError as error:
            self._note_failure(server, error.message)
            return None

    def _note_failure(self, server: Server, why: str) -> None:
        self._proxy.note(self._parameters.cluster, server, is_well=False)
        self._reasons.append(f"node {server.node_name}: {why}")
        log.info("cluster not reached: cluster=%s node=%s error=%s", self._name, server.node_name, why)

    async def _exchange(self, exchange: Exchange, connection: Connection, send: Send) -> int:
        is_reusable = False
        try:
            head = await exchange.ask()
            if self._request.is_websocket:
                await self._upgrade(connection, head, send)
            else:
                is_reusable = await exchange.answer(head, send)
        finally:
            await exchange.stop()
        if is_reusable:
            await self._pool.put_back(connection)
        else:
            await connection.close()
        return head.status

    async def _upgrade(self, connection: Connection, head: ResponseHead, send: Send) -> None:
        with contextlib.suppress(OSError):
            if head.status == 101:
                await switch(self._request, connection, head, send)
            else:
                await refuse(connection, self._request, head, send)


def _prefix(target: Target) -> str:
    return (
        f"/apis/{target.group}/{target.version}/namespaces/{target.namespace}/{target.resource}/{target.name}"
        f"/{target.subresource}"
    )


def _unknown_outcome(name: str, server: Server, error: HttpError) -> ApiError:
    """Nothing says whether the server did what it was asked, so nobody must ask again by himself."""
    return ApiError(
        502,
        "InternalError",
        f'K3sCluster "{name}": the connection to its server on node {server.node_name} broke ({error.message}); '
        "look whether the request was done before you repeat it",
    )
