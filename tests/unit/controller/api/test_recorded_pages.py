"""Answers of a kube-apiserver 1.37.2 on plain paths, to questions and in tables, recorded with App as a custom resource."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.testing.asgi import AsgiClient

AUTHORIZATION = "/apis/authorization.k8s.io/v1"
AUTHENTICATION = "/apis/authentication.k8s.io/v1"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("method", "path", "code", "reason"),
    [
        ("POST", "/api", 405, "MethodNotAllowed"),
        ("POST", "/version", 405, "MethodNotAllowed"),
        ("GET", "/version/x", 404, "NotFound"),
        ("GET", "/api/v2", 404, "NotFound"),
        ("GET", "/api/v1/nopes", 404, "NotFound"),
        ("OPTIONS", "/api/v1/namespaces/default/configmaps", 405, "MethodNotAllowed"),
        ("DELETE", "/api/v1/configmaps", 405, "MethodNotAllowed"),
        ("GET", f"{AUTHORIZATION}/selfsubjectaccessreviews", 405, "MethodNotAllowed"),
        ("GET", f"{AUTHORIZATION}/selfsubjectaccessreviews/x", 404, "NotFound"),
        ("POST", f"{AUTHORIZATION}/localsubjectaccessreviews", 404, "NotFound"),
    ],
)
async def test_paths_and_methods_that_are_not_there(
    admin: AsgiClient, method: str, path: str, code: int, reason: str
) -> None:
    answer = await admin.call(method, path, {} if method == "POST" else None)

    found = answer.json()
    assert (answer.status, found["reason"], found["details"]) == (code, reason, {})


async def test_unknown_groups_are_plain_text(admin: AsgiClient) -> None:
    for path in ("/apis/nope.dev", "/apis/eaves.dev/v9", "/apis/eaves.dev/v1alpha1/nopes"):
        answer = await admin.call("GET", path)
        assert (answer.status, answer.body) == (404, b"404 page not found\n")


async def test_discovery_tells_how_objects_are_stored(admin: AsgiClient) -> None:
    listed = (await admin.get("/apis/eaves.dev/v1alpha1"))["resources"]
    apps = next(each for each in listed if each["name"] == "apps")
    assert apps["storageVersionHash"] == "OFvl8pDqGkg="
    assert apps["verbs"] == ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]
    core = (await admin.get("/api/v1"))["resources"]
    assert next(each for each in core if each["name"] == "configmaps")["storageVersionHash"] == "qFsyl6wFWjQ="
    events = (await admin.get("/apis/events.k8s.io/v1"))["resources"]
    assert events[0]["storageVersionHash"] == "r2yiGXH7wu8="
    assert "storageVersionHash" not in (await admin.get(AUTHENTICATION))["resources"][0]
    aggregated = (await admin.call("GET", "/apis", headers={"accept": AGGREGATED})).json()
    assert {"name": "eaves.dev"} in [item["metadata"] for item in aggregated["items"]]


async def test_discovery_as_yaml(admin: AsgiClient) -> None:
    answer = await admin.call("GET", "/apis/eaves.dev", headers={"accept": "application/yaml"})
    assert answer.headers["content-type"] == "application/yaml"
    assert b"kind: APIGroup\n" in answer.body
    assert (await admin.call("GET", "/apis", headers={"accept": "text/html"})).status == 406


async def test_health_is_asked_by_any_method_and_without_some_checks(admin: AsgiClient) -> None:
    for method in ("GET", "POST"):
        answer = await admin.call(method, "/healthz")
        assert (answer.status, answer.body, answer.headers["X-Content-Type-Options"]) == (200, b"ok", "nosniff")
    assert (await admin.call("GET", "/healthz/ping", verbose="")).body == b"ok"
    told = (await admin.call("GET", "/readyz", verbose="", exclude="store")).body.decode()
    assert told == "[+]ping ok\n[+]store excluded: ok\nreadyz check passed\n"
    told = (await admin.call("GET", "/livez", verbose="", exclude="nope")).body.decode()
    warning = 'warn: some health checks cannot be excluded: no matches for "nope"'
    assert told == f"[+]ping ok\n{warning}\nlivez check passed\n"


async def test_refusals_are_never_taken_for_pages(bench: Any) -> None:
    answer = await AsgiClient(bench.api, "").call("GET", "/api/v1/namespaces")
    assert (answer.status, answer.headers["X-Content-Type-Options"]) == (403, "nosniff")
    page = await AsgiClient(bench.api, "").call("GET", "/metrics")
    assert (page.status, page.json()["details"]) == (403, {})


async def test_a_review_says_who_asked_what(admin: AsgiClient) -> None:
    body = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
    answer = (await admin.call("POST", f"{AUTHORIZATION}/selfsubjectaccessreviews", body, fieldManager="m")).json()
    (entry,) = answer["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("m", "Update")
    attributes: dict[str, Any] = {".": {}, "f:resource": {}, "f:verb": {}}
    assert entry["fieldsV1"] == {"f:spec": {"f:resourceAttributes": attributes}}
    assert answer["spec"] == body["spec"]


async def test_reviews_that_ask_nothing(admin: AsgiClient) -> None:
    answer = await admin.call("POST", f"{AUTHORIZATION}/selfsubjectaccessreviews", {"spec": {}})
    why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
    assert (answer.status, answer.json()["message"]) == (
        422,
        f'.authorization.k8s.io "" is invalid: spec: Invalid value: null: {why}',
    )


async def test_reviews_of_oneself_repeat_nothing(admin: AsgiClient) -> None:
    rules = await admin.call("POST", f"{AUTHORIZATION}/selfsubjectrulesreviews", {"spec": {"namespace": "default"}})
    assert (rules.json()["metadata"], rules.json()["spec"]) == ({}, {})
    who = (await admin.call("POST", f"{AUTHENTICATION}/selfsubjectreviews", {})).json()
    assert list(who["metadata"]) == ["creationTimestamp"]
    assert who["metadata"]["creationTimestamp"].endswith("Z")


async def test_a_token_belongs_to_its_account(admin: AsgiClient) -> None:
    path = "/api/v1/namespaces/default/serviceaccounts"
    made = (await admin.call("POST", path, {"metadata": {"name": "bot"}})).json()
    answer = (await admin.call("POST", f"{path}/bot/token", {"spec": {"expirationSeconds": 700}})).json()
    assert answer["metadata"]["uid"] == made["metadata"]["uid"]
    (entry,) = answer["metadata"]["managedFields"]
    assert (entry["subresource"], entry["fieldsV1"]) == ("token", {"f:spec": {"f:expirationSeconds": {}}})
    gone = (await admin.call("DELETE", f"{path}/bot")).json()
    assert (gone["kind"], "deletionTimestamp" in gone["metadata"]) == ("ServiceAccount", False)


async def test_numbers_in_tables_are_numbers(admin: AsgiClient) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    await admin.call("POST", path, {"metadata": {"name": "c"}, "data": {"a": "1"}, "binaryData": {"b": "MQ=="}})
    table = (await admin.call("GET", f"{path}/c", headers={"accept": TABLE})).json()
    assert table["rows"][0]["cells"][:2] == ["c", 2]


async def test_all_events_go_by_their_newer_group_too(admin: AsgiClient) -> None:
    path = "/api/v1/namespaces/default/events"
    for name in ("a", "b"):
        involved = {"kind": "App", "namespace": "default", "name": name}
        await admin.call("POST", path, {"metadata": {"name": name}, "involvedObject": involved})

    newer = "/apis/events.k8s.io/v1/namespaces/default/events"
    answer = await admin.call("DELETE", newer, fieldSelector="regarding.name=a")

    assert [item["metadata"]["name"] for item in answer.json()["items"]] == ["a"]
    assert [item["metadata"]["name"] for item in (await admin.get(path))["items"]] == ["b"]


async def test_an_empty_list_of_managers_changes_nothing(admin: AsgiClient) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    made = (await admin.call("POST", path, {"metadata": {"name": "c"}, "data": {"a": "1"}})).json()
    kind = "application/merge-patch+json"
    kept = await admin.call("PATCH", f"{path}/c", {"metadata": {"managedFields": []}}, content_type=kind)
    assert kept.json()["metadata"]["managedFields"] == made["metadata"]["managedFields"]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ({"continue": "x", "resourceVersionMatch": "Exact"}, 2),
        ({"watch": "1", "sendInitialEvents": "true", "resourceVersionMatch": "Exact"}, 2),
        ({"watch": "1", "sendInitialEvents": "true"}, 1),
        ({"watch": "1", "continue": "x"}, 1),
    ],
)
async def test_each_rule_of_a_list_that_is_broken_is_told(
    admin: AsgiClient, query: dict[str, Any], fields: int
) -> None:
    answer = await admin.call("GET", "/api/v1/namespaces/default/configmaps", **query)

    assert answer.status == 422
    assert [cause["field"] for cause in answer.json()["details"]["causes"]] == ["resourceVersionMatch"] * fields


async def test_faults_of_metadata_and_of_the_schema_are_told_together(admin: AsgiClient) -> None:
    body = {"apiVersion": "eaves.dev/v1alpha1", "kind": "App", "spec": {}}
    answer = await admin.call("POST", "/apis/eaves.dev/v1alpha1/namespaces/default/apps", body)
    assert [cause["field"] for cause in answer.json()["details"]["causes"]] == ["metadata.name", "spec.image"]
