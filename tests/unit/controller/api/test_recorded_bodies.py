"""Answers of a kube-apiserver 1.37.2 to bodies that are odd or wrong, recorded with App as a custom resource."""

from __future__ import annotations

import json
from typing import Any

import pytest

from eaves.testing.asgi import AsgiClient

APPS = "/apis/eaves.dev/v1alpha1/namespaces/default/apps"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
JSON_PATCH, STRATEGIC = "application/json-patch+json", "application/strategic-merge-patch+json"


def app(spec: Any = None, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "App",
        "metadata": {"name": "a", **metadata},
        "spec": {"image": "r.example/x:1", "nodeName": "n", **(spec or {})},
    }


def configmap(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, **fields}


TWICE_NAMED = b'{"apiVersion":"eaves.dev/v1alpha1","kind":"App","metadata":{"name":"a","name":"a"}}'
OF_APP = 'App in version "v1alpha1" cannot be handled as a App: '
OF_CONFIGMAP = 'ConfigMap in version "v1" cannot be handled as a ConfigMap: '
OF_LEASE = 'Lease in version "v1" cannot be handled as a Lease: '
TO = "json: cannot unmarshal "
TIME = 'parsing time "foo" as "2006-01-02T15:04:05Z07:00": cannot parse "foo" as "2006"'


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        (APPS, app(creationTimestamp="foo"), OF_APP + TIME),
        (APPS, app(labels={"a": 1}), f"{OF_APP}{TO}number into Go struct field ObjectMeta.labels of type string"),
        (APPS, app(labels=[]), f"{OF_APP}{TO}array into Go struct field ObjectMeta.labels of type map[string]string"),
        (APPS, app(finalizers="x"), f"{OF_APP}{TO}string into Go struct field ObjectMeta.finalizers of type []string"),
        (APPS, app(generation="x"), f"{OF_APP}{TO}string into Go struct field ObjectMeta.generation of type int64"),
        (
            APPS,
            app(ownerReferences=[{"uid": 1}]),
            f"{OF_APP}{TO}number into Go struct field OwnerReference.ownerReferences.uid of type types.UID",
        ),
        (
            APPS,
            app(ownerReferences={}),
            f"{OF_APP}{TO}object into Go struct field ObjectMeta.ownerReferences of type []v1.OwnerReference",
        ),
        (APPS, {**app(), "metadata": "x"}, f"{OF_APP}{TO}string into Go value of type v1.ObjectMeta"),
        (
            CONFIGMAPS,
            configmap(data={"a": 1}),
            f"{OF_CONFIGMAP}{TO}number into Go struct field ConfigMap.data of type string",
        ),
        (
            CONFIGMAPS,
            configmap(data=[]),
            f"{OF_CONFIGMAP}{TO}array into Go struct field ConfigMap.data of type map[string]string",
        ),
        (CONFIGMAPS, configmap(binaryData={"a": "***"}), f"{OF_CONFIGMAP}illegal base64 data at input byte 0"),
        (
            CONFIGMAPS,
            configmap(metadata={"labels": {"a": 1}}),
            f"{OF_CONFIGMAP}{TO}number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            CONFIGMAPS,
            configmap(metadata="x"),
            f"{OF_CONFIGMAP}{TO}string into Go struct field ConfigMap.metadata of type v1.ObjectMeta",
        ),
        (
            LEASES,
            {"metadata": {"name": "l"}, "spec": {"renewTime": "foo"}},
            OF_LEASE + TIME.replace("05Z", "05.000000Z"),
        ),
        (
            LEASES,
            {"metadata": {"name": "l"}, "spec": []},
            f"{OF_LEASE}{TO}array into Go struct field Lease.spec of type v1.LeaseSpec",
        ),
        (
            LEASES,
            {"metadata": {"name": "l"}, "spec": {"leaseDurationSeconds": 99999999999}},
            f"{OF_LEASE}{TO}number 99999999999 into Go struct field LeaseSpec.spec.leaseDurationSeconds of type int32",
        ),
        (
            APPS,
            {"metadata": {"name": "x"}},
            "the object provided is unrecognized (must be of type App): Object 'Kind' is missing in "
            '\'{"metadata": {"name": "x"}}\' ({"metadata": {"name": "x"}})',
        ),
    ],
)
async def test_values_of_another_type(admin: AsgiClient, path: str, body: Any, message: str) -> None:
    answer = await admin.call("POST", path, body)

    assert (answer.status, answer.json()["message"]) == (400, message)


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        (f"{APPS}/a", MERGE, {"metadata": {"labels": []}}),
        (f"{APPS}/a", MERGE, {"metadata": {"finalizers": "x"}}),
        (f"{CONFIGMAPS}/c", MERGE, {"data": []}),
        (f"{CONFIGMAPS}/c", STRATEGIC, {"data": {"a": 1}}),
    ],
)
async def test_patches_to_another_type(admin: AsgiClient, path: str, kind: str, body: Any) -> None:
    await admin.call("POST", APPS, app())
    await admin.call("POST", CONFIGMAPS, configmap())

    answer = await admin.call("PATCH", path, body, content_type=kind)

    assert answer.status == 422
    assert [cause["field"] for cause in answer.json()["details"]["causes"]] == ["patch"]


