"""Who owns which field of kinds of Kubernetes itself, as a kube-apiserver 1.37.2 answered to the same writes."""

from __future__ import annotations

from typing import Any

from eaves.testing.asgi import Answer, AsgiClient

NAMESPACES = "/api/v1/namespaces"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
CORE_EVENTS = "/api/v1/namespaces/default/events"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
ROLES = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles"
APPS = "/apis/eaves.dev/v1alpha1/namespaces/default/apps"
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def owners(answer: Answer) -> dict[str, Any]:
    assert answer.status in (200, 201), answer.body.decode()
    entries = answer.json()["metadata"].get("managedFields", ())
    return {
        f"{each['manager']} {each['operation']} {each.get('subresource', '')}".strip(): each["fieldsV1"]
        for each in entries
    }


async def patch(admin: AsgiClient, path: str, body: Any, manager: str = "two", kind: str = MERGE) -> Answer:
    return await admin.call("PATCH", path, body, content_type=kind, fieldManager=manager)


async def test_nulls_of_a_configuration_are_owned(admin: AsgiClient) -> None:
    await admin.call("POST", CONFIGMAPS, {"metadata": {"name": "c", "labels": {"a": "b"}}, "data": {"a": "1"}})
    metadata: dict[str, Any] = {"name": "c", "labels": None, "annotations": {}}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": None}
    answer = await patch(admin, f"{CONFIGMAPS}/c", body, kind=APPLY)
    mine = owners(answer)["two Apply"]
    assert mine == {"f:metadata": {"f:labels": {}, "f:annotations": {}}, "f:data": {}}
    assert (answer.json()["data"], answer.json()["metadata"]["labels"]) == ({"a": "1"}, {"a": "b"})
    # Whoever owned what is now a null, leaves it.
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}, "data": {"a": "1"}}
    await patch(admin, f"{CONFIGMAPS}/d", body, kind=APPLY)
    answer = await patch(admin, f"{CONFIGMAPS}/d", {**body, "data": None}, kind=APPLY)
    assert owners(answer) == {"two Apply": {"f:data": {}}}
    assert "data" not in answer.json()


async def test_nulls_in_the_metadata_of_custom_kinds_are_owned_too(admin: AsgiClient) -> None:
    spec = {"image": "r.example/x:1", "nodeName": "n"}
    await admin.call(
        "POST", APPS, {"apiVersion": "eaves.dev/v1alpha1", "kind": "App", "metadata": {"name": "a"}, "spec": spec}
    )
    body = {"apiVersion": "eaves.dev/v1alpha1", "kind": "App", "metadata": {"name": "a", "labels": None}}
    assert owners(await patch(admin, f"{APPS}/a", body, kind=APPLY))["two Apply"] == {"f:metadata": {"f:labels": {}}}


async def test_fields_that_become_empty_belong_to_who_emptied_them(admin: AsgiClient) -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    await admin.call("POST", ROLES, {"metadata": {"name": "r"}, "rules": rules}, fieldManager="one")
    answer = await patch(admin, f"{ROLES}/r", {"rules": []})
    assert (answer.json()["rules"], owners(answer)) == (None, {"two Update": {"f:rules": {}}})
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"namespace": "default"},
        "firstTimestamp": "2026-01-01T00:00:00Z",
    }
    await admin.call("POST", CORE_EVENTS, event, fieldManager="one")
    answer = await patch(admin, f"{CORE_EVENTS}/e", {"firstTimestamp": None})
    assert owners(answer) == {"one Update": {"f:involvedObject": {}}, "two Update": {"f:firstTimestamp": {}}}


async def test_secrets_of_accounts_are_names_that_are_owned_whole(admin: AsgiClient) -> None:
    body = {"metadata": {"name": "bot"}, "secrets": [{"name": "a", "namespace": "q", "kind": "Secret"}]}
    answer = await admin.call("POST", ACCOUNTS, body, fieldManager="one", fieldValidation="Strict")
    assert answer.json()["secrets"] == [{"name": "a"}]
    assert owners(answer) == {"one Update": {"f:secrets": {".": {}, 'k:{"name":"a"}': {}}}}
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}, "secrets": [{"name": "c"}]}
    answer = await patch(admin, f"{ACCOUNTS}/bot", body, kind=APPLY)
    assert answer.json()["secrets"] == [{"name": "a"}, {"name": "c"}]
    assert owners(answer)["two Apply"] == {"f:secrets": {'k:{"name":"c"}': {}}}


