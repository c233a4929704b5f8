"""Servers restart for another config one after the other."""

from __future__ import annotations

from typing import Any, cast

import pytest
from msgspec.structs import replace

from eaves.node.clusters.errors import KubeApiError
from eaves.node.clusters.kubeapi import KubeApi
from eaves.node.clusters.model import ClusterRecord, OrdersDone
from eaves.node.clusters.turns import Turns, is_own_business
from eaves.node.desired.cluster_model import ClusterMember, ClusterOrders, DesiredCluster
from eaves.node.desired.secret import Secret
from eaves.node.observed_cluster import MemberStatus

MEMBERS = tuple(ClusterMember(name, name, f"10.0.0.{n}", is_server=True) for n, name in enumerate("abc", 1))
ALL_READY = [MemberStatus(name, name, is_ready=True) for name in "abc"]


class FakeApi:
    """Leases by name, with versions as an API server has them."""

    def __init__(self) -> None:
        self.leases: dict[str, dict[str, Any]] = {}
        self.is_away = False

    async def find(self, path: str) -> dict[str, Any] | None:
        if self.is_away:
            raise KubeApiError("away")
        found = self.leases.get(path.rpartition("/")[2])
        return None if found is None else {**found, "spec": {**found["spec"]}}

    async def create(self, _path: str, body: dict[str, Any]) -> dict[str, Any]:
        name = body["metadata"]["name"]
        if name in self.leases:
            raise KubeApiError("exists", status=409)
        self.leases[name] = {**body, "version": 1}
        return body

    async def replace(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        name = path.rpartition("/")[2]
        if body["version"] != self.leases[name]["version"]:
            raise KubeApiError("conflict", status=409)
        self.leases[name] = {**body, "version": body["version"] + 1}
        return body


def cluster_of(name: str) -> DesiredCluster:
    address = f"10.0.0.{'abc'.index(name) + 1}"
    return DesiredCluster("id", "shop", name, True, "", address, 24, "10.0.0.1", Secret("t"), members=MEMBERS)


@pytest.fixture
def fake() -> FakeApi:
    return FakeApi()


@pytest.fixture
def api(fake: FakeApi) -> KubeApi:
    return cast("KubeApi", fake)


async def test_one_at_a_time_and_the_next_when_its_api_is_back(api: KubeApi) -> None:
    a, b = Turns(), Turns()
    assert await a.wait_for(api, cluster_of("a"), ALL_READY) == ""
    assert await a.wait_for(api, cluster_of("a"), ALL_READY) == ""
    assert await b.wait_for(api, cluster_of("b"), ALL_READY) == "a"
    # A daemon that was killed in between ends what the former one began.
    await b.end(api, "b")
    await Turns().end(api, "a")
    assert await b.wait_for(api, cluster_of("b"), ALL_READY) == ""


async def test_nobody_restarts_while_another_server_is_not_ready(api: KubeApi, fake: FakeApi) -> None:
    seen = [*ALL_READY[:2], replace(ALL_READY[2], is_ready=False)]
    assert await Turns().wait_for(api, cluster_of("a"), seen) == "c"
    assert fake.leases == {}
    assert await Turns().wait_for(api, cluster_of("c"), seen) == ""


async def test_nobody_waits_for_a_server_that_has_not_joined_yet(api: KubeApi) -> None:
    seen = [*ALL_READY[:2], replace(ALL_READY[2], is_ready=False, is_removed=True)]
    assert await Turns().wait_for(api, cluster_of("a"), seen) == ""


async def test_who_is_alone_or_has_no_api_waits_for_nobody(api: KubeApi, fake: FakeApi) -> None:
    assert await Turns().wait_for(api, replace(cluster_of("a"), members=MEMBERS[:1]), ()) == ""
    assert await Turns().wait_for(None, cluster_of("a"), ()) == ""
    fake.is_away = True
    assert await Turns().wait_for(api, cluster_of("a"), ALL_READY) == ""
    turns = Turns()
    await turns.end(api, "a")
    fake.is_away = False
    assert await turns.wait_for(api, cluster_of("a"), ALL_READY) == ""


def test_what_is_ordered_of_one_server_has_its_order_already() -> None:
    record = ClusterRecord(id="id", node_name="a", is_server=True, program="/k3s", done=OrdersDone(rotate_token=1))
    same = replace(cluster_of("a"), orders=ClusterOrders(rotate_token=1))
    assert not is_own_business(same, record, "/k3s")
    assert is_own_business(same, record, "/newer")
    assert is_own_business(replace(same, orders=ClusterOrders(rotate_token=2)), record, "/k3s")
    assert is_own_business(replace(same, orders=ClusterOrders(rotate_certificates=1)), record, "/k3s")
    assert is_own_business(replace(same, is_server=False), record, "/k3s")