@pytest.mark.parametrize(
    ("kind", "body", "warning"),
    [
        (MERGE, b'{"spec":{"image":"r.example/x:2","image":"r.example/x:3"}}', 'duplicate field "spec.image"'),
        (JSON_PATCH, b'[{"op":"test","path":"/kind","value":"App","zz":1}]', 'json patch unknown field "[0].zz"'),
        (
            JSON_PATCH,
            b'[{"op":"test","op":"test","path":"/kind","value":"App"}]',
            'json patch duplicate field "[0].op"',
        ),
        (
            APPLY,
            TWICE_NAMED,
            'line 1: key "name" already set in map',
        ),
    ],
)
async def test_what_a_patch_says_twice_or_in_vain(admin: AsgiClient, kind: str, body: bytes, warning: str) -> None:
    await admin.call("POST", APPS, app())

    async def patch(validation: str) -> Any:
        query: dict[str, Any] = {"fieldManager": "m", "fieldValidation": validation}
        return await admin.call("PATCH", f"{APPS}/a", body, content_type=kind, **query)

    strict = await patch("Strict")
    assert (strict.status, warning in strict.json()["message"]) == (400 if kind == APPLY else 422, True)
    escaped = warning.replace('"', '\\"')
    assert (await patch("Warn")).warnings == [f'299 - "{escaped}"']
    assert (await patch("Ignore")).warnings == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"null", 200),
        (b"[null]", 422),
        (b'[{"op":1,"path":"/a"}]', 400),
        (b'[{"op":"replace","path":"/metadata/labels","value":{"a":"b"}}]', 200),
        (b'[{"op":"add","path":"/metadata/labels","value":{"a":"b"}},{"op":"add","path":"/metadata/labels/q"}]', 200),
        (b'[{"op":"ADD","path":"/metadata/labels","value":{}}]', 422),
        (b"[{", 400),
    ],
)
async def test_json_patches_of_odd_forms(admin: AsgiClient, body: bytes, code: int) -> None:
    await admin.call("POST", APPS, app())

    assert (await admin.call("PATCH", f"{APPS}/a", body, content_type=JSON_PATCH)).status == code


async def test_null_in_a_map_of_texts_is_an_empty_text(admin: AsgiClient) -> None:
    made = (await admin.call("POST", CONFIGMAPS, configmap(data={"a": None}))).json()
    assert made["data"] == {"a": ""}
    body = configmap(data={"b": None}, metadata={"name": "d"})
    applied = await admin.call("PATCH", f"{CONFIGMAPS}/d", body, content_type=APPLY, fieldManager="m")
    assert applied.json()["data"] == {"b": ""}
    assert applied.json()["metadata"]["managedFields"][0]["fieldsV1"] == {"f:data": {"f:b": {}}}
    answer = await admin.call("POST", APPS, app(annotations={"a": None}))
    assert answer.json()["metadata"]["annotations"] == {"a": ""}


@pytest.mark.parametrize("path", [f"{APPS}/a", f"{CONFIGMAPS}/a"])
async def test_an_apply_that_creates_must_say_the_name(admin: AsgiClient, path: str) -> None:
    body = {**(app() if path.startswith(APPS) else configmap()), "metadata": {}}

    answer = await admin.call("PATCH", path, body, content_type=APPLY, fieldManager="m")

    message = "the name of the object (a based on URL) was undeterminable: name must be provided"
    assert (answer.status, answer.json()["message"]) == (400, message)
    await admin.call("POST", path.removesuffix("/a"), {**body, "metadata": {"name": "a"}})
    assert (await admin.call("PATCH", path, body, content_type=APPLY, fieldManager="m")).status == 200


