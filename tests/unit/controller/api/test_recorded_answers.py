"""Answers recorded from a kube-apiserver 1.37.2 that serves App as a custom resource: same requests, same codes, reasons and owners.

Only what clients can act on is held: status code, reason, causes' fields, and ``managedFields`` without times.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from eaves.testing.asgi import Answer, AsgiClient

APPS = "/apis/eaves.dev/v1alpha1/namespaces/default/apps"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
JSON_PATCH, STRATEGIC = "application/json-patch+json", "application/strategic-merge-patch+json"
VERSION = "eaves.dev/v1alpha1"
DEFAULTS: dict[str, Any] = {"f:restartPolicy": {}, "f:running": {}, "f:type": {}}
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def app(spec: Any = None, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": VERSION,
        "kind": "App",
        "metadata": {"name": "a", **metadata},
        "spec": {"image": "r.example/x:1", "nodeName": "n", **(spec or {})},
    }


def env(**values: str) -> dict[str, Any]:
    return {"env": [{"name": name, "value": value} for name, value in values.items()]}


def owners(answer: Answer) -> dict[str, Any]:
    assert answer.status in (200, 201), answer.body.decode()
    return {
        f"{e['manager']}:{e['operation']}" + (f"/{e['subresource']}" if "subresource" in e else ""): e["fieldsV1"]
        for e in answer.json()["metadata"].get("managedFields", ())
    }


async def create(admin: AsgiClient, body: Any = None) -> dict[str, Any]:
    answer = await admin.call("POST", APPS, body or app(), fieldManager="curl")
    assert answer.status == 201, answer.body.decode()
    created: dict[str, Any] = answer.json()
    return created


async def patch(admin: AsgiClient, body: Any, kind: str = MERGE, path: str = f"{APPS}/a", **query: Any) -> Answer:
    return await admin.call("PATCH", path, body, content_type=kind, **({"fieldManager": "curl"} | query))


@pytest.mark.parametrize(
    ("kind", "body", "code", "reason"),
    [
        (MERGE, {"metadata": {"name": "x"}}, 400, "BadRequest"),
        (MERGE, {"metadata": {"uid": "x"}}, 422, "Invalid"),
        (MERGE, {"metadata": {"namespace": "other"}}, 400, "BadRequest"),
        (MERGE, {"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}}, 422, "Invalid"),
        (MERGE, {"metadata": {"resourceVersion": "1"}}, 409, "Conflict"),
        (MERGE, [], 400, "BadRequest"),
        (STRATEGIC, {}, 415, "UnsupportedMediaType"),
        (JSON_PATCH, {}, 400, "BadRequest"),
        (JSON_PATCH, ["add"], 400, "BadRequest"),
        (JSON_PATCH, [{"op": "zap", "path": "/a"}], 422, "Invalid"),
        (JSON_PATCH, [{"op": "test", "path": "/spec/image", "value": "nope"}], 422, "Invalid"),
        (JSON_PATCH, [{"op": "remove", "path": "/spec/nope"}], 422, "Invalid"),
        (APPLY, {**app(), "kind": "Foo"}, 400, "BadRequest"),
        (APPLY, {**app(), "apiVersion": "v2"}, 400, "BadRequest"),
        (APPLY, {"spec": {}}, 400, "BadRequest"),
        (APPLY, app(managedFields=[]), 400, "BadRequest"),
        (APPLY, {**app(), "metadata": {"name": "zz"}}, 400, "BadRequest"),
        (APPLY, app(uid="nope"), 422, "Invalid"),
        (APPLY, app(resourceVersion="1"), 409, "Conflict"),
    ],
)
async def test_patches_that_mean_something_else(
    admin: AsgiClient, kind: str, body: Any, code: int, reason: str
) -> None:
    await create(admin)

    answer = await patch(admin, body, kind)

    assert (answer.status, answer.json()["reason"]) == (code, reason)


async def test_the_time_of_creation_is_the_servers_and_a_generated_name_may_go(admin: AsgiClient) -> None:
    created = await create(admin, app(generateName="g-"))

    answer = await patch(
        admin, {"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z", "generateName": None, "generation": 77}}
    )

    assert answer.status == 200
    metadata = answer.json()["metadata"]
    assert metadata["creationTimestamp"] == created["metadata"]["creationTimestamp"]
    assert (metadata["generation"], "generateName" in metadata) == (1, False)


async def test_a_missing_object_is_a_greater_fault_than_a_missing_version(admin: AsgiClient) -> None:
    await create(admin)

    assert (await admin.call("PUT", f"{APPS}/missing", {**app(), "metadata": {"name": "missing"}})).status == 404
    answer = await admin.call("PUT", f"{APPS}/a", app())
    assert (answer.status, answer.json()["details"]["kind"]) == (422, "apps")


@pytest.mark.parametrize(("method", "kind"), [("PUT", "application/json"), ("PATCH", MERGE)])
async def test_changes_need_a_name(admin: AsgiClient, method: str, kind: str) -> None:
    answer = await admin.call(method, APPS, app(), content_type=kind)

    assert (answer.status, answer.json()["message"]) == (400, "name must be provided")


async def test_an_apply_with_a_uid_creates_nothing(admin: AsgiClient) -> None:
    answer = await patch(admin, app(uid="5"), APPLY)

    assert answer.status == 409
    assert "the provided object specified uid 5, and no existing object was found" in answer.json()["message"]


async def test_an_apply_with_a_version_creates(admin: AsgiClient) -> None:
    assert (await patch(admin, app(resourceVersion="5"), APPLY)).status == 201


async def test_who_owns_what_after_two_appliers(admin: AsgiClient) -> None:
    base: dict[str, Any] = {"f:image": {}, "f:nodeName": {}}
    item: dict[str, Any] = {".": {}, "f:name": {}, "f:value": {}}
    await patch(admin, app(env(A="1", B="2")), APPLY, fieldManager="alice")
    await patch(admin, app(env(B="2")), APPLY, fieldManager="alice")

    clash = await patch(admin, app(env(B="3", D="4")), APPLY, fieldManager="bob")
    assert [cause["field"] for cause in clash.json()["details"]["causes"]] == ['.spec.env[name="B"].value']
    answer = await patch(admin, app(env(B="3", D="4")), APPLY, fieldManager="bob", force="true")

    assert owners(answer) == {
        "alice:Apply": {"f:spec": base | {"f:env": {'k:{"name":"B"}': {".": {}, "f:name": {}}}}},
        "bob:Apply": {"f:spec": base | {"f:env": {'k:{"name":"B"}': item, 'k:{"name":"D"}': item}}},
    }


async def test_a_manager_that_applies_what_is_there_already_has_no_time(admin: AsgiClient) -> None:
    await patch(admin, app(), APPLY, fieldManager="alice")
    answer = await patch(admin, app(), APPLY, fieldManager="bob")

    assert {e["manager"]: "time" in e for e in answer.json()["metadata"]["managedFields"]} == {
        "alice": True,
        "bob": False,
    }


async def test_status_is_owned_by_subresource_and_by_operation(admin: AsgiClient) -> None:
    created = await create(admin)
    status = {**app(resourceVersion=created["metadata"]["resourceVersion"]), "status": {"phase": "Running"}}
    await admin.call("PUT", f"{APPS}/a/status", status, fieldManager="curl")

    answer = await patch(
        admin, {**app(), "status": {"phase": "Running"}}, APPLY, f"{APPS}/a/status", fieldManager="alice"
    )

    assert owners(answer) == {
        "alice:Apply/status": {"f:status": {"f:phase": {}}},
        "curl:Update": {"f:spec": {".": {}, "f:image": {}, "f:nodeName": {}, **DEFAULTS}},
        "curl:Update/status": {"f:status": {".": {}, "f:phase": {}}},
    }


async def test_tracking_that_was_given_up_begins_again_with_an_apply(admin: AsgiClient) -> None:
    await create(admin)
    assert owners(await patch(admin, {"metadata": {"managedFields": [{}]}})) == {}

    clash = await patch(admin, app({"image": "r.example/q"}), APPLY, fieldManager="alice")
    assert clash.json()["message"] == (
        'Apply failed with 1 conflict: conflict with "before-first-apply" using eaves.dev/v1alpha1: .spec.image'
    )
    answer = await patch(admin, app({"image": "r.example/q"}), APPLY, fieldManager="alice", force="true")
    assert owners(answer) == {
        "alice:Apply": {"f:spec": {"f:image": {}, "f:nodeName": {}}},
        "before-first-apply:Update": {"f:spec": {".": {}, "f:nodeName": {}, **DEFAULTS}},
    }


async def test_kubectl_goes_from_client_side_to_server_side(admin: AsgiClient) -> None:
    body = app(annotations={LAST_APPLIED: json.dumps(app())})
    await admin.call("POST", APPS, body, fieldManager="kubectl-client-side-apply")

    answer = await patch(admin, app({"image": "r.example/x:5"}), APPLY, fieldManager="kubectl")
    assert answer.status == 200
    text = answer.json()["metadata"]["annotations"][LAST_APPLIED]
    assert json.loads(text)["spec"]["image"] == "r.example/x:5"

    await patch(admin, {"spec": {"image": "r.example/x:6"}})
    clash = await patch(admin, app({"image": "r.example/x:7"}), APPLY, fieldManager="kubectl")
    assert [cause["message"] for cause in clash.json()["details"]["causes"]] == [
        'conflict with "curl" using eaves.dev/v1alpha1'
    ]


async def test_keyed_lists_take_the_order_of_the_last_applier(admin: AsgiClient) -> None:
    def order(answer: Answer) -> str:
        return "".join(entry["name"] for entry in answer.json()["spec"]["env"])

    await patch(admin, app(env(A="1", B="1", C="1")), APPLY, fieldManager="alice")
    assert order(await patch(admin, app(env(C="1", A="1", B="1")), APPLY, fieldManager="alice")) == "CAB"
    assert order(await patch(admin, app(env(D="1", C="1")), APPLY, fieldManager="bob")) == "DCAB"


async def test_the_eleventh_updater_folds_the_two_oldest(admin: AsgiClient) -> None:
    await create(admin)
    for number in range(10):
        answer = await patch(admin, {"metadata": {"annotations": {f"k{number}": "v"}}}, fieldManager=f"m{number}")

    found = owners(answer)
    assert len(found) == 10
    assert "ancient-changes:Update" in found


async def test_strategic_patches_put_new_items_first(admin: AsgiClient) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "finalizers": ["x/1", "x/2"]}}
    await admin.call("POST", CONFIGMAPS, body)

    answer = await patch(admin, {"metadata": {"finalizers": ["x/0"]}}, STRATEGIC, f"{CONFIGMAPS}/c")

    assert answer.json()["metadata"]["finalizers"] == ["x/0", "x/1", "x/2"]


async def test_unknown_fields_are_told_in_order_or_refused_with_the_kind(admin: AsgiClient) -> None:
    body = {**app({"zzz": 1, "bar": 2}), "foo": 1}

    answer = await admin.call("POST", APPS, body)
    assert answer.warnings == [
        '299 - "unknown field \\"foo\\""',
        '299 - "unknown field \\"spec.bar\\""',
        '299 - "unknown field \\"spec.zzz\\""',
    ]
    refused = await admin.call("POST", APPS, {**app(), "foo": 1}, fieldValidation="Strict")
    assert (refused.status, refused.json()["message"]) == (
        400,
        'App in version "v1alpha1" cannot be handled as a App: strict decoding error: unknown field "foo"',
    )


CORE_WORDS = 'Foo in version "v1" cannot be handled as a ConfigMap: no kind "Foo" is registered for version "v1"'
CONFIGMAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}


@pytest.mark.parametrize(
    ("path", "body", "code", "message"),
    [
        (APPS, {**app(), "kind": "Foo"}, 422, 'Foo.eaves.dev "a" is invalid: kind: Invalid value: "Foo": must be App'),
        (
            APPS,
            {**app(), "apiVersion": ""},
            400,
            "the API version in the data () does not match the expected API version (eaves.dev/v1alpha1)",
        ),
        (CONFIGMAPS, {**CONFIGMAP, "kind": "Foo"}, 400, CORE_WORDS),
    ],
)
async def test_bodies_of_another_kind(admin: AsgiClient, path: str, body: Any, code: int, message: str) -> None:
    answer = await admin.call("POST", path, body)

    assert (answer.status, answer.json()["message"]) == (code, message)


@pytest.mark.parametrize("path", [APPS, CONFIGMAPS])
@pytest.mark.parametrize("patch_type", [MERGE, JSON_PATCH])
async def test_patches_that_change_the_kind_are_invalid(admin: AsgiClient, path: str, patch_type: str) -> None:
    await create(admin)
    await admin.call("POST", CONFIGMAPS, {**CONFIGMAP, "metadata": {"name": "a"}})
    change: Any = {"kind": "Foo"}
    if patch_type == JSON_PATCH:
        change = [{"op": "replace", "path": "/kind", "value": "Foo"}]

    assert (await patch(admin, change, patch_type, f"{path}/a")).status == 422


async def test_a_strategic_patch_is_one_of_the_kind_of_its_path(admin: AsgiClient) -> None:
    await admin.call("POST", CONFIGMAPS, CONFIGMAP)

    answer = await patch(admin, {"kind": "Foo", "apiVersion": "v2"}, STRATEGIC, f"{CONFIGMAPS}/c")

    assert (answer.status, answer.json()["kind"], answer.json()["apiVersion"]) == (200, "ConfigMap", "v1")


@pytest.mark.parametrize(
    ("method", "kind", "body"),
    [
        ("PUT", "application/json", {**CONFIGMAP, "metadata": {}}),
        ("PATCH", MERGE, {"metadata": {"name": None}}),
        ("PATCH", MERGE, {"metadata": None}),
        ("PATCH", STRATEGIC, {"metadata": {"name": None}}),
        ("PATCH", JSON_PATCH, [{"op": "remove", "path": "/metadata/name"}]),
    ],
)
async def test_a_changed_object_must_say_its_name(admin: AsgiClient, method: str, kind: str, body: Any) -> None:
    await admin.call("POST", CONFIGMAPS, CONFIGMAP)

    answer = await admin.call(method, f"{CONFIGMAPS}/c", body, content_type=kind)

    message = "the name of the object (c based on URL) was undeterminable: name must be provided"
    assert (answer.status, answer.json()["message"]) == (400, message)


async def test_a_patch_must_not_take_the_version_away(admin: AsgiClient) -> None:
    await create(admin)

    answer = await patch(admin, {"metadata": {"resourceVersion": None}})

    assert answer.status == 422
    assert [cause["field"] for cause in answer.json()["details"]["causes"]] == ["metadata.resourceVersion"]


async def test_a_custom_object_can_be_created_by_its_own_path(admin: AsgiClient) -> None:
    assert (await admin.call("POST", f"{APPS}/a", app())).status == 201
    assert (await admin.call("POST", f"{APPS}/a", app())).json()["reason"] == "AlreadyExists"
    assert (await admin.call("POST", f"{APPS}/b", app())).status == 400
    assert (await admin.call("POST", f"{CONFIGMAPS}/c", CONFIGMAP)).status == 405


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("DELETE", "/api/v1/configmaps", 405),
        ("DELETE", "/apis/eaves.dev/v1alpha1/apps", 404),
        ("POST", "/apis/eaves.dev/v1alpha1/apps", 404),
        ("POST", "/api/v1/configmaps", 405),
        ("PUT", CONFIGMAPS, 405),
        ("PATCH", CONFIGMAPS, 405),
        ("POST", "/api/v1/watch/namespaces/default/configmaps", 405),
        ("GET", "/api/v1/configmaps/c", 404),
        ("PUT", "/apis/eaves.dev/v1alpha1/apps/a", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
    ],
)
async def test_paths_that_do_not_fit_the_verb(admin: AsgiClient, method: str, path: str, code: int) -> None:
    await create(admin)

    assert (await admin.call(method, path, CONFIGMAP if method != "GET" else None)).status == code
    assert (await admin.call("GET", f"{APPS}/a")).status == 200


async def test_what_is_unknown_is_told_by_a_status_in_groups_of_kubernetes(admin: AsgiClient) -> None:
    for path in ("/api/v1/widgets", f"{CONFIGMAPS}/c/status", "/api/v1/namespaces/default/pods/x/eviction"):
        answer = await admin.call("GET", path)
        assert (answer.status, answer.json()["message"]) == (404, "the server could not find the requested resource")
    answer = await admin.call("GET", f"{APPS}/a/scale")
    assert (answer.status, answer.json()["message"]) == (404, 'apps.eaves.dev "a" not found')


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"timeoutSeconds": "x"}, 400),
        ({"timeoutSeconds": "1.5"}, 400),
        ({"timeoutSeconds": "-1"}, 200),
        ({"limit": ""}, 400),
        ({"limit": "-5"}, 200),
        ({"limit": "9223372036854775807"}, 200),
        ({"limit": "99999999999999999999"}, 400),
        ({"limit": "1_0"}, 400),
        ({"limit": " 1"}, 400),
        ({"resourceVersion": "1" * 30}, 400),
        ({"sendInitialEvents": "false"}, 422),
    ],
)
async def test_parameters_of_a_list(admin: AsgiClient, query: dict[str, Any], code: int) -> None:
    assert (await admin.call("GET", APPS, **query)).status == code


async def test_an_apply_knows_the_fields_it_sets(admin: AsgiClient) -> None:
    """A kube-apiserver says the same with code 500, as if it were its own fault."""
    answer = await patch(admin, app({"nope": 1}), APPLY, fieldManager="alice")

    what = "failed to create typed patch object (/a; eaves.dev/v1alpha1, Kind=App)"
    assert (answer.status, answer.json()["message"]) == (400, f"{what}: .spec.nope: field not declared in schema")


async def test_a_status_in_an_apply_of_the_main_path_does_not_count(admin: AsgiClient) -> None:
    answer = await patch(admin, {**app(), "status": {"phase": "Nope", "x": 1}}, APPLY, fieldManager="alice")

    assert answer.status == 201
    assert "status" not in answer.json()
    assert owners(answer) == {"alice:Apply": {"f:spec": {"f:image": {}, "f:nodeName": {}}}}


async def test_no_empty_data_in_kinds_of_kubernetes(admin: AsgiClient) -> None:
    answer = await admin.call("POST", CONFIGMAPS, {**CONFIGMAP, "data": {}}, fieldManager="curl")
    assert "data" not in answer.json()
    assert owners(answer) == {}

    await patch(admin, {"data": {"a": "b"}}, path=f"{CONFIGMAPS}/c")
    answer = await patch(admin, {"data": {"a": None}}, path=f"{CONFIGMAPS}/c")
    assert "data" not in answer.json()
    assert owners(answer) == {}


async def test_no_empty_finalizers_in_a_namespace(admin: AsgiClient) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}
    await admin.call("POST", "/api/v1/namespaces", namespace)
    answer = await admin.call("PUT", "/api/v1/namespaces/n/finalize", namespace)
    assert answer.json()["spec"] == {}


PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("path", "accept", "code"),
    [
        (APPS, PARTIAL, 406),
        (APPS, PARTIAL_LIST, 200),
        (f"{APPS}/a", PARTIAL, 200),
        (f"{APPS}/a", PARTIAL_LIST, 406),
        (f"{APPS}/a", f"{PARTIAL_LIST},application/json", 200),
    ],
)
async def test_lists_and_objects_have_metadata_forms_of_their_own(
    admin: AsgiClient, path: str, accept: str, code: int
) -> None:
    await create(admin)

    assert (await admin.call("GET", path, headers={"accept": accept})).status == code


async def test_rows_without_their_object(admin: AsgiClient) -> None:
    await create(admin)
    headers = {"accept": TABLE}

    answer = await admin.call("GET", APPS, headers=headers, includeObject="None")
    assert [row["object"] for row in answer.json()["rows"]] == [None]
    refused = await admin.call("GET", APPS, headers=headers, includeObject="x")
    assert (refused.status, refused.json()["reason"]) == (400, "BadRequest")


async def test_watchers_see_the_last_stored_state_of_what_goes(admin: AsgiClient) -> None:
    created = await create(admin)
    await patch(admin, {"metadata": {"finalizers": ["a.b/c"]}})
    marked = (await admin.call("DELETE", f"{APPS}/a")).json()
    released = (await patch(admin, {"metadata": {"finalizers": None}})).json()
    second = await create(admin)
    await admin.call("DELETE", f"{APPS}/a")

    since = created["metadata"]["resourceVersion"]
    answer = await admin.call("GET", APPS, watch="1", timeoutSeconds="1", resourceVersion=since)
    events = [json.loads(line) for line in answer.body.splitlines()]
    gone = [event["object"]["metadata"] for event in events if event["type"] == "DELETED"]

    assert "finalizers" not in released["metadata"]
    assert gone[0] == {**marked["metadata"], "resourceVersion": released["metadata"]["resourceVersion"]}
    assert (gone[1]["generation"], "deletionTimestamp" in gone[1]) == (1, False)
    assert int(gone[1]["resourceVersion"]) > int(second["metadata"]["resourceVersion"])


@pytest.mark.parametrize(
    "fields",
    [
        {"data": None},
        {"data": None, "binaryData": None, "immutable": None},
        {"metadata": {"name": "c", "labels": None, "finalizers": None, "ownerReferences": None}},
    ],
)
async def test_nulls_that_templates_leave_in_an_apply_say_nothing(admin: AsgiClient, fields: dict[str, Any]) -> None:
    answer = await patch(admin, {**CONFIGMAP, **fields}, APPLY, f"{CONFIGMAPS}/c", fieldManager="helm")

    assert answer.status == 201
    assert not answer.json().keys() & {"data", "binaryData", "immutable"}


async def test_a_custom_kinds_own_fields_must_not_be_null_in_an_apply(admin: AsgiClient) -> None:
    assert (await patch(admin, app(labels=None, annotations=None), APPLY, fieldManager="helm")).status == 201
    assert (await patch(admin, app({"env": None}), APPLY, fieldManager="helm")).status == 422


async def test_answers_can_be_had_indented(admin: AsgiClient) -> None:
    answer = await admin.call("GET", "/api/v1/namespaces/default", pretty="true")
    assert answer.body.startswith(b'{\n  "')
    assert answer.json()["metadata"]["name"] == "default"
    assert b"\n" not in (await admin.call("GET", "/api/v1/namespaces/default", pretty="false")).body


@pytest.mark.parametrize("body", [{"metadata": "x"}, {"metadata": {"name": 5}}])
async def test_patches_that_leave_no_readable_metadata_are_invalid(admin: AsgiClient, body: Any) -> None:
    await create(admin)

    answer = await patch(admin, body)

    assert (answer.status, answer.json()["details"]["causes"][0]["field"]) == (422, "patch")
