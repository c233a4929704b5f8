"""Kinds that there is nothing of are empty lists for clients that ask for them unasked, and say what to write instead."""

from __future__ import annotations

import re
from typing import Any

import pytest

from eaves.kinds import absent, app
from eaves.kinds.registry import RESOURCES
from eaves.kube.resource import Resource
from eaves.kube.schema import Schema
from eaves.testing.asgi import AsgiClient

APPLY = "application/apply-patch+yaml"


def path_of(resource: Resource, namespace: str = "default") -> str:
    group, version, plural = resource.gvr
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    return f"{root}/namespaces/{namespace}/{plural}" if resource.namespaced else f"{root}/{plural}"


@pytest.mark.parametrize("resource", absent.RESOURCES, ids=lambda resource: str(resource.kind))
async def test_lists_and_watches_are_empty(admin: AsgiClient, resource: Resource) -> None:
    listed = await admin.get(path_of(resource), labelSelector="a=b", limit=5)
    assert (listed["kind"], listed["items"]) == (f"{resource.kind}List", [])
    assert int(listed["metadata"]["resourceVersion"]) > 0
    query: dict[str, Any] = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }
    async with admin.open("GET", path_of(resource), watch="1", **query) as stream:
        event = await stream.read_event()
    assert (event["type"], event["object"]["kind"]) == ("BOOKMARK", resource.kind)
    missing = await admin.call("GET", f"{path_of(resource)}/x")
    assert (missing.status, missing.json()["reason"]) == (404, "NotFound")


@pytest.mark.parametrize("resource", absent.RESOURCES, ids=lambda resource: str(resource.kind))
async def test_who_writes_one_is_told_what_to_write(admin: AsgiClient, resource: Resource) -> None:
    body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "x"}}
    answers = [
        await admin.call("POST", path_of(resource), body),
        await admin.call("PUT", f"{path_of(resource)}/x", body),
        await admin.call("PATCH", f"{path_of(resource)}/x", body, content_type=APPLY, fieldManager="tests"),
    ]
    for answer in answers:
        told = answer.json()
        assert (answer.status, told["reason"]) == (405, "MethodNotAllowed")
        assert f"{resource.gvr.resource} are not kept here: " in told["message"]
        assert told["details"]["kind"] == resource.gvr.resource


@pytest.mark.parametrize("resource", absent.RESOURCES, ids=lambda resource: str(resource.kind))
def test_fields_that_a_writer_is_pointed_to_are_those_of_an_app(resource: Resource) -> None:
    for path in re.findall(r"spec\.[A-Za-z.\[\]]*[A-Za-z]", resource.instead):
        schema: Schema | None = app.RESOURCE.schema
        for name in path.split("."):
            assert schema is not None
            schema = schema.child(name.removesuffix("[]"))
            assert schema is not None, f"an App has no {path}"
            schema = schema.items if name.endswith("[]") else schema


async def test_a_deletion_finds_nothing(admin: AsgiClient) -> None:
    """Helm removes what a release that failed may have made, and takes NotFound for done."""
    answer = await admin.call("DELETE", "/apis/apps/v1/namespaces/default/deployments/x")
    assert (answer.status, answer.json()["message"]) == (404, 'deployments.apps "x" not found')


async def test_nor_does_a_patch(admin: AsgiClient) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments/x"
    answer = await admin.call("PATCH", path, {}, content_type="application/strategic-merge-patch+json")
    assert (answer.status, answer.json()["message"]) == (404, 'deployments.apps "x" not found')


async def test_who_asks_for_endpoints_is_told_what_to_ask_for(admin: AsgiClient) -> None:
    answer = await admin.call("GET", "/api/v1/namespaces/default/endpoints")
    told = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
    assert answer.warnings == [f'299 - "{told}"']


async def test_of_two_versions_the_newer_is_preferred(admin: AsgiClient) -> None:
    group = await admin.get("/apis/autoscaling")
    assert [each["version"] for each in group["versions"]] == ["v2", "v1"]
    assert group["preferredVersion"]["version"] == "v2"


async def test_get_all_does_not_ask_for_them(admin: AsgiClient) -> None:
    kinds = (await admin.get("/apis/apps/v1"))["resources"]
    assert {each["name"]: each["verbs"] for each in kinds}["deployments"] == [
        "delete",
        "get",
        "list",
        "patch",
        "watch",
    ]
    assert not any("categories" in each for each in kinds)


def test_their_names_are_nobody_elses() -> None:
    def names(resources: tuple[Resource, ...]) -> list[str]:
        return [name for each in resources for name in {each.gvr.resource, each.singular, *each.short_names}]

    # A kind that is served in two versions has its names once.
    mine = names(tuple({each.kind: each for each in absent.RESOURCES}.values()))
    assert len(mine) == len(set(mine))
    assert not set(mine) & set(names(RESOURCES))