async def test_conflicts_come_before_values_that_are_not_allowed(admin: AsgiClient) -> None:
    await admin.call("POST", APPS, app({"type": "Container"}), fieldManager="curl")

    async def apply(**query: Any) -> Any:
        body = app({"type": "Foo"})
        return await admin.call("PATCH", f"{APPS}/a", body, content_type=APPLY, fieldManager="m", **query)

    assert (await apply()).status == 409
    assert (await apply(force="true")).status == 422


async def test_finalizers_without_a_domain(admin: AsgiClient) -> None:
    made = await admin.call("POST", APPS, app(finalizers=["ab"]))
    assert made.warnings == [
        '299 - "metadata.finalizers: \\"ab\\": prefer a domain-qualified finalizer name to avoid accidental conflicts with '
        'other finalizer writers"'
    ]
    changed = await admin.call("PATCH", f"{APPS}/a", {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)
    assert changed.warnings == []
    refused = await admin.call("POST", CONFIGMAPS, configmap(metadata={"name": "c", "finalizers": ["ab"]}))
    assert [(c["field"], c["reason"]) for c in refused.json()["details"]["causes"]] == [
        ("metadata.finalizers[0]", "FieldValueInvalid")
    ]


@pytest.mark.parametrize(("version", "code"), [("0", 201), ("zz", 201), ("4", 400)])
async def test_new_objects_with_a_version(admin: AsgiClient, version: str, code: int) -> None:
    assert (await admin.call("POST", APPS, app(resourceVersion=version))).status == code


def faults_of(answer: Any) -> list[tuple[str, str]]:
    assert answer.status == 422
    return [(cause["field"], cause["message"]) for cause in answer.json()["details"]["causes"]]


async def test_events_of_the_newer_form_say_who_did_what(admin: AsgiClient) -> None:
    regarding = {"kind": "App", "namespace": "default", "name": "a"}
    body: dict[str, Any] = {"metadata": {"name": "e"}, "regarding": regarding}
    assert faults_of(await admin.call("POST", EVENTS, body)) == [
        ("eventTime", "Required value"),
        ("type", 'Invalid value: "": has invalid value: '),
    ]
    newer = body | {"eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal", "deprecatedCount": 3}
    faults = faults_of(await admin.call("POST", EVENTS, newer))
    assert [field for field, _ in faults] == [
        *["reportingController"] * 3,
        "reportingInstance",
        "action",
        "reason",
        "count",
    ]


async def test_events_show_their_empty_fields_and_own_their_object_whole(admin: AsgiClient) -> None:
    involved = {"kind": "App", "namespace": "default", "name": "a"}
    body = {"metadata": {"name": "e"}, "involvedObject": involved, "source": {"component": "c"}, "count": 1}
    path = "/api/v1/namespaces/default/events"
    made = (await admin.call("POST", path, body)).json()
    assert {name: made[name] for name in ("eventTime", "firstTimestamp", "lastTimestamp", "reportingComponent")} == {
        "eventTime": None,
        "firstTimestamp": None,
        "lastTimestamp": None,
        "reportingComponent": "",
    }
    assert made["metadata"]["managedFields"][0]["fieldsV1"] == {
        "f:count": {},
        "f:involvedObject": {},
        "f:source": {"f:component": {}},
    }
    same = await admin.call("PUT", f"{path}/e", {**body, "metadata": {"name": "e"}})
    assert same.json()["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    shown = (await admin.call("GET", f"{EVENTS}/e")).json()
    assert (shown["deprecatedFirstTimestamp"], shown["eventTime"], "reportingController" in shown) == (
        None,
        None,
        False,
    )


async def test_a_token_for_an_account_names_it(admin: AsgiClient) -> None:
    body = {"metadata": {"name": "t"}, "type": "kubernetes.io/service-account-token"}
    assert faults_of(await admin.call("POST", SECRETS, body)) == [
        ("metadata.annotations[kubernetes.io/service-account.name]", "Required value")
    ]


async def test_faults_of_roles_and_bindings(admin: AsgiClient) -> None:
    role = {"metadata": {"name": "r"}, "rules": [{"resources": ["pods"]}, {"verbs": ["get"]}]}
    assert [field for field, _ in faults_of(await admin.call("POST", f"{RBAC}/roles", role))] == [
        "rules[0].apiGroups",
        "rules[1].apiGroups",
        "rules[1].resources",
        "rules[0].verbs",
    ]
    binding = {"metadata": {"name": "b"}, "subjects": [{"kind": "User"}, {"kind": "Foo", "name": "alice"}]}
    assert faults_of(await admin.call("POST", f"{RBAC}/rolebindings", binding)) == [
        ("roleRef.kind", 'Unsupported value: "": supported values: "Role", "ClusterRole"'),
        ("subjects[1].kind", 'Unsupported value: "Foo": supported values: "ServiceAccount", "User", "Group"'),
        ("subjects[0].name", "Required value"),
        ("roleRef.name", "Required value"),
    ]
    empty = await admin.call("POST", f"{RBAC}/roles", {"metadata": {"name": "none"}})
    assert empty.json()["rules"] is None


async def test_nobody_owns_what_a_namespace_is_given_by_the_server(admin: AsgiClient) -> None:
    made = (await admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}})).json()
    assert made["metadata"]["managedFields"][0]["fieldsV1"] == {
        "f:metadata": {"f:labels": {".": {}, "f:kubernetes.io/metadata.name": {}}}
    }


