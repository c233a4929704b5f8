"""Server-side apply over HTTP: create on apply, ownership, conflicts, removal, versions."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.testing.asgi import Answer, AsgiClient

APPS = "/apis/eaves.dev/v1alpha1/namespaces/default/apps"
SECRETS = "/api/v1/namespaces/default/secrets"
APPLY = "application/apply-patch+yaml"


def config(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "App",
        "metadata": {"name": "web"},
        "spec": {"nodeName": "n1", "image": "registry.example/web:1", **spec},
    }


async def apply(admin: AsgiClient, body: Any, manager: str = "one", **query: Any) -> Answer:
    return await admin.call("PATCH", f"{APPS}/web", body, content_type=APPLY, fieldManager=manager, **query)


def owners(obj: Any) -> dict[str, Any]:
    return {entry["manager"]: entry["fieldsV1"] for entry in obj["metadata"]["managedFields"]}


async def test_what_is_missing_is_created_and_defaults_belong_to_nobody(admin: AsgiClient) -> None:
    answer = await apply(admin, config())
    assert answer.status == 201
    obj = answer.json()
    assert obj["spec"]["restartPolicy"] == "Always"
    assert owners(obj) == {"one": {"f:spec": {"f:image": {}, "f:nodeName": {}}}}
    again = await apply(admin, config())
    assert (again.status, again.json()) == (200, obj)


async def test_conflicts_name_field_and_manager_and_can_be_forced(admin: AsgiClient) -> None:
    await apply(admin, config())
    answer = await apply(admin, config(image="registry.example/web:2"), "two")
    assert (answer.status, answer.json()["reason"]) == (409, "Conflict")
    (cause,) = answer.json()["details"]["causes"]
    assert cause == {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".spec.image"}
    forced = await apply(admin, config(image="registry.example/web:2"), "two", force="true")
    assert forced.json()["spec"]["image"] == "registry.example/web:2"
    assert "f:image" not in owners(forced.json())["one"]["f:spec"]


async def test_a_sole_owner_removes_by_not_saying(admin: AsgiClient) -> None:
    await apply(admin, config(env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]))
    await apply(admin, config(env=[{"name": "C", "value": "3"}]), "two")
    answer = await apply(admin, config(env=[{"name": "B", "value": "2"}]))
    assert [entry["name"] for entry in answer.json()["spec"]["env"]] == ["B", "C"]


async def test_an_apply_needs_a_manager_and_its_own_object(admin: AsgiClient) -> None:
    missing = await admin.call("PATCH", f"{APPS}/web", config(), content_type=APPLY)
    assert (missing.status, missing.json()["details"]["causes"][0]["field"]) == (422, "fieldManager")
    assert (await apply(admin, {**config(), "metadata": {"name": "other"}})).status == 400
    assert (await apply(admin, {**config(), "metadata": {"name": "web", "namespace": "x"}})).status == 400
    assert (await apply(admin, {**config(), "metadata": {"name": "web", "managedFields": [{}]}})).status == 400
    assert (await apply(admin, {**config(), "kind": "Volume"})).status == 400
    assert (await apply(admin, b"- a")).status == 400
    assert (await apply(admin, config(colour="red"))).status == 400


async def test_versions_are_optimistic_locks_besides_on_what_is_missing(admin: AsgiClient) -> None:
    body = {**config(), "metadata": {"name": "web", "resourceVersion": "77"}}
    assert (await apply(admin, body)).status == 201
    assert (await apply(admin, body)).status == 409


async def test_force_is_for_apply_alone(admin: AsgiClient) -> None:
    await apply(admin, config())
    answer = await admin.call("PATCH", f"{APPS}/web", {}, content_type="application/merge-patch+json", force="true")
    assert (answer.status, answer.json()["details"]["causes"][0]["field"]) == (422, "force")


async def test_status_is_applied_apart(admin: AsgiClient) -> None:
    body = {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "App",
        "metadata": {"name": "web"},
        "status": {"phase": "Running"},
    }
    path = f"{APPS}/web/status"
    missing = await admin.call("PATCH", path, body, content_type=APPLY, fieldManager="node")
    assert missing.status == 404
    await apply(admin, config())
    answer = await admin.call("PATCH", path, body, content_type=APPLY, fieldManager="node")
    assert answer.json()["status"] == {"phase": "Running"}
    (entry,) = [e for e in answer.json()["metadata"]["managedFields"] if e["manager"] == "node"]
    assert entry["subresource"] == "status"


async def test_string_data_of_a_secret_is_owned_as_such_and_repeats_do_nothing(admin: AsgiClient) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "hello"}}
    path = f"{SECRETS}/s"
    first = (await admin.call("PATCH", path, body, content_type=APPLY, fieldManager="one")).json()
    assert first["data"] == {"a": "aGVsbG8="}
    assert "f:stringData" in owners(first)["one"]
    second = (await admin.call("PATCH", path, body, content_type=APPLY, fieldManager="one")).json()
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


@pytest.mark.parametrize("dry_run", ["All"])
async def test_a_dry_run_creates_nothing(admin: AsgiClient, dry_run: str) -> None:
    assert (await apply(admin, config(), dryRun=dry_run)).status == 201
    assert (await admin.call("GET", f"{APPS}/web")).status == 404
