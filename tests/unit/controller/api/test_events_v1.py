"""Events by the group events.k8s.io, as newer recorders and k9s speak of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from eaves.kinds import event, event_v1
from eaves.kinds.event_v1 import project_event, unproject_event
from eaves.testing.asgi import Answer, AsgiClient
from eaves.testing.operator_api import USER_TOKEN, ApiBench

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
CORE_OF_BODY = {**unproject_event(BODY), "metadata": {"name": "web.1", "namespace": "default"}}
"""The same event in the core group's form."""
SERIES = {"count": 2, "lastObservedTime": "2026-11-28T12:00:09.000000Z"}
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
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


async def apply(admin: AsgiClient, path: str, body: Any, manager: str = "one", **query: Any) -> Any:
    return await admin.call("PATCH", path, body, content_type=APPLY, fieldManager=manager, **query)


def owned(answer: Answer) -> dict[tuple[str, str, str], Any]:
    """Manager, operation and version → its fields."""
    entries = answer.json()["metadata"].get("managedFields") or ()
    return {(entry["manager"], entry["operation"], entry["apiVersion"]): entry["fieldsV1"] for entry in entries}


async def test_an_apply_makes_and_changes_the_core_groups_event(admin: AsgiClient) -> None:
    made = await apply(admin, f"{EVENTS}/web.1", BODY)
    assert (made.status, made.json()["apiVersion"], made.json()["note"]) == (201, "events.k8s.io/v1", "two of it")
    fields: dict[str, Any] = {f"f:{name}": {} for name in BODY if name not in ("apiVersion", "kind", "metadata")}
    assert owned(made) == {("one", "Apply", "events.k8s.io/v1"): fields}
    again = await apply(admin, f"{EVENTS}/web.1", {**BODY, "series": SERIES})
    assert (again.status, again.json()["series"]) == (200, SERIES)
    core = await admin.get(f"{CORE}/web.1")
    assert (core["message"], core["series"]) == ("two of it", SERIES)
    same = await apply(admin, f"{EVENTS}/web.1", {**BODY, "series": SERIES})
    assert same.json()["metadata"]["resourceVersion"] == core["metadata"]["resourceVersion"]


async def test_an_apply_to_try_stores_nothing(admin: AsgiClient) -> None:
    assert (await apply(admin, f"{EVENTS}/web.1", BODY, dryRun="All")).status == 201
    assert (await admin.call("GET", f"{CORE}/web.1")).status == 404


async def test_what_an_event_said_once_no_apply_changes(admin: AsgiClient) -> None:
    await apply(admin, f"{EVENTS}/web.1", BODY)
    changed = await apply(admin, f"{EVENTS}/web.1", {**BODY, "note": "three of it"})
    assert (changed.status, changed.json()["details"]["causes"][0]["field"]) == (422, "message")
    new = await apply(admin, f"{EVENTS}/web.2", {**BODY, "metadata": {"name": "web.2"}, "type": "Odd"})
    assert (new.status, new.json()["details"]["causes"][0]["field"]) == (422, "type")


@pytest.mark.parametrize(
    ("made_by", "made_as", "applied_by", "applied_as", "conflict"),
    [
        (EVENTS, BODY, EVENTS, {**BODY, "note": "x"}, 'conflict with "maker" using events.k8s.io/v1: .note'),
        (CORE, CORE_OF_BODY, EVENTS, {**BODY, "note": "x"}, 'conflict with "maker" using v1: .message'),
        (EVENTS, BODY, CORE, {**CORE_OF_BODY, "message": "x"}, 'conflict with "maker" using events.k8s.io/v1: .note'),
    ],
)
async def test_a_conflict_names_the_field_as_its_owner_does(
    admin: AsgiClient, made_by: str, made_as: Any, applied_by: str, applied_as: Any, conflict: str
) -> None:
    assert (await admin.call("POST", made_by, made_as, fieldManager="maker")).status == 201
    refused = await apply(admin, f"{applied_by}/web.1", applied_as)
    assert (refused.status, refused.json()["message"]) == (409, f"Apply failed with 1 conflict: {conflict}")


async def test_who_takes_a_field_by_one_group_takes_it_from_owners_by_the_other(admin: AsgiClient) -> None:
    await admin.call("POST", EVENTS, BODY, fieldManager="maker")
    forced = await apply(admin, f"{CORE}/web.1", {**CORE_OF_BODY, "message": "x"}, "taker", force="true")
    assert forced.status == 200, forced.body
    left = owned(forced)["maker", "Update", "events.k8s.io/v1"]
    assert "f:note" not in left
    # What both say the same, both own, each by its own names.
    assert {"f:regarding", "f:reportingController"} <= left.keys()
    assert {"f:message", "f:involvedObject", "f:reportingComponent"} <= owned(forced)["taker", "Apply", "v1"].keys()