async def test_leases_have_no_generation_and_a_spec_that_nobody_owns_as_such(admin: AsgiClient) -> None:
    made = (await admin.call("POST", LEASES, {"metadata": {"name": "l"}, "spec": {"holderIdentity": ""}})).json()
    assert (made["spec"], "generation" in made["metadata"]) == ({"holderIdentity": ""}, False)
    assert made["metadata"]["managedFields"][0]["fieldsV1"] == {"f:spec": {"f:holderIdentity": {}}}
    assert (await admin.call("POST", LEASES, {"metadata": {"name": "m"}})).json()["spec"] == {}


async def test_lists_of_custom_kinds_say_that_they_end(admin: AsgiClient) -> None:
    assert (await admin.get(APPS))["metadata"]["continue"] == ""
    assert "continue" not in (await admin.get(CONFIGMAPS))["metadata"]


async def test_any_version_is_served_whole(admin: AsgiClient) -> None:
    for name in ("a", "b", "c"):
        await admin.call("POST", APPS, app(name=name))

    found = await admin.get(APPS, resourceVersion="0", resourceVersionMatch="NotOlderThan", limit="2")

    assert len(found["items"]) == 3


@pytest.mark.parametrize("shape", ["Table", "PartialObjectMetadataList"])
async def test_shapes_come_in_the_version_that_was_asked(admin: AsgiClient, shape: str) -> None:
    await admin.call("POST", APPS, app())
    accept = f"application/json;as={shape};v=v1beta1;g=meta.k8s.io"
    answer = (await admin.call("GET", APPS, headers={"accept": accept})).json()
    inner = answer["rows"][0]["object"] if shape == "Table" else answer["items"][0]
    assert (answer["apiVersion"], inner["apiVersion"]) == ("meta.k8s.io/v1beta1", "meta.k8s.io/v1beta1")


@pytest.mark.parametrize("number", ["3.0", "0.3e1", "30e-1"])
async def test_whole_numbers_may_be_written_with_a_fraction(admin: AsgiClient, number: str) -> None:
    """Templates and other languages write them so."""
    body = json.dumps(app({"restartCounter": 0})).replace('"restartCounter": 0', f'"restartCounter": {number}').encode()
    made = await admin.call("POST", APPS, body)
    assert (made.status, made.json()["spec"]["restartCounter"]) == (201, 3)
    patch = f'{{"spec":{{"restartCounter":{number}}}}}'.encode()
    again = await admin.call("PATCH", f"{APPS}/a", patch, content_type=MERGE)
    assert again.json()["metadata"]["resourceVersion"] == made.json()["metadata"]["resourceVersion"]
    refused = await admin.call("PATCH", f"{APPS}/a", b'{"spec":{"restartCounter":1.5}}', content_type=MERGE)
    assert refused.status == 422