async def test_a_namespace_and_its_status_are_written_as_one(admin: AsgiClient) -> None:
    path = f"{NAMESPACES}/space"
    made = await admin.call("POST", NAMESPACES, {"metadata": {"name": "space"}}, fieldManager="one")
    name_label: dict[str, Any] = {"f:metadata": {"f:labels": {".": {}, "f:kubernetes.io/metadata.name": {}}}}
    assert owners(made) == {"one Update": name_label}
    body = {
        "metadata": {"labels": {"st": "1"}, "annotations": {"a": "b"}},
        "status": {"conditions": [{"type": "X", "status": "True"}]},
    }
    answer = await patch(admin, f"{path}/status", body)
    assert answer.json()["metadata"]["labels"]["st"] == "1"
    mine = owners(answer)["two Update status"]
    assert mine["f:metadata"] == {"f:annotations": {".": {}, "f:a": {}}, "f:labels": {"f:st": {}}}
    replaced = {"metadata": {"name": "space", "labels": {"st": "2"}}, "status": {"phase": "Active"}}
    answer = await admin.call("PUT", f"{path}/status", replaced, fieldManager="three")
    labels = {"st": "2", "kubernetes.io/metadata.name": "space"}
    assert (answer.json()["metadata"]["labels"], answer.json()["status"]) == (labels, {"phase": "Active"})
    assert owners(answer) == {
        "one Update": name_label,
        "three Update status": {"f:metadata": {"f:labels": {"f:st": {}}}},
    }


async def test_who_holds_a_namespace_is_written_by_finalize_and_owned(admin: AsgiClient) -> None:
    await admin.call("POST", NAMESPACES, {"metadata": {"name": "space"}}, fieldManager="one")
    body: dict[str, Any] = {"metadata": {"name": "space"}, "spec": {"finalizers": ["kubernetes", "a.b/c"]}}
    answer = await admin.call("PUT", f"{NAMESPACES}/space/finalize", body, fieldManager="two")
    assert answer.json()["spec"] == body["spec"]
    assert owners(answer)["two Update finalize"] == {"f:spec": {"f:finalizers": {}}}
    body["spec"]["finalizers"] = ["a b"]
    answer = await admin.call("PUT", f"{NAMESPACES}/space/finalize", body)
    causes = answer.json()["details"]["causes"]
    assert [each["field"] for each in causes] == ["spec.finalizers[0]"] * 2
    assert (
        causes[1]["message"]
        == 'Invalid value: "a b": name is neither a standard finalizer name nor is it fully qualified'
    )


def applied(kind: str, name: str, version: str = "v1", metadata: Any = None, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **(metadata or {})}, **fields}


def clashes(answer: Answer) -> list[str]:
    assert answer.status == 409, answer.body.decode()
    return [each["field"] for each in answer.json()["details"]["causes"]]


RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
RBAC = "rbac.authorization.k8s.io/v1"


async def test_a_null_is_another_value_than_an_empty_one(admin: AsgiClient) -> None:
    await admin.call("POST", CONFIGMAPS, {"metadata": {"name": "c", "labels": {"n": ""}}}, fieldManager="one")
    answer = await patch(
        admin, f"{CONFIGMAPS}/c", applied("ConfigMap", "c", metadata={"labels": {"n": None}}), kind=APPLY
    )
    assert clashes(answer) == [".metadata.labels.n"]
    answer = await patch(
        admin, f"{CONFIGMAPS}/d", applied("ConfigMap", "d", metadata={"labels": {"n": None}}), kind=APPLY
    )
    assert answer.json()["metadata"]["labels"] == {"n": ""}
    await patch(admin, f"{CONFIGMAPS}/e", applied("ConfigMap", "e", metadata={"labels": {}}), kind=APPLY)
    answer = await patch(admin, f"{CONFIGMAPS}/e", applied("ConfigMap", "e", metadata={"labels": None}), "three", APPLY)
    assert clashes(answer) == [".metadata.labels"]