async def test_an_update_by_one_group_takes_from_owners_by_the_other(admin: AsgiClient) -> None:
    await admin.call("POST", EVENTS, BODY, fieldManager="maker")
    patched = await admin.call("PATCH", f"{CORE}/web.1", {"message": "x"}, content_type=MERGE, fieldManager="taker")
    assert "f:note" not in owned(patched)["maker", "Update", "events.k8s.io/v1"]
    assert owned(patched)["taker", "Update", "v1"] == {"f:message": {}}


async def test_an_applier_drops_by_one_group_what_it_applied_by_the_other(admin: AsgiClient) -> None:
    await apply(admin, f"{CORE}/web.1", {**CORE_OF_BODY, "series": SERIES})
    dropped = await apply(admin, f"{EVENTS}/web.1", BODY)
    assert dropped.status == 200, dropped.body
    assert "series" not in dropped.json()
    assert list(owned(dropped)) == [("one", "Apply", "events.k8s.io/v1")]


async def test_a_put_makes_an_event_too(admin: AsgiClient) -> None:
    made = await admin.call("PUT", f"{EVENTS}/web.1", BODY, fieldManager="one")
    assert (made.status, list(owned(made))) == (201, [("one", "Update", "events.k8s.io/v1")])
    assert (await admin.get(f"{CORE}/web.1"))["message"] == "two of it"
    assert (await admin.call("PUT", f"{EVENTS}/web.1", BODY)).status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "message"),
    [
        ("GET", f"{EVENTS}/x", None, 404, 'events.events.k8s.io "x" not found'),
        ("DELETE", f"{EVENTS}/x", None, 404, 'events.events.k8s.io "x" not found'),
        ("PATCH", f"{EVENTS}/x", {}, 404, 'events.events.k8s.io "x" not found'),
        ("POST", EVENTS, BODY, 409, 'events.events.k8s.io "web.1" already exists'),
        (
            "PUT",
            f"{EVENTS}/x",
            {**BODY, "metadata": {"name": "x", "uid": "u"}},
            409,
            "Operation cannot be fulfilled on "
            'events.events.k8s.io "x": Precondition failed: UID in precondition: u, UID in object meta: ',
        ),
    ],
)
async def test_refusals_name_the_group_that_was_asked(
    admin: AsgiClient, method: str, path: str, body: Any, code: int, message: str
) -> None:
    await admin.call("POST", EVENTS, BODY)
    content_type = MERGE if method == "PATCH" else "application/json"
    refused = await admin.call(method, path, body, content_type=content_type)
    assert (refused.status, refused.json()["message"]) == (code, message)
    assert refused.json()["details"]["group"] == "events.k8s.io"


async def test_a_missing_namespace_is_told_before_what_is_wrong_with_the_event(admin: AsgiClient) -> None:
    there = EVENTS.replace("default", "nowhere")
    for method, path in (("POST", there), ("PUT", f"{there}/e"), ("PATCH", f"{there}/e")):
        body = {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}}
        kind = APPLY if method == "PATCH" else "application/json"
        refused = await admin.call(method, path, body, content_type=kind, fieldManager="one")
        assert (refused.status, refused.json()["details"]) == (404, {"name": "nowhere", "kind": "namespaces"})


async def test_who_makes_an_event_by_an_apply_needs_the_right_to_create_in_that_group(
    bench: ApiBench, admin: AsgiClient
) -> None:
    jane = AsgiClient(bench.api, USER_TOKEN)

    async def allow(verbs: list[str]) -> None:
        rules = [{"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": verbs}]
        role = {"metadata": {"name": "r"}, "rules": rules}
        assert (await admin.call("PUT", f"{RBAC}/roles/r", role)).status in (200, 201)

    await allow(["patch"])
    binding = {
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}],
    }
    assert (await admin.call("POST", f"{RBAC}/rolebindings", binding)).status == 201
    said = 'User "jane" cannot create resource "events" in API group "events.k8s.io" in the namespace "default"'
    refused = await until(lambda: apply(jane, f"{EVENTS}/web.1", BODY), lambda answer: said in answer.json()["message"])
    assert refused.status == 403
    await allow(["patch", "create"])
    await until(lambda: apply(jane, f"{EVENTS}/web.1", BODY), lambda answer: answer.status == 201)


async def until(ask: Callable[[], Awaitable[Answer]], is_right: Callable[[Answer], bool]) -> Answer:
    """Ask again until what was written a moment ago counts."""
    async with asyncio.timeout(20):
        answer = await ask()
        while not is_right(answer):
            answer = await ask()
        return answer


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