async def test_base64_may_be_broken_into_lines(admin: AsgiClient) -> None:
    """Block texts of YAML are, and it is kept without the breaks."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "MTIz\nNDU2\r\n"}}
    made = await admin.call("POST", SECRETS, secret)
    assert (made.status, made.json()["data"]) == (201, {"a": "MTIzNDU2"})
    applied = await admin.call("PATCH", f"{SECRETS}/s", secret, content_type=APPLY, fieldManager="m", force="true")
    assert (applied.status, applied.json()["data"]) == (200, {"a": "MTIzNDU2"})
    map_of_bytes = configmap(binaryData={"b": "MTIz\n"})
    assert (await admin.call("POST", CONFIGMAPS, map_of_bytes)).json()["binaryData"] == {"b": "MTIz"}
    assert (await admin.call("POST", SECRETS, {**secret, "data": {"a": "MTIz NDU2"}})).status == 400


async def test_an_owner_that_stands_twice_is_kept_once(admin: AsgiClient) -> None:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "p", "uid": "1"}
    made = await admin.call(
        "POST", CONFIGMAPS, configmap(metadata={"name": "c", "ownerReferences": [owner, owner, {**owner, "uid": "2"}]})
    )
    assert [each["uid"] for each in made.json()["metadata"]["ownerReferences"]] == ["1", "2"]
    assert "duplicate UID(s) observed: 1" in made.warnings[0]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (LEASES, {"spec": {"holderIdentity": "me"}}),
        (f"{RBAC}/roles", {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
        ("/api/v1/namespaces/default/events", {"involvedObject": {"namespace": "default"}}),
    ],
)
async def test_a_put_makes_objects_of_some_kinds(admin: AsgiClient, path: str, body: dict[str, Any]) -> None:
    wanted = {"metadata": {"name": "x"}, **body}
    assert (await admin.call("PUT", f"{path}/x", wanted, dryRun="All")).status == 201
    assert (await admin.call("GET", f"{path}/x")).status == 404
    made = await admin.call("PUT", f"{path}/x", wanted, fieldManager="m")
    assert (made.status, made.json()["metadata"]["managedFields"][0]["operation"]) == (201, "Update")
    version = made.json()["metadata"]["resourceVersion"]
    changed = {**wanted, "metadata": {"name": "x", "resourceVersion": version, "labels": {"a": "b"}}}
    assert (await admin.call("PUT", f"{path}/x", changed)).status == 200
    assert (await admin.call("PUT", f"{path}/y", {**wanted, "metadata": {"name": "y", "uid": "z"}})).status == 409
    elsewhere = await admin.call("PUT", f"{path.replace('default', 'nowhere')}/x", wanted)
    assert elsewhere.json()["details"]["kind"] == "namespaces"
    assert (await admin.call("PUT", f"{CONFIGMAPS}/x", configmap(metadata={"name": "x"}))).status == 404


async def test_a_lease_is_replaced_in_one_version_only(admin: AsgiClient) -> None:
    await admin.call("POST", LEASES, {"metadata": {"name": "x"}, "spec": {"holderIdentity": "me"}})
    answer = await admin.call("PUT", f"{LEASES}/x", {"metadata": {"name": "x"}, "spec": {"holderIdentity": "you"}})
    assert faults_of(answer) == [("metadata.resourceVersion", "Invalid value: 0: must be specified for an update")]


async def test_events_of_the_newer_form_are_replaced_and_owned_in_it(admin: AsgiClient) -> None:
    body: dict[str, Any] = {
        "metadata": {"name": "e"},
        "regarding": {"namespace": "default", "name": "a"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "type": "Normal",
        "action": "Do",
        "reason": "Done",
        "note": "it was done",
        "reportingController": "a.b/c",
        "reportingInstance": "i",
    }
    made = (await admin.call("POST", EVENTS, body, fieldManager="one")).json()
    (entry,) = made["metadata"]["managedFields"]
    assert entry["apiVersion"] == "events.k8s.io/v1"
    assert entry["fieldsV1"].keys() == {f"f:{name}" for name in body if name != "metadata"}
    changed = {**body, "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}}
    answer = await admin.call("PUT", f"{EVENTS}/e", changed, fieldManager="two")
    assert answer.status == 200, answer.body.decode()
    mine = next(each for each in answer.json()["metadata"]["managedFields"] if each["manager"] == "two")
    assert mine["fieldsV1"] == {"f:series": {".": {}, "f:count": {}, "f:lastObservedTime": {}}}
    missing = await admin.call("DELETE", f"{EVENTS}/x")
    assert missing.json()["message"] == 'events.events.k8s.io "x" not found'


@pytest.mark.parametrize(
    ("text", "rest"), [("2026-01-01T00:00:00Z", "Z"), ("2026-01-01T00:00:00.000+01:00", ".000+01:00")]
)
async def test_times_of_leases_have_microseconds(admin: AsgiClient, text: str, rest: str) -> None:
    """Go clients cannot read others, and with one of them no list of Leases."""
    body = {"metadata": {"name": "x"}, "spec": {"renewTime": text}}
    answer = await admin.call("POST", LEASES, body)
    told = f'parsing time "{text}" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "{rest}" as ".000000"'
    assert (answer.status, answer.json()["message"]) == (400, OF_LEASE + told)
    good = {"metadata": {"name": "x"}, "spec": {"renewTime": "2026-01-01T00:00:00.123456Z"}}
    assert (await admin.call("POST", LEASES, good)).status == 201
