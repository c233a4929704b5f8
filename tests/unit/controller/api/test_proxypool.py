"""Connections to clusters that are kept: what becomes of them when the API stops."""

from __future__ import annotations

import asyncio

from eaves.controller.api.proxypool import Connection, Pool
from eaves.node.tunnel.abc import Handler, Offer
from eaves.testing.linked_tunnel import LinkedTunnel
from eaves.wire.clusterstream import HttpParameters
from eaves.wire.identifiers import DeviceId
from eaves.wire.tunnel import StreamKind, StreamRequest

DEVICE = DeviceId("id-alpha")
PARAMETERS = HttpParameters("cluster-id", "jane", ())


class Silent(Handler):
    """A server that says nothing."""

    async def serve(self, request: StreamRequest, offer: Offer) -> None:
        stream = await offer.accept()
        while await stream.receive() is not None:
            pass


async def open_two(pool: Pool) -> tuple[Connection, Connection]:
    return await pool.open(DEVICE, PARAMETERS), await pool.open(DEVICE, PARAMETERS)


async def test_a_stop_closes_idle_connections_and_those_under_way_when_they_end() -> None:
    tunnel = LinkedTunnel({StreamKind.HTTP: Silent()})
    pool = Pool(tunnel)
    before = asyncio.all_tasks()
    idle, busy = await open_two(pool)
    await pool.put_back(idle)
    pool.stop()
    await tunnel.wait_count(lambda count: count == 1)
    assert (len(pool), idle.is_closed, busy.is_closed) == (0, True, False)
    await pool.put_back(busy)
    await tunnel.wait_count(lambda count: count == 0)
    assert (len(pool), busy.is_closed) == (0, True)
    if left := asyncio.all_tasks() - before:
        await asyncio.wait(left, timeout=60)
    assert asyncio.all_tasks() == before


async def test_without_a_stop_an_idle_connection_serves_the_next_request() -> None:
    tunnel = LinkedTunnel({StreamKind.HTTP: Silent()})
    pool = Pool(tunnel)
    connection = await pool.open(DEVICE, PARAMETERS)
    await pool.put_back(connection)
    assert pool.take_idle(DEVICE, PARAMETERS) is connection
    await connection.close()
    await tunnel.close()
