"""Custom kinds are listed as CustomResourceDefinitions, for tools that look there; nobody can change them."""

from __future__ import annotations

from typing import Any

from eaves.testing.asgi import AsgiClient

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


async def test_every_custom_kind_has_a_definition(admin: AsgiClient) -> None:
    listed = await admin.get(DEFINITIONS)
    names = [item["metadata"]["name"] for item in listed["items"]]
    resources = (await admin.get("/apis/eaves.dev/v1alpha1"))["resources"]
    assert names == sorted(f"{each['name']}.eaves.dev" for each in resources if "/" not in each["name"])

    app = await admin.get(f"{DEFINITIONS}/apps.eaves.dev")
    assert app["spec"]["names"] == app["status"]["acceptedNames"]
    assert app["spec"]["names"]["shortNames"] == ["ea"]
    assert "image" in app["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    conditions = {each["type"]: each["status"] for each in app["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    space = await admin.get("/api/v1/namespaces/default")
    assert app["metadata"]["creationTimestamp"] == space["metadata"]["creationTimestamp"]


async def test_definitions_come_in_pages_and_by_name(admin: AsgiClient) -> None:
    whole = [item["metadata"]["name"] for item in (await admin.get(DEFINITIONS))["items"]]
    paged: list[str] = []
    token = ""
    while True:
        page = await admin.get(DEFINITIONS, limit=5, **{"continue": token})
        paged.extend(item["metadata"]["name"] for item in page["items"])
        if not (token := page["metadata"].get("continue", "")):
            break
    assert paged == whole
    one = await admin.get(DEFINITIONS, fieldSelector="metadata.name=volumes.eaves.dev")
    assert [item["metadata"]["name"] for item in one["items"]] == ["volumes.eaves.dev"]
    assert (await admin.call("GET", f"{DEFINITIONS}/nope.eaves.dev")).status == 404


async def test_a_watch_of_definitions_gives_them_once(admin: AsgiClient) -> None:
    count = len((await admin.get(DEFINITIONS))["items"])
    query: dict[str, Any] = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }
    async with admin.open("GET", DEFINITIONS, watch="1", **query) as stream:
        events = [await stream.read_event() for _ in range(count + 1)]
    assert [event["type"] for event in events] == ["ADDED"] * count + ["BOOKMARK"]
    assert events[-1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_the_table_is_kubernetes_own(admin: AsgiClient) -> None:
    table = (await admin.call("GET", f"{DEFINITIONS}/apps.eaves.dev", headers={"accept": TABLE})).json()
    cells = table["rows"][0]["cells"]
    assert [*cells[:3], *cells[4:]] == [
        "apps.eaves.dev",
        "Namespaced",
        "v1alpha1(storage)",
        "eaves.dev",
        "App",
        "ea",
        True,
    ]


async def test_definitions_cannot_be_added_or_changed(admin: AsgiClient) -> None:
    app = await admin.get(f"{DEFINITIONS}/apps.eaves.dev")
    del app["metadata"]["resourceVersion"]
    again = await admin.call("POST", DEFINITIONS, app)
    assert (again.status, again.json()["reason"]) == (409, "AlreadyExists")
    other = await admin.call("POST", DEFINITIONS, {**app, "metadata": {"name": "foos.example.com"}})
    assert (other.status, "none can be added" in other.json()["message"]) == (403, True)
    assert (await admin.call("DELETE", f"{DEFINITIONS}/apps.eaves.dev")).status == 405
    assert (await admin.get(f"{DEFINITIONS}/apps.eaves.dev"))["metadata"]["name"] == "apps.eaves.dev"
