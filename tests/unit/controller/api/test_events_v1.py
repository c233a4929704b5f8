"""Events by the group events.k8s.io, as newer recorders and k9s speak of them."""

from __future__ import annotations

import pytest

from eaves.kinds import event, event_v1
from eaves.kinds.event_v1 import project_event, unproject_event
from eaves.testing.asgi import AsgiClient

CORE = "/api/v1/namespaces/default/events"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
REGARDING = {"kind": "App", "namespace": "default", "name": "web", "apiVersion": "eaves.dev/v1alpha1"}
BODY = {
    "apiVersion": "events.k8s.io/v1",
    "kind": "Event",
    "metadata": {"name": "web.1", "namespace": "default"},
    "eventTime": "2026-11-28T12:00:00.000000Z",
    "reportingController": "shop.example/operator",
    "reportingInstance": "operator-1",
    "action": "Scaling",
    "reason": "Scaled",
    "regarding": REGARDING,
    "note": "two of it",
    "type": "Normal",
}
CORE_BODY = {
    "metadata": {"name": "web.2", "namespace": "default"},
    "involvedObject": REGARDING,
    "reason": "Pulled",
    "message": "pulled",
    "type": "Normal",
    "source": {"component": "node"},
    "firstTimestamp": "2026-11-28T12:00:00Z",
    "lastTimestamp": "2026-11-28T12:00:00Z",
    "count": 3,
}


async def test_what_a_recorder_writes_is_the_core_groups_event(admin: AsgiClient) -> None:
    made = await admin.call("POST", EVENTS, BODY)
    assert (made.status, made.json()["note"], made.json()["apiVersion"]) == (201, "two of it", "events.k8s.io/v1")
    core = await admin.get(f"{CORE}/web.1")
    assert (core["message"], core["involvedObject"], core["reportingComponent"]) == (
        "two of it",
        REGARDING,
        "shop.example/operator",
    )
    assert core["metadata"]["uid"] == made.json()["metadata"]["uid"]


async def test_a_series_is_patched_through(admin: AsgiClient) -> None:
    await admin.call("POST", EVENTS, BODY)
    series = {"series": {"count": 2, "lastObservedTime": "2026-11-28T12:00:09.000000Z"}}
    for kind in ("application/merge-patch+json", "application/strategic-merge-patch+json"):
        patched = await admin.call("PATCH", f"{EVENTS}/web.1", series, content_type=kind)
        assert (patched.status, patched.json()["series"]["count"]) == (200, 2)
    assert (await admin.get(f"{CORE}/web.1"))["series"]["count"] == 2


async def test_core_events_are_listed_watched_and_selected(admin: AsgiClient) -> None:
    async with admin.open("GET", EVENTS, watch="1") as stream:
        assert (await admin.call("POST", CORE, CORE_BODY)).status == 201
        event_ = await stream.read_event()
        assert event_["object"]["deprecatedCount"] == 3
    found = (await admin.get(EVENTS, fieldSelector="regarding.name=web,reason=Pulled"))["items"]
    assert [item["note"] for item in found] == ["pulled"]
    assert not (await admin.get(EVENTS, fieldSelector="regarding.name=other"))["items"]


async def test_table_is_the_core_groups(admin: AsgiClient) -> None:
    await admin.call("POST", CORE, CORE_BODY)
    form = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    ours = (await admin.call("GET", EVENTS, headers=form)).json()
    core = (await admin.call("GET", CORE, headers=form)).json()
    assert ours["columnDefinitions"] == core["columnDefinitions"]
    assert [row["cells"] for row in ours["rows"]] == [row["cells"] for row in core["rows"]]


async def test_update_and_delete(admin: AsgiClient) -> None:
    made = (await admin.call("POST", EVENTS, BODY)).json()
    made["series"] = {"count": 3, "lastObservedTime": "2026-01-01T00:00:03.000000Z"}
    updated = await admin.call("PUT", f"{EVENTS}/web.1", made)
    assert (updated.status, updated.json()["series"]["count"]) == (200, 3)
    assert (await admin.call("PUT", f"{EVENTS}/web.1", made)).status == 409
    assert (await admin.call("DELETE", f"{EVENTS}/web.1")).status == 200
    assert (await admin.call("GET", f"{CORE}/web.1")).status == 404


async def test_event_elsewhere_than_its_object_is_refused(admin: AsgiClient) -> None:
    body = {**BODY, "regarding": {**REGARDING, "namespace": "other"}}
    assert (await admin.call("POST", EVENTS, body)).status == 422


@pytest.mark.parametrize("name", sorted(event.RESOURCE.schema.properties))
def test_every_field_of_the_core_group_has_its_name(name: str) -> None:
    shown = project_event({name: "x"})
    assert set(shown) <= set(event_v1.RESOURCE.schema.properties) | {"apiVersion", "kind"}
    assert unproject_event(shown)[name] in ("x", "v1", "Event")
