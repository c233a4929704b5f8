"""Deletes: preconditions, policies, finalizers, collections, what must stay."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.testing.asgi import AsgiClient
from eaves.testing.objects import make_volume
from eaves.testing.operator_api import ApiBench

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
MERGE = "application/merge-patch+json"


async def create(admin: AsgiClient, name: str, **metadata: Any) -> Any:
    answer = await admin.call("POST", CONFIGMAPS, {"metadata": {"name": name, **metadata}})
    assert answer.status == 201
    return answer.json()


async def test_a_delete_answers_success_with_the_uid(admin: AsgiClient) -> None:
    obj = await create(admin, "a")
    answer = await admin.call("DELETE", f"{CONFIGMAPS}/a")
    assert answer.status == 200
    assert answer.json()["status"] == "Success"
    assert answer.json()["details"] == {"name": "a", "kind": "configmaps", "uid": obj["metadata"]["uid"]}
    assert (await admin.call("DELETE", f"{CONFIGMAPS}/a")).status == 404


async def test_a_service_account_is_answered_itself(admin: AsgiClient) -> None:
    path = "/api/v1/namespaces/default/serviceaccounts"
    await admin.call("POST", path, {"metadata": {"name": "robot"}})
    assert (await admin.call("DELETE", f"{path}/robot")).json()["metadata"]["name"] == "robot"


async def test_finalizers_hold_an_object_until_the_last_goes(admin: AsgiClient) -> None:
    await create(admin, "a", finalizers=["example.com/one", "example.com/two"])
    held = (await admin.call("DELETE", f"{CONFIGMAPS}/a")).json()
    assert held["metadata"]["deletionTimestamp"]
    assert held["metadata"]["deletionGracePeriodSeconds"] == 0
    again = (await admin.call("DELETE", f"{CONFIGMAPS}/a")).json()
    assert again == held
    added = {"metadata": {"finalizers": ["example.com/one", "example.com/two", "example.com/three"]}}
    assert (await admin.call("PATCH", f"{CONFIGMAPS}/a", added, content_type=MERGE)).status == 422
    one = {"metadata": {"finalizers": ["example.com/one"]}}
    assert (await admin.call("PATCH", f"{CONFIGMAPS}/a", one, content_type=MERGE)).status == 200
    none = await admin.call("PATCH", f"{CONFIGMAPS}/a", {"metadata": {"finalizers": None}}, content_type=MERGE)
    assert none.status == 200
    assert (await admin.call("GET", f"{CONFIGMAPS}/a")).status == 404


async def test_a_deletion_counts_as_a_generation_of_custom_kinds(admin: AsgiClient) -> None:
    path = "/apis/eaves.dev/v1alpha1/namespaces/default/networks"
    body = {"apiVersion": "eaves.dev/v1alpha1", "kind": "Network", "metadata": {"name": "n", "finalizers": ["a.b/c"]}}
    await admin.call("POST", path, body)
    assert (await admin.call("DELETE", f"{path}/n")).json()["metadata"]["generation"] == 2


@pytest.mark.parametrize("field", ["uid", "resourceVersion"])
async def test_preconditions(admin: AsgiClient, field: str) -> None:
    obj = await create(admin, "a")
    wrong = {"preconditions": {field: "7"}}
    answer = await admin.call("DELETE", f"{CONFIGMAPS}/a", wrong)
    assert (answer.status, "in the precondition (7) does not match" in answer.json()["message"]) == (409, True)
    assert answer.json()["details"]["kind"] == "ConfigMap"
    right = {"preconditions": {field: obj["metadata"][field]}}
    assert (await admin.call("DELETE", f"{CONFIGMAPS}/a", right)).status == 200


@pytest.mark.parametrize(
    ("policy", "finalizers"),
    [("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"]), ("Background", None)],
)
async def test_policies_become_finalizers(admin: AsgiClient, policy: str, finalizers: list[str] | None) -> None:
    await create(admin, "a")
    answer = await admin.call("DELETE", f"{CONFIGMAPS}/a", {"propagationPolicy": policy})
    assert answer.json().get("metadata", {}).get("finalizers") == finalizers


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"propagationPolicy": "Maybe"}, 422),
        ({"propagationPolicy": "Orphan", "orphanDependents": True}, 422),
        ({"kind": "Pod"}, 400),
        ({"preconditions": 5}, 400),
        ({"dryRun": ["Some"]}, 422),
    ],
)
async def test_options_that_make_no_sense(admin: AsgiClient, body: Any, code: int) -> None:
    await create(admin, "a")
    assert (await admin.call("DELETE", f"{CONFIGMAPS}/a", body)).status == code


async def test_options_of_the_query(admin: AsgiClient) -> None:
    await create(admin, "a")
    answer = await admin.call("DELETE", f"{CONFIGMAPS}/a", propagationPolicy="Orphan", gracePeriodSeconds="5")
    assert answer.json()["metadata"]["finalizers"] == ["orphan"]
    assert (await admin.call("DELETE", f"{CONFIGMAPS}/a", gracePeriodSeconds="x")).status == 400
    await create(admin, "b")
    answer = await admin.call("DELETE", f"{CONFIGMAPS}/b", orphanDependents="true")
    assert answer.json()["metadata"]["finalizers"] == ["orphan"]


async def test_a_collection_goes_by_its_selector(admin: AsgiClient) -> None:
    await create(admin, "a", labels={"x": "1"})
    await create(admin, "b", labels={"x": "2"})
    await create(admin, "c", labels={"x": "1"}, finalizers=["a.b/c"])
    answer = await admin.call("DELETE", CONFIGMAPS, labelSelector="x=1")
    assert [item["metadata"]["name"] for item in answer.json()["items"]] == ["a", "c"]
    left = (await admin.get(CONFIGMAPS))["items"]
    assert [(item["metadata"]["name"], "deletionTimestamp" in item["metadata"]) for item in left] == [
        ("b", False),
        ("c", True),
    ]


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-node-lease"])
async def test_the_first_namespaces_stay(admin: AsgiClient, name: str) -> None:
    assert (await admin.call("DELETE", f"/api/v1/namespaces/{name}")).status == 403


async def test_a_retained_volume_stays(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_volume("data", reclaimPolicy="Retain"))
    path = "/apis/eaves.dev/v1alpha1/namespaces/default/volumes/data"
    answer = await admin.call("DELETE", path)
    assert (answer.status, "Retain" in answer.json()["message"]) == (403, True)
    await admin.call("PATCH", path, {"spec": {"reclaimPolicy": "Delete"}}, content_type=MERGE)
    assert (await admin.call("DELETE", path)).status == 200
