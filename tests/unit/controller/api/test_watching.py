"""Watches: initial state, changes through selectors, bookmarks, ends, and falling out of the kept history."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from eaves.store.sqlite.objects import ObjectOptions, SqliteStore
from eaves.testing.asgi import AsgiClient, AsgiStream
from eaves.testing.operator_api import ADMIN_TOKEN, ApiBench, open_api

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"


async def create(admin: AsgiClient, name: str, **labels: str) -> Any:
    answer = await admin.call("POST", CONFIGMAPS, {"metadata": {"name": name, "labels": labels}})
    assert answer.status == 201
    return answer.json()


async def label(admin: AsgiClient, name: str, **labels: str | None) -> Any:
    patch = {"metadata": {"labels": labels}}
    answer = await admin.call("PATCH", f"{CONFIGMAPS}/{name}", patch, content_type="application/merge-patch+json")
    assert answer.status == 200
    return answer.json()


def summary(event: Any) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"]["name"]


async def version(admin: AsgiClient) -> str:
    return str((await admin.get(CONFIGMAPS))["metadata"]["resourceVersion"])


async def test_without_a_version_the_state_comes_first(admin: AsgiClient) -> None:
    await create(admin, "a")
    async with admin.open("GET", CONFIGMAPS, watch="1") as stream:
        assert stream.status == 200
        assert summary(await stream.read_event()) == ("ADDED", "a")
        await create(admin, "b")
        assert summary(await stream.read_event()) == ("ADDED", "b")
        changed = await label(admin, "b", x="y")
        event = await stream.read_event()
        assert summary(event) == ("MODIFIED", "b")
        assert event["object"] == changed
        await admin.call("DELETE", f"{CONFIGMAPS}/a")
        event = await stream.read_event()
        assert summary(event) == ("DELETED", "a")
        assert int(event["object"]["metadata"]["resourceVersion"]) > int(changed["metadata"]["resourceVersion"])


async def test_from_a_version_only_later_changes_come(admin: AsgiClient) -> None:
    await create(admin, "a")
    start = await version(admin)
    await create(admin, "b")
    async with admin.open("GET", CONFIGMAPS, watch="true", resourceVersion=start) as stream:
        assert summary(await stream.read_event()) == ("ADDED", "b")


async def test_a_write_that_changes_nothing_sends_nothing(admin: AsgiClient) -> None:
    first = await create(admin, "a", x="y")
    async with admin.open("GET", CONFIGMAPS, watch="1", resourceVersion=await version(admin)) as stream:
        same = await label(admin, "a", x="y")
        assert same == first
        await label(admin, "a", x="z")
        assert (await stream.read_event())["object"]["metadata"]["labels"] == {"x": "z"}


async def test_selectors_turn_coming_and_going_into_added_and_deleted(admin: AsgiClient) -> None:
    await create(admin, "a", tier="db")
    query: dict[str, Any] = {"watch": "1", "labelSelector": "tier=web", "resourceVersion": await version(admin)}
    async with admin.open("GET", CONFIGMAPS, **query) as stream:
        await create(admin, "other")
        await label(admin, "a", tier="web")
        assert summary(await stream.read_event()) == ("ADDED", "a")
        await label(admin, "a", note="1")
        assert summary(await stream.read_event()) == ("MODIFIED", "a")
        left = await label(admin, "a", tier="db")
        event = await stream.read_event()
        assert summary(event) == ("DELETED", "a")
        assert event["object"]["metadata"]["labels"]["tier"] == "web"
        assert event["object"]["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]
        await label(admin, "a", tier="web")
        assert summary(await stream.read_event()) == ("ADDED", "a")
        await admin.call("DELETE", f"{CONFIGMAPS}/a")
        assert summary(await stream.read_event()) == ("DELETED", "a")


async def test_by_name(admin: AsgiClient) -> None:
    await create(admin, "a")
    async with admin.open("GET", CONFIGMAPS, watch="1", fieldSelector="metadata.name=b") as stream:
        await create(admin, "c")
        await create(admin, "b")
        assert summary(await stream.read_event()) == ("ADDED", "b")
    async with admin.open("GET", "/api/v1/watch/namespaces/default/configmaps/b") as stream:
        assert summary(await stream.read_event()) == ("ADDED", "b")


async def test_the_initial_events_end_with_an_annotated_bookmark(admin: AsgiClient) -> None:
    await create(admin, "a")
    query: dict[str, Any] = {
        "watch": "1",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }
    async with admin.open("GET", CONFIGMAPS, **query) as stream:
        assert summary(await stream.read_event()) == ("ADDED", "a")
        bookmark = await stream.read_event()
        assert bookmark["type"] == "BOOKMARK"
        assert bookmark["object"]["kind"] == "ConfigMap"
        assert bookmark["object"]["metadata"] == {
            "resourceVersion": await version(admin),
            "annotations": {"k8s.io/initial-events-end": "true"},
        }
        await create(admin, "b")
        assert summary(await stream.read_event()) == ("ADDED", "b")


async def test_no_initial_events_and_no_version_means_only_new_ones(admin: AsgiClient) -> None:
    await create(admin, "a")
    query: dict[str, Any] = {"watch": "1", "sendInitialEvents": "false", "resourceVersionMatch": "NotOlderThan"}
    async with admin.open("GET", CONFIGMAPS, **query) as stream:
        reading = asyncio.create_task(stream.read_event())
        for n in range(1000):
            # The watch may begin a moment after its header, so changes go on until it shows one.
            await create(admin, f"new{n}")
            if reading.done():
                break
            await asyncio.sleep(0)
        kind, name = summary(await reading)
        assert (kind, name[:3]) == ("ADDED", "new")


@pytest.mark.parametrize(
    "query",
    [
        {"sendInitialEvents": "true"},
        {"sendInitialEvents": "true", "resourceVersionMatch": "Exact"},
        {"resourceVersionMatch": "NotOlderThan", "resourceVersion": "1"},
        {"continue": "abc"},
    ],
)
async def test_watch_options_that_make_no_sense(admin: AsgiClient, query: dict[str, Any]) -> None:
    assert (await admin.call("GET", CONFIGMAPS, watch="1", **query)).status == 422


async def test_a_watch_ends_at_its_time_with_a_bookmark(admin: AsgiClient) -> None:
    start = await version(admin)
    stream = admin.open(
        "GET", CONFIGMAPS, watch="1", resourceVersion=start, timeoutSeconds="1", allowWatchBookmarks="true"
    )
    await create(admin, "a")
    assert summary(await stream.read_event()) == ("ADDED", "a")
    assert (await stream.read_event())["type"] == "BOOKMARK"
    assert (await stream.read_all()).body == b""


async def test_bookmarks_come_while_others_are_written(admin: AsgiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eaves.controller.api.watching.BOOKMARK_INTERVAL_S", 0.05)
    query: dict[str, Any] = {"watch": "1", "resourceVersion": await version(admin), "allowWatchBookmarks": "true"}
    async with admin.open("GET", CONFIGMAPS, labelSelector="never=true", **query) as stream:
        created = await create(admin, "a")
        bookmark = await stream.read_event()
        while int(bookmark["object"]["metadata"]["resourceVersion"]) < int(created["metadata"]["resourceVersion"]):
            bookmark = await stream.read_event()
        assert bookmark["type"] == "BOOKMARK"


async def test_a_version_that_is_gone_is_an_error_event(tmp_path: Path) -> None:
    async with open_api(tmp_path, options=ObjectOptions(history_revisions=2)) as bench:
        admin = AsgiClient(bench.api, ADMIN_TOKEN)
        for n in range(5):
            await create(admin, f"a{n}")
        assert isinstance(bench.store, SqliteStore)
        store = bench.store
        await store.compact(await store.revision())
    async with open_api(tmp_path) as bench:
        admin = AsgiClient(bench.api, ADMIN_TOKEN)
        answer = await admin.call("GET", CONFIGMAPS, watch="1", resourceVersion="1")
        assert answer.status == 200
        event = answer.json()
        assert event["type"] == "ERROR"
        assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")


async def test_tables_have_columns_in_the_first_event_only(admin: AsgiClient) -> None:
    await create(admin, "a")
    async with admin.open("GET", CONFIGMAPS, headers={"accept": TABLE}, watch="1") as stream:
        first = await stream.read_event()
        assert [column["name"] for column in first["object"]["columnDefinitions"]] == ["Name", "Data", "Age"]
        await create(admin, "b")
        second = await stream.read_event()
        assert second["object"]["columnDefinitions"] is None
        assert second["object"]["rows"][0]["cells"][0] == "b"


async def test_the_end_bookmark_of_a_table_carries_the_annotation_in_its_row(admin: AsgiClient) -> None:
    query: dict[str, Any] = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }
    async with admin.open("GET", CONFIGMAPS, headers={"accept": TABLE}, watch="1", **query) as stream:
        bookmark = await stream.read_event()
        assert bookmark["object"]["kind"] == "Table"
        row = bookmark["object"]["rows"][0]["object"]
        assert row["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_partial_metadata(admin: AsgiClient) -> None:
    await create(admin, "a", x="y")
    async with admin.open("GET", CONFIGMAPS, headers={"accept": PARTIAL}, watch="1") as stream:
        event = await stream.read_event()
        assert event["object"]["kind"] == "PartialObjectMetadata"
        assert event["object"]["metadata"]["labels"] == {"x": "y"}


async def test_a_yaml_watch_is_406(admin: AsgiClient) -> None:
    answer = await admin.call("GET", CONFIGMAPS, headers={"accept": "application/yaml"}, watch="1")
    assert answer.status == 406


async def test_a_name_with_watch_is_the_plain_object(admin: AsgiClient) -> None:
    created = await create(admin, "a")
    assert (await admin.get(f"{CONFIGMAPS}/a", watch="1")) == created


async def test_all_watchers_of_one_write_see_it(admin: AsgiClient) -> None:
    start = await version(admin)
    streams: list[AsgiStream] = [admin.open("GET", CONFIGMAPS, watch="1", resourceVersion=start) for _ in range(50)]
    await create(admin, "a")
    for stream in streams:
        assert summary(await stream.read_event()) == ("ADDED", "a")
    for stream in streams:
        await stream.close()


async def test_a_client_that_goes_leaves_no_watcher_behind(bench: ApiBench, admin: AsgiClient) -> None:
    before = {task.get_name() for task in asyncio.all_tasks()}
    async with admin.open("GET", CONFIGMAPS, watch="1") as stream:
        assert stream.status == 200
    assert {task.get_name() for task in asyncio.all_tasks()} <= before


async def test_a_stopping_server_ends_watches_well(bench: ApiBench, admin: AsgiClient) -> None:
    stream = admin.open("GET", CONFIGMAPS, watch="1")
    await stream.wait_started()
    bench.api.stop()
    assert (await stream.read_all()).body == b""