async def test_a_null_over_a_list_that_is_owned_whole_takes_it_away(admin: AsgiClient) -> None:
    await admin.call("POST", ROLES, {"metadata": {"name": "r"}, "rules": RULES}, fieldManager="one")
    body = applied("Role", "r", RBAC, rules=None)
    assert clashes(await patch(admin, f"{ROLES}/r", body, kind=APPLY)) == [".rules"]
    answer = await admin.call("PATCH", f"{ROLES}/r", body, content_type=APPLY, fieldManager="two", force="true")
    assert (answer.json()["rules"], owners(answer)) == (None, {"two Apply": {"f:rules": {}}})


async def test_an_empty_list_that_is_written_anyway_is_owned_by_who_gave_it(admin: AsgiClient) -> None:
    made = await admin.call("POST", ROLES, {"metadata": {"name": "r"}, "rules": []}, fieldManager="one")
    assert (made.json()["rules"], owners(made)) == (None, {"one Update": {"f:rules": {}}})
    for rules in ({}, {"rules": None}):
        bare = await admin.call("POST", ROLES, {"metadata": {"generateName": "r"}, **rules}, fieldManager="one")
        assert owners(bare) == {"one Update": {"f:metadata": {"f:generateName": {}}}}
    again = await admin.call("PUT", f"{ROLES}/r", {"metadata": {"name": "r"}, "rules": []}, fieldManager="one")
    assert again.json()["metadata"]["resourceVersion"] == made.json()["metadata"]["resourceVersion"]
    answer = await patch(admin, f"{ROLES}/r", {"rules": []}, kind=STRATEGIC)
    assert owners(answer) == {"two Update": {"f:rules": {}}}


async def test_what_nobody_tracked_is_what_somebody_put_in(admin: AsgiClient) -> None:
    await admin.call("POST", LEASES, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}})
    await admin.call("POST", ROLES, {"metadata": {"name": "r"}})
    reset: dict[str, Any] = {"metadata": {"managedFields": [{}]}}
    await patch(admin, f"{LEASES}/l", reset)
    await patch(admin, f"{ROLES}/r", reset)
    lease = applied("Lease", "l", "coordination.k8s.io/v1", metadata={"labels": {"a": "b"}})
    answer = await patch(admin, f"{LEASES}/l", lease, kind=APPLY)
    assert owners(answer)["before-first-apply Update"] == {"f:spec": {"f:holderIdentity": {}}}
    answer = await patch(admin, f"{ROLES}/r", applied("Role", "r", RBAC, metadata={"labels": {"a": "b"}}), kind=APPLY)
    assert owners(answer).keys() == {"two Apply"}


async def test_a_container_that_another_emptied_is_owned_still(admin: AsgiClient) -> None:
    made = {"metadata": {"name": "c", "annotations": {"x": "1"}}}
    await admin.call("POST", CONFIGMAPS, made, fieldManager="one")
    body = applied("ConfigMap", "c", metadata={"annotations": {"x": "2"}})
    await admin.call("PATCH", f"{CONFIGMAPS}/c", body, content_type=APPLY, fieldManager="two", force="true")
    answer = await patch(admin, f"{CONFIGMAPS}/c", applied("ConfigMap", "c"), kind=APPLY)
    assert owners(answer) == {"one Update": {"f:metadata": {"f:annotations": {}}}}
    assert "annotations" not in answer.json()["metadata"]


async def test_empty_texts_and_numbers_are_not_kept(admin: AsgiClient) -> None:
    body = {
        "metadata": {"name": "e"},
        "involvedObject": {"namespace": "default"},
        "message": "",
        "count": 0,
        "related": {"kind": "z", "name": "q"},
    }
    answer = await admin.call("POST", CORE_EVENTS, body, fieldManager="one")
    assert not {"message", "count"} & answer.json().keys()
    assert owners(answer) == {"one Update": {"f:involvedObject": {}, "f:related": {}}}


async def test_an_applied_status_makes_no_owner_of_the_rest(admin: AsgiClient) -> None:
    spec = {"image": "r.example/x:1", "nodeName": "n"}
    await admin.call("POST", APPS, applied("App", "a", "eaves.dev/v1alpha1", spec=spec))
    await patch(admin, f"{APPS}/a", {"metadata": {"managedFields": [{}]}})
    body = applied("App", "a", "eaves.dev/v1alpha1", status={"phase": "Running"})
    answer = await patch(admin, f"{APPS}/a/status", body, kind=APPLY)
    assert owners(answer) == {"two Apply status": {"f:status": {"f:phase": {}}}}
