"""Leases: stored ones of clients that elect a leader, and the views of nodes beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from eaves.controller.api.leases import merge_pages, merge_watches
from eaves.kinds import lease
from eaves.store.abc import Change, ChangeType, Key, Page, Progress, StoredObject
from eaves.testing.asgi import AsgiClient
from eaves.testing.objects import make_edgenode
from eaves.testing.operator_api import ApiBench

ALL = "/apis/coordination.k8s.io/v1/leases"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
DEFAULT = LEASES.format("default")
NODES = LEASES.format(lease.NAMESPACE)
BODY = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "operator", "namespace": "default"},
    "spec": {
        "holderIdentity": "one",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-11-28T12:00:00.000000Z",
        "renewTime": "2026-11-28T12:00:00.000000Z",
        "leaseTransitions": 0,
    },
}


async def test_a_leader_is_elected_once(bench: ApiBench, admin: AsgiClient) -> None:
    first = await admin.call("POST", DEFAULT, BODY)
    assert first.status == 201
    assert (await admin.call("POST", DEFAULT, BODY)).status == 409
    held = first.json()
    held["spec"]["renewTime"] = "2026-11-28T12:00:05.123456Z"
    renewed = await admin.call("PUT", f"{DEFAULT}/operator", held)
    assert (renewed.status, renewed.json()["spec"]["renewTime"]) == (200, "2026-11-28T12:00:05.123456Z")
    held["spec"]["holderIdentity"] = "two"
    assert (await admin.call("PUT", f"{DEFAULT}/operator", held)).status == 409, "its version is not the newest"
    assert (await admin.get(f"{DEFAULT}/operator"))["spec"]["holderIdentity"] == "one"


@pytest.mark.parametrize(("field", "value"), [("leaseDurationSeconds", 0), ("leaseTransitions", -1)])
async def test_impossible_leases_name_their_field(admin: AsgiClient, field: str, value: Any) -> None:
    answer = await admin.call("POST", DEFAULT, {**BODY, "spec": {field: value}})
    assert answer.status == 422
    assert [cause["field"] for cause in answer.json()["details"]["causes"]] == [f"spec.{field}"]


async def test_leases_of_nodes_are_read_and_never_written(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_edgenode())
    assert (await admin.get(f"{NODES}/store-17"))["spec"]["holderIdentity"] == "store-17"
    for method, path in (("POST", NODES), ("PUT", f"{NODES}/store-17"), ("DELETE", f"{NODES}/store-17")):
        body = {**BODY, "metadata": {"name": "store-17", "namespace": lease.NAMESPACE}} if method != "DELETE" else None
        answer = await admin.call(method, path, body)
        assert (answer.status, "views of EdgeNodes" in answer.json()["message"]) == (403, True)


async def test_all_namespaces_are_one_list_whatever_the_size_of_its_pages(bench: ApiBench, admin: AsgiClient) -> None:
    for name in ("store-1", "store-2", "store-3"):
        await bench.put(make_edgenode(name))
    for namespace in ("apps", "zoo"):
        created = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        assert (await admin.call("POST", "/api/v1/namespaces", created)).status == 201
    for namespace, name in (("apps", "a"), ("apps", "b"), ("zoo", "c")):
        body = {**BODY, "metadata": {"name": name, "namespace": namespace}}
        assert (await admin.call("POST", LEASES.format(namespace), body)).status == 201
    whole = [item["metadata"]["name"] for item in (await admin.get(ALL))["items"]]
    assert whole == ["a", "b", "store-1", "store-2", "store-3", "c"]
    for limit in range(1, 7):
        found: list[str] = []
        token = ""
        while True:
            page = await admin.get(ALL, limit=limit, **({"continue": token} if token else {}))
            found += [item["metadata"]["name"] for item in page["items"]]
            assert len(page["items"]) <= limit
            token = page["metadata"].get("continue", "")
            if not token:
                break
        assert found == whole, limit


def make_item(namespace: str, name: str, revision: int = 1) -> StoredObject:
    return StoredObject(Key("leases", namespace, name), "", revision, b"{}")


def test_pages_of_two_sources_keep_their_order() -> None:
    first = Page((make_item("a", "1"), make_item("z", "2")), 9, None)
    second = Page((make_item("m", "3"),), 9, None)
    merged = merge_pages(first, second, 2)
    assert [item.key.name for item in merged.items] == ["1", "3"]
    assert (merged.next_key, merged.remaining, merged.revision) == (("m", "3"), 1, 9)


async def test_progress_is_as_far_as_every_source_has_come() -> None:
    behind = asyncio.Event()

    async def fast() -> AsyncIterator[Change | Progress]:
        yield Change(ChangeType.ADDED, make_item("a", "1", 5), None)
        yield Progress(7)
        behind.set()
        await asyncio.Event().wait()

    async def slow() -> AsyncIterator[Change | Progress]:
        await behind.wait()
        yield Progress(6)
        await asyncio.Event().wait()

    watch = merge_watches(fast(), slow())
    found = [await anext(watch), await anext(watch)]
    assert [type(event).__name__ for event in found] == ["Change", "Progress"]
    assert found[1].revision == 6
    await watch.aclose()  # type: ignore[attr-defined]  # an async generator


async def test_error_of_a_source_is_the_watchs() -> None:
    async def broken() -> AsyncIterator[Change | Progress]:
        raise OSError("gone")
        yield Progress(1)

    async def quiet() -> AsyncIterator[Change | Progress]:
        await asyncio.Event().wait()
        yield Progress(1)

    with pytest.raises(OSError, match="gone"):
        await anext(merge_watches(broken(), quiet()))


async def test_a_watch_of_all_namespaces_sees_both(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_edgenode())
    async with admin.open("GET", ALL, watch="1") as stream:
        assert (await stream.read_event())["object"]["metadata"]["name"] == "store-17"
        await admin.call("POST", DEFAULT, BODY)
        event = await stream.read_event()
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "operator")
