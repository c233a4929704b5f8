"""Add-ons leave by what the cluster itself tells of them, whoever placed them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Any, cast

import pytest

from eaves.node.clusters import departures
from eaves.node.clusters.errors import KubeApiError
from eaves.node.clusters.kubeapi import KubeApi, Resource
from eaves.node.desired.cluster_model import ClusterAddOn
from eaves.node.observed_cluster import AddOnState, AddOnStatus

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\n"
GONE = ClusterAddOn("shop", "", "")
ADDONS = "/apis/k3s.cattle.io/v1/namespaces/kube-system/addons"
MARK = "objectset.rio.cattle.io"
KINDS = {
    "ConfigMap": ("v1", Resource("/api/v1", "configmaps", True)),
    "ClusterRole": (
        "rbac.authorization.k8s.io/v1",
        Resource("/apis/rbac.authorization.k8s.io/v1", "clusterroles", False),
    ),
    "Widget": ("example.org/v2", Resource("/apis/example.org/v2", "widgets", True)),
}


class FakeApi:
    """Objects by path. ``held``: paths of those that a finalizer holds; ``away``: collections that answer with this status."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.held: set[str] = set()
        self.away: dict[str, int] = {}
        self.limit: int | None = None
        """So many objects are deleted before the leader dies."""

    def add_addon(self, name: str) -> None:
        self.objects[f"{ADDONS}/{name}"] = {"metadata": {"name": name, "namespace": "kube-system"}}

    def add(
        self,
        kind: str,
        namespace: str,
        name: str,
        owner: str,
        by: str = "k3s.cattle.io/v1, Kind=Addon",
        hash_: str = "1",
    ) -> str:
        _, resource = KINDS[kind]
        metadata = {"name": name, "annotations": {f"{MARK}/owner-gvk": by, f"{MARK}/owner-name": owner}}
        if namespace:
            metadata["namespace"] = namespace
        path = resource.want_path(namespace, name)
        self.objects[path] = {"metadata": {**metadata, "labels": {f"{MARK}/hash": hash_}, "uid": path}}
        return path

    async def list(self, path: str, **query: str) -> AsyncIterator[dict[str, Any]]:
        if path in self.away:
            raise KubeApiError("no", status=self.away[path])
        start, _, plural = path.rpartition("/")
        for key, found in sorted(self.objects.items()):
            if key.startswith(f"{start}/") and f"/{plural}/" in key:
                yield found

    async def list_resources(self, verbs: Collection[str]) -> AsyncIterator[tuple[str, str, Resource]]:
        for kind, (version, resource) in KINDS.items():
            yield version, kind, resource

    async def find(self, path: str) -> dict[str, Any] | None:
        return self.objects.get(path)

    async def delete(self, path: str) -> bool:
        if path in self.held:
            self.objects[path]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            return True
        if self.limit is not None:
            if not self.limit:
                raise KubeApiError("the leader dies here")
            self.limit -= 1
        return self.objects.pop(path, None) is not None


@pytest.fixture
def api() -> FakeApi:
    """A cluster with add-on ``shop``, K3s's own, and what a chart made whose name looks like one of ours."""
    made = FakeApi()
    for name in ("coredns", "eaves-shop", "eaves-stays"):
        made.add_addon(name)
    made.add("ConfigMap", "till", "a", "eaves-shop")
    made.add("ClusterRole", "", "b", "eaves-shop")
    made.add("Widget", "till", "c", "eaves-shop")
    return made


async def run(api: FakeApi, *wanted: ClusterAddOn) -> list[AddOnStatus]:
    return await departures.take_round(cast(KubeApi, api), [ClusterAddOn("stays", "1", MAP % ("x", "till")), *wanted])


async def test_a_leader_that_never_placed_it_takes_all_of_it_away_and_nothing_else(api: FakeApi) -> None:
    others = {
        api.add("ConfigMap", "kube-system", "coredns", "coredns"),
        api.add("ConfigMap", "till", "x", "eaves-stays"),
        api.add("ConfigMap", "till", "chart", "eaves-shop", by="helm.cattle.io/v1, Kind=HelmChart"),
        f"{ADDONS}/coredns",
        f"{ADDONS}/eaves-stays",
    }
    assert await run(api, GONE) == []
    assert set(api.objects) == others
    assert await run(api, GONE) == [], "what is gone stays gone"


async def test_one_that_the_config_does_not_know_is_told_of_and_left_alone(api: FakeApi) -> None:
    """The config of a leader that is cut off from the controller may be an old one."""
    before = dict(api.objects)
    assert await run(api) == [AddOnStatus("shop", "", AddOnState.REMOVING)]
    assert api.objects == before


async def test_an_end_in_the_middle_is_taken_up_by_the_next_leader(api: FakeApi) -> None:
    for left in (2, 1, 0):
        api.limit = 1
        with pytest.raises(KubeApiError):
            await run(api, GONE)
        assert sum(f"{MARK}/owner-name" in str(found) for found in api.objects.values()) == left
        assert f"{ADDONS}/eaves-shop" in api.objects, "the record goes last"
        assert [status.name for status in await run(api)] == ["shop"]
    api.limit = None
    assert await run(api, GONE) == []
    assert f"{ADDONS}/eaves-shop" not in api.objects


async def test_what_a_finalizer_holds_is_told_until_it_is_gone(api: FakeApi) -> None:
    path = "/apis/example.org/v2/namespaces/till/widgets/c"
    api.held.add(path)
    expected = AddOnStatus("shop", "", AddOnState.REMOVING, "waits for Widget till/c to go")
    assert await run(api, GONE) == [expected]
    assert await run(api, GONE) == [expected]
    api.held.clear()
    del api.objects[path]
    assert await run(api, GONE) == []


async def test_what_another_add_on_names_now_is_left_to_it(api: FakeApi) -> None:
    moved = ClusterAddOn("moved", "2", MAP % ("a", "till"))
    assert await run(api, moved, GONE) == []
    assert "/api/v1/namespaces/till/configmaps/a" in api.objects
    assert "/apis/example.org/v2/namespaces/till/widgets/c" not in api.objects
    assert f"{ADDONS}/eaves-shop" not in api.objects


@pytest.mark.parametrize(("key_namespace", "namespace"), [("", "default"), ("default", "default")])
async def test_the_default_namespace_may_be_left_out(api: FakeApi, key_namespace: str, namespace: str) -> None:
    path = api.add("ConfigMap", namespace, "d", "eaves-shop")
    assert await run(api, ClusterAddOn("moved", "2", MAP % ("d", key_namespace or '""')), GONE) == []
    assert path in api.objects


async def test_nothing_is_forgotten_while_a_part_of_the_api_does_not_answer(api: FakeApi) -> None:
    api.away["/apis/example.org/v2/widgets"] = 500
    with pytest.raises(KubeApiError):
        await run(api, GONE)
    assert f"{ADDONS}/eaves-shop" in api.objects
    # A kind that is not served any more has no objects.
    api.away["/apis/example.org/v2/widgets"] = 404
    assert await run(api, GONE) == []
    api.away[ADDONS] = 404
    assert await run(api) == [], "K3s that has its Addons yet to define has none"
