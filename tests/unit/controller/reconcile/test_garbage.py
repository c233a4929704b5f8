"""Owners and what they own; namespaces and what is in them; old events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from eaves.controller.objects import Objects
from eaves.controller.reconcile.oldevents import EventSweeper
from eaves.testing.asgi import AsgiClient
from eaves.testing.objects import make_edgenode, make_volume, make_volume_snapshot
from eaves.testing.operator_api import ADMIN_TOKEN, ApiBench, open_api

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
SPACES = "/api/v1/namespaces"
MERGE = "application/merge-patch+json"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[ApiBench]:
    async with open_api(tmp_path, reconcilers=True) as bench:
        yield bench


@pytest.fixture
def admin(bench: ApiBench) -> AsgiClient:
    return AsgiClient(bench.api, ADMIN_TOKEN)


async def create(admin: AsgiClient, name: str, *owners: Any, path: str = CONFIGMAPS, **metadata: Any) -> Any:
    references = [
        {
            "apiVersion": owner.get("apiVersion", "v1"),
            "kind": owner.get("kind", "ConfigMap"),
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": True,
        }
        for owner in owners
    ]
    body = {"metadata": {"name": name, "ownerReferences": references, **metadata}}
    answer = await admin.call("POST", path, body)
    assert answer.status == 201, answer.body.decode()
    return answer.json()


async def wait_gone(admin: AsgiClient, path: str) -> None:
    """Wait by a watch until the object at ``path`` is gone."""
    collection, _, name = path.rpartition("/")
    listed = await admin.get(collection, fieldSelector=f"metadata.name={name}")
    if not listed["items"]:
        return
    query = {"fieldSelector": f"metadata.name={name}", "resourceVersion": listed["metadata"]["resourceVersion"]}
    async with admin.open("GET", collection, None, watch="1", **query) as stream:
        while (await stream.read_event())["type"] != "DELETED":
            pass


async def wait_changed(admin: AsgiClient, obj: Any, path: str = CONFIGMAPS) -> Any:
    """The next version of the object."""
    meta = obj["metadata"]
    query = {"fieldSelector": f"metadata.name={meta['name']}", "resourceVersion": meta["resourceVersion"]}
    async with admin.open("GET", path, None, watch="1", **query) as stream:
        return (await stream.read_event())["object"]


async def test_in_the_background_owned_objects_follow(admin: AsgiClient) -> None:
    owner = await create(admin, "owner")
    child = await create(admin, "child", owner)
    await create(admin, "grandchild", child)
    assert (await admin.call("DELETE", f"{CONFIGMAPS}/owner")).status == 200
    await wait_gone(admin, f"{CONFIGMAPS}/child")
    await wait_gone(admin, f"{CONFIGMAPS}/grandchild")


async def test_in_the_foreground_the_owner_goes_last(admin: AsgiClient) -> None:
    owner = await create(admin, "owner")
    child = await create(admin, "child", owner, finalizers=["a.b/hold"])
    held = (await admin.call("DELETE", f"{CONFIGMAPS}/owner", {"propagationPolicy": "Foreground"})).json()
    assert held["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert (await wait_changed(admin, child))["metadata"]["deletionTimestamp"]
    assert (await admin.call("GET", f"{CONFIGMAPS}/owner")).status == 200
    await admin.call("PATCH", f"{CONFIGMAPS}/child", {"metadata": {"finalizers": None}}, content_type=MERGE)
    await wait_gone(admin, f"{CONFIGMAPS}/owner")


async def test_orphans_forget_their_owner(admin: AsgiClient) -> None:
    owner = await create(admin, "owner")
    child = await create(admin, "child", owner)
    await admin.call("DELETE", f"{CONFIGMAPS}/owner", {"propagationPolicy": "Orphan"})
    await wait_gone(admin, f"{CONFIGMAPS}/owner")
    child = await admin.get(f"{CONFIGMAPS}/child")
    assert "ownerReferences" not in child["metadata"]
    assert "deletionTimestamp" not in child["metadata"]


async def test_one_owner_left_keeps_an_object(admin: AsgiClient) -> None:
    one, two = await create(admin, "one"), await create(admin, "two")
    child = await create(admin, "child", one, two)
    await admin.call("DELETE", f"{CONFIGMAPS}/one")
    changed = await wait_changed(admin, child)
    assert [each["name"] for each in changed["metadata"]["ownerReferences"]] == ["two"]


async def test_an_owner_that_never_was_takes_the_object_along(admin: AsgiClient) -> None:
    ghost = {"metadata": {"name": "ghost", "uid": "00000000-0000-4000-8000-000000000000"}}
    await create(admin, "child", ghost)
    await wait_gone(admin, f"{CONFIGMAPS}/child")


async def test_nodes_and_unknown_kinds_can_own(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_edgenode())
    node = await admin.get("/api/v1/nodes/store-17")
    await create(admin, "of-node", node)
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "uid": "1"}}
    kept = await create(admin, "of-widget", widget)
    await admin.call("DELETE", "/api/v1/nodes/store-17")
    await wait_gone(admin, f"{CONFIGMAPS}/of-node")
    assert await admin.get(f"{CONFIGMAPS}/of-widget") == kept


async def test_each_namespace_gets_its_default_network_again_and_again(admin: AsgiClient) -> None:
    await admin.call("POST", SPACES, {"metadata": {"name": "x"}})
    path = "/apis/eaves.dev/v1alpha1/namespaces/x/networks"
    async with admin.open("GET", path, watch="1") as stream:
        first = (await stream.read_event())["object"]
        assert first["metadata"]["name"] == "default"
        assert first["spec"]["subnet"].endswith("/24")
        await admin.call("DELETE", f"{path}/default")
        assert (await stream.read_event())["type"] == "DELETED"
        assert (await stream.read_event())["type"] == "ADDED"


async def test_a_namespace_goes_with_its_contents(admin: AsgiClient) -> None:
    await admin.call("POST", SPACES, {"metadata": {"name": "x"}})
    await create(admin, "c", path=f"{SPACES}/x/configmaps")
    assert (await admin.call("DELETE", f"{SPACES}/x")).status == 200
    await wait_gone(admin, f"{SPACES}/x")
    assert (await admin.get(f"{SPACES}/x/configmaps"))["items"] == []
    assert (await admin.get("/apis/eaves.dev/v1alpha1/namespaces/x/networks"))["items"] == []


async def test_a_namespace_waits_for_a_volume_to_retain(bench: ApiBench, admin: AsgiClient) -> None:
    created = await admin.call("POST", SPACES, {"metadata": {"name": "x"}})
    assert created.status == 201
    await bench.put(make_volume("data", namespace="x", reclaimPolicy="Retain"))
    deleted = (await admin.call("DELETE", f"{SPACES}/x")).json()
    waiting = await wait_changed(admin, deleted, SPACES)
    conditions = {each["type"]: each["message"] for each in waiting["status"]["conditions"]}
    assert "volumes.eaves.dev has 1 resource instances" in conditions["NamespaceContentRemaining"]
    assert "Retain" in conditions["NamespaceDeletionContentFailure"]
    path = "/apis/eaves.dev/v1alpha1/namespaces/x/volumes/data"
    await admin.call("PATCH", path, {"spec": {"reclaimPolicy": "Delete"}}, content_type=MERGE)
    await wait_gone(admin, f"{SPACES}/x")


async def test_a_namespace_waits_for_a_snapshot_to_retain(bench: ApiBench, admin: AsgiClient) -> None:
    assert (await admin.call("POST", SPACES, {"metadata": {"name": "x"}})).status == 201
    await bench.put(make_volume_snapshot("daily", namespace="x", retain=True))
    deleted = (await admin.call("DELETE", f"{SPACES}/x")).json()
    waiting = await wait_changed(admin, deleted, SPACES)
    conditions = {each["type"]: each["message"] for each in waiting["status"]["conditions"]}
    assert "volumesnapshots.eaves.dev has 1 resource instances" in conditions["NamespaceContentRemaining"]
    assert "spec.retain" in conditions["NamespaceDeletionContentFailure"]
    path = "/apis/eaves.dev/v1alpha1/namespaces/x/volumesnapshots/daily"
    await admin.call("PATCH", path, {"spec": {"retain": False}}, content_type=MERGE)
    await wait_gone(admin, f"{SPACES}/x")


async def test_events_are_kept_for_an_hour_after_they_were_last_seen(bench: ApiBench, admin: AsgiClient) -> None:
    def event(name: str, last: str) -> Any:
        return {
            "metadata": {"name": name},
            "involvedObject": {"kind": "App", "namespace": "default", "name": "web"},
            "lastTimestamp": last,
        }

    now = 1_795_550_400.0
    events = "/api/v1/namespaces/default/events"
    for name, last in (("old", "2026-11-24T18:59:59Z"), ("young", "2026-11-24T19:00:01Z")):
        body = event(name, last)
        assert (await admin.call("POST", events, body)).status == 201
        obj = await admin.get(f"{events}/{name}")
        obj["metadata"]["creationTimestamp"] = "2026-11-24T18:00:00Z"
        await bench.put({**obj, "apiVersion": "v1", "kind": "Event"})
    assert await EventSweeper(Objects(bench.store), lambda: now).sweep() == 1
    assert [item["metadata"]["name"] for item in (await admin.get(events))["items"]] == ["young"]


async def test_collection_starts_from_what_is_there(tmp_path: Path) -> None:
    async with open_api(tmp_path) as bench:
        admin = AsgiClient(bench.api, ADMIN_TOKEN)
        owner = await create(admin, "owner")
        await create(admin, "child", owner)
        await admin.call("DELETE", f"{CONFIGMAPS}/owner")
        assert (await admin.call("GET", f"{CONFIGMAPS}/child")).status == 200
    async with asyncio.timeout(20), open_api(tmp_path, reconcilers=True) as bench:
        await wait_gone(AsgiClient(bench.api, ADMIN_TOKEN), f"{CONFIGMAPS}/child")
