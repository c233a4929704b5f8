"""Create, update and patch: what is filled in, kept, refused, and who wins."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eaves.testing.asgi import Answer, AsgiClient
from eaves.testing.operator_api import ApiBench

APPS = "/apis/eaves.dev/v1alpha1/namespaces/default/apps"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def app(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "App",
        "metadata": {"name": name},
        "spec": {"nodeName": "n1", "image": "registry.example/web:1", **spec},
    }


async def created(admin: AsgiClient, obj: dict[str, Any], path: str = APPS) -> Any:
    answer = await admin.call("POST", path, obj)
    assert answer.status == 201, answer.body.decode()
    return answer.json()


def said(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["message"]


async def test_create_fills_in_what_the_server_owns(admin: AsgiClient) -> None:
    given = app()
    given["metadata"] |= {"uid": "mine", "creationTimestamp": "2000-01-01T00:00:00Z", "generation": 7, "selfLink": "x"}
    given["status"] = {"phase": "Running"}
    obj = await created(admin, given)
    meta = obj["metadata"]
    assert (meta["namespace"], meta["generation"]) == ("default", 1)
    assert meta["uid"] != "mine"
    assert not meta["creationTimestamp"].startswith("2000")
    assert "status" not in obj
    assert "selfLink" not in meta
    assert obj["spec"]["restartPolicy"] == "Always"


async def test_managed_fields_name_the_client(admin: AsgiClient) -> None:
    answer = await admin.call("POST", APPS, app(), headers={"user-agent": "kubectl/v1.37 (linux)"})
    (entry,) = answer.json()["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("kubectl", "Update")
    answer = await admin.call(
        "PUT", f"{APPS}/web", {**answer.json(), "spec": app(running=False)["spec"]}, fieldManager="me"
    )
    managers = {entry["manager"] for entry in answer.json()["metadata"]["managedFields"]}
    assert managers == {"kubectl", "me"}


async def test_names_are_generated_and_collisions_tried_again(
    admin: AsgiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    suffixes = iter(["aaaaa", "aaaaa", "bbbbb"])
    monkeypatch.setattr("eaves.kube.metadata.make_name", lambda prefix: prefix + next(suffixes))
    obj = {"metadata": {"generateName": "c-"}}
    assert (await created(admin, obj, CONFIGMAPS))["metadata"]["name"] == "c-aaaaa"
    assert (await created(admin, obj, CONFIGMAPS))["metadata"]["name"] == "c-bbbbb"


async def test_a_name_can_be_taken_once(admin: AsgiClient) -> None:
    await created(admin, app())
    answer = await admin.call("POST", APPS, app())
    assert said(answer) == (409, 'apps.eaves.dev "web" already exists')
    assert answer.json()["details"]["kind"] == "apps"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"apiVersion": "eaves.dev/v2"}, 400),
        ({"kind": "Volume"}, 422),
        ({"kind": None}, 400),
        ({"metadata": {"name": "web", "namespace": "other"}}, 400),
        ({"metadata": {"name": "web", "resourceVersion": "5"}}, 400),
        ({"metadata": {"name": "Web!"}}, 422),
        ({"metadata": {}}, 422),
        ({"spec": {}}, 422),
        ({"spec": None}, 422),
        ({"metadata": []}, 400),
    ],
)
async def test_bodies_that_do_not_fit(admin: AsgiClient, change: dict[str, Any], code: int) -> None:
    body = {key: value for key, value in {**app(), **change}.items() if value is not None}
    assert (await admin.call("POST", APPS, body)).status == code


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"a: [", "application/yaml", 400),
        (b"x", "text/html", 415),
        (b"x" * (3 * 1024 * 1024 + 1), "application/json", 413),
    ],
)
async def test_bodies_that_cannot_be_read(admin: AsgiClient, body: bytes, content_type: str, code: int) -> None:
    assert (await admin.call("POST", APPS, body, content_type=content_type)).status == code


async def test_yaml_bodies(admin: AsgiClient) -> None:
    body = b"metadata: {name: c}\ndata: {a: b}\n"
    answer = await admin.call("POST", CONFIGMAPS, body, content_type="application/yaml")
    assert answer.json()["data"] == {"a": "b"}


async def test_unknown_fields_warn_refuse_or_pass_silently(admin: AsgiClient) -> None:
    answer = await admin.call("POST", APPS, app("warned", colour="red"))
    assert answer.status == 201
    assert answer.warnings == ['299 - "unknown field \\"spec.colour\\""']
    assert "colour" not in answer.json()["spec"]
    strict = await admin.call("POST", APPS, app("strict", colour="red"), fieldValidation="Strict")
    assert (strict.status, 'unknown field "spec.colour"' in strict.json()["message"]) == (400, True)
    ignored = await admin.call("POST", APPS, app("ignored", colour="red"), fieldValidation="Ignore")
    assert (ignored.status, ignored.warnings) == (201, [])
    patch = {"spec": {"colour": "red"}}
    answer = await admin.call("PATCH", f"{APPS}/warned", patch, content_type=MERGE, fieldValidation="Strict")
    assert (answer.status, answer.json()["details"]["causes"][0]["field"]) == (422, "patch")
    assert (await admin.call("POST", APPS, app("bad"), fieldValidation="Perhaps")).status == 422


async def test_duplicate_keys_are_told(admin: AsgiClient) -> None:
    body = b'{"metadata":{"name":"c"},"data":{"a":"1","a":"2"}}'
    answer = await admin.call("POST", CONFIGMAPS, body)
    assert answer.warnings == ['299 - "duplicate field \\"data.a\\""']


@pytest.mark.parametrize("query", [{"dryRun": ""}, {"dryRun": "Some"}, {"fieldManager": "m" * 129}])
async def test_write_options_that_make_no_sense(admin: AsgiClient, query: dict[str, Any]) -> None:
    answer = await admin.call("POST", APPS, app(), **query)
    assert (answer.status, answer.json()["details"]["causes"][0]["field"]) == (422, next(iter(query)))


async def test_a_dry_run_changes_nothing(admin: AsgiClient) -> None:
    dry = await admin.call("POST", APPS, app(), dryRun="All")
    assert dry.status == 201
    assert "resourceVersion" not in dry.json()["metadata"]
    assert (await admin.call("GET", f"{APPS}/web")).status == 404
    obj = await created(admin, app())
    assert (await admin.call("POST", APPS, app(), dryRun="All")).status == 409
    patched = await admin.call("PATCH", f"{APPS}/web", {"spec": {"running": False}}, content_type=MERGE, dryRun="All")
    assert patched.json()["spec"]["running"] is False
    assert (await admin.call("DELETE", f"{APPS}/web", dryRun="All")).status == 200
    assert await admin.get(f"{APPS}/web") == obj


async def test_put_replaces_under_optimistic_locking(admin: AsgiClient) -> None:
    first = await created(admin, app())
    second = await admin.call("PUT", f"{APPS}/web", {**first, "spec": app(image="registry.example/web:2")["spec"]})
    assert second.json()["metadata"]["generation"] == 2
    stale = await admin.call("PUT", f"{APPS}/web", {**first, "spec": app(image="registry.example/web:3")["spec"]})
    assert said(stale) == (
        409,
        'Operation cannot be fulfilled on apps.eaves.dev "web": the object has been modified; please apply your changes to '
        "the latest version and try again",
    )
    assert (await admin.call("PUT", f"{APPS}/web", app())).status == 422
    assert (await admin.call("PUT", f"{APPS}/other", {**first, "metadata": {**first["metadata"]}})).status == 400
    missing = {**app("gone"), "metadata": {"name": "gone", "resourceVersion": "1"}}
    assert (await admin.call("PUT", f"{APPS}/gone", missing)).status == 404


async def test_put_of_another_incarnation_is_a_conflict(admin: AsgiClient) -> None:
    first = await created(admin, app())
    await admin.call("DELETE", f"{APPS}/web")
    again = await created(admin, app())
    body = {**first, "metadata": {**first["metadata"], "resourceVersion": again["metadata"]["resourceVersion"]}}
    answer = await admin.call("PUT", f"{APPS}/web", body)
    assert (answer.status, "UID in precondition" in answer.json()["message"]) == (409, True)


async def test_put_of_core_kinds_needs_no_version(admin: AsgiClient) -> None:
    await created(admin, {"metadata": {"name": "c"}, "data": {"a": "1"}}, CONFIGMAPS)
    answer = await admin.call("PUT", f"{CONFIGMAPS}/c", {"metadata": {"name": "c"}, "data": {"b": "2"}})
    assert (answer.status, answer.json()["data"]) == (200, {"b": "2"})


async def test_status_and_spec_leave_each_other_alone(admin: AsgiClient) -> None:
    first = await created(admin, app())
    status = {**first, "status": {"phase": "Running"}, "spec": app(running=False)["spec"]}
    status["metadata"] = {**first["metadata"], "labels": {"a": "b"}}
    second = (await admin.call("PUT", f"{APPS}/web/status", status)).json()
    assert (second["status"], second["spec"]["running"]) == ({"phase": "Running"}, True)
    assert (second["metadata"]["generation"], "labels" in second["metadata"]) == (1, False)
    main = {key: value for key, value in second.items() if key != "status"}
    third = (await admin.call("PUT", f"{APPS}/web", {**main, "spec": app(running=False)["spec"]})).json()
    assert (third["status"], third["metadata"]["generation"]) == ({"phase": "Running"}, 2)
    patched = await admin.call("PATCH", f"{APPS}/web/status", {"status": {"phase": "Failed"}}, content_type=MERGE)
    assert patched.json()["status"]["phase"] == "Failed"
    assert (await admin.get(f"{APPS}/web/status"))["status"]["phase"] == "Failed"
    bad = await admin.call("PATCH", f"{APPS}/web/status", {"status": {"phase": "Odd"}}, content_type=MERGE)
    assert (bad.status, bad.json()["details"]["causes"][0]["field"]) == (422, "status.phase")


async def test_a_write_that_changes_nothing_keeps_the_version(admin: AsgiClient) -> None:
    obj = await created(admin, app())
    assert (await admin.call("PUT", f"{APPS}/web", obj)).json() == obj
    assert (await admin.call("PATCH", f"{APPS}/web", {}, content_type=MERGE)).json() == obj


async def test_patches_of_three_kinds(admin: AsgiClient) -> None:
    await created(admin, app())
    merged = await admin.call("PATCH", f"{APPS}/web", {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)
    assert merged.json()["metadata"]["labels"] == {"a": "b"}
    operations = [{"op": "add", "path": "/spec/env", "value": [{"name": "A", "value": "1"}]}]
    patched = await admin.call("PATCH", f"{APPS}/web", operations, content_type=JSON_PATCH)
    assert patched.json()["spec"]["env"] == [{"name": "A", "value": "1"}]
    refused = await admin.call("PATCH", f"{APPS}/web", {}, content_type=STRATEGIC)
    assert (refused.status, MERGE in refused.json()["message"]) == (415, True)
    await created(admin, {"metadata": {"name": "c"}, "data": {"a": "1"}}, CONFIGMAPS)
    strategic = await admin.call("PATCH", f"{CONFIGMAPS}/c", {"data": {"a": None, "b": "2"}}, content_type=STRATEGIC)
    assert strategic.json()["data"] == {"b": "2"}


async def test_a_patch_with_a_version_is_an_optimistic_lock(admin: AsgiClient) -> None:
    first = await created(admin, app())
    version = first["metadata"]["resourceVersion"]
    await admin.call("PATCH", f"{APPS}/web", {"spec": {"running": False}}, content_type=MERGE)
    patch = {"metadata": {"resourceVersion": version}, "spec": {"running": True}}
    assert (await admin.call("PATCH", f"{APPS}/web", patch, content_type=MERGE)).status == 409
    steps = [{"op": "replace", "path": "/metadata/resourceVersion", "value": version}]
    assert (await admin.call("PATCH", f"{APPS}/web", steps, content_type=JSON_PATCH)).status == 409


async def test_concurrent_patches_all_land(admin: AsgiClient) -> None:
    await created(admin, app())
    patches = [{"metadata": {"annotations": {f"k{n}": "v"}}} for n in range(16)]
    answers = await asyncio.gather(
        *(admin.call("PATCH", f"{APPS}/web", patch, content_type=MERGE) for patch in patches)
    )
    assert {answer.status for answer in answers} == {200}
    assert len((await admin.get(f"{APPS}/web"))["metadata"]["annotations"]) == 16


async def test_immutable_metadata(admin: AsgiClient) -> None:
    obj = await created(admin, app())
    patch = {"metadata": {"uid": "other"}}
    assert (await admin.call("PATCH", f"{APPS}/web", patch, content_type=MERGE)).status == 422
    renamed = {"metadata": {"name": "other"}}
    assert (await admin.call("PATCH", f"{APPS}/web", renamed, content_type=MERGE)).status in (400, 422)
    kept = {"metadata": {"creationTimestamp": None, "generation": 99}}
    answer = await admin.call("PATCH", f"{APPS}/web", kept, content_type=MERGE)
    assert answer.json()["metadata"]["creationTimestamp"] == obj["metadata"]["creationTimestamp"]
    assert answer.json()["metadata"]["generation"] == 1


async def test_finalizers_without_a_domain_warn(admin: AsgiClient) -> None:
    obj = app()
    obj["metadata"]["finalizers"] = ["hold"]
    answer = await admin.call("POST", APPS, obj)
    assert answer.status == 201
    assert "prefer a domain-qualified finalizer" in answer.warnings[0]


async def test_methods_that_a_resource_does_not_have(admin: AsgiClient) -> None:
    assert (await admin.call("DELETE", "/api/v1/namespaces")).status == 405
    assert (await admin.call("TRACE", APPS)).status == 405
    assert (await admin.call("POST", "/api/v1/namespaces/default", {})).status == 405
    assert (await admin.call("DELETE", f"{APPS}/web/status")).status == 405


async def test_secrets_take_text_and_never_repeat_it(admin: AsgiClient) -> None:
    secret = await created(admin, {"metadata": {"name": "s"}, "stringData": {"a": "hello"}}, SECRETS)
    assert secret["data"] == {"a": "aGVsbG8="}
    assert "stringData" not in secret
    bad = await admin.call("PATCH", f"{SECRETS}/s", {"data": {"a": "not base64"}}, content_type=MERGE)
    assert (bad.status, "not base64" in bad.body.decode()) == (422, False)


async def test_objects_of_other_namespaces_and_missing_ones(admin: AsgiClient) -> None:
    answer = await admin.call("POST", APPS.replace("default", "nowhere"), app())
    assert said(answer) == (404, 'namespaces "nowhere" not found')


async def test_answers_to_writes_come_in_the_asked_form(admin: AsgiClient) -> None:
    table = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    answer = await admin.call("POST", APPS, app(), headers=table)
    assert (answer.status, answer.json()["kind"]) == (201, "Table")


async def test_every_answer_names_its_audit_id(bench: ApiBench, admin: AsgiClient) -> None:
    one, other = await admin.call("GET", APPS), await admin.call("GET", APPS)
    assert one.headers["audit-id"] != other.headers["audit-id"]
