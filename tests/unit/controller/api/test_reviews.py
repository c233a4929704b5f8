"""Reviews and requests for tokens are read as a kube-apiserver 1.37.2 reads them: recorded questions, the same codes and fields."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.testing.asgi import Answer, AsgiClient

AUTHORIZATION, AUTHENTICATION = "/apis/authorization.k8s.io/v1", "/apis/authentication.k8s.io/v1"
SELF, OTHERS = f"{AUTHORIZATION}/selfsubjectaccessreviews", f"{AUTHORIZATION}/subjectaccessreviews"
LOCAL = f"{AUTHORIZATION}/namespaces/default/localsubjectaccessreviews"
RULES, WHO = f"{AUTHORIZATION}/selfsubjectrulesreviews", f"{AUTHENTICATION}/selfsubjectreviews"
TOKEN = "/api/v1/namespaces/default/serviceaccounts/default/token"
GET = {"verb": "get", "resource": "configmaps"}
HERE = {**GET, "namespace": "default"}


def on(**attributes: Any) -> dict[str, Any]:
    return {"resourceAttributes": {**HERE, **attributes}}


def fields(answer: Answer) -> list[str]:
    return [cause["field"] for cause in answer.json().get("details", {}).get("causes", ())]


@pytest.mark.parametrize(
    ("path", "body", "code", "faults"),
    [
        (SELF, {"spec": {}}, 422, ["spec"]),
        (SELF, {"spec": {"resourceAttributes": None}}, 422, ["spec"]),
        (SELF, {"spec": {**on(), "nonResourceAttributes": {"path": "/", "verb": "get"}}}, 422, ["spec"]),
        (SELF, {"spec": {"resourceAttributes": "x"}}, 400, []),
        (SELF, {"spec": on(verb=5)}, 400, []),
        (SELF, {"spec": on(), "kind": "Other", "apiVersion": "authorization.k8s.io/v1"}, 400, []),
        (SELF, {"spec": on(), "metadata": {"name": "x"}}, 422, ["metadata"]),
        (SELF, {"spec": on(), "metadata": {"namespace": "other"}}, 201, []),
        (SELF, {"spec": on(labelSelector={"rawSelector": "a=b"})}, 201, []),
        (SELF, {"spec": on(labelSelector={})}, 422, ["spec.resourceAttributes.labelSelector.requirements"]),
        (
            SELF,
            {"spec": on(fieldSelector={"rawSelector": "a=b", "requirements": [{"key": "a", "operator": "Exists"}]})},
            422,
            ["spec.resourceAttributes.fieldSelector.rawSelector"],
        ),
        (OTHERS, {"spec": on()}, 422, ["spec.user"]),
        (OTHERS, {"spec": {}}, 422, ["spec", "spec.user"]),
        (OTHERS, {"spec": {**on(), "groups": ["a"]}}, 201, []),
        (LOCAL, {"spec": {**on(), "user": "a"}}, 201, []),
        (LOCAL, {"spec": {"resourceAttributes": GET, "user": "a"}}, 422, ["spec.resourceAttributes.namespace"]),
        (LOCAL, {"spec": {**on(namespace="b"), "user": "a"}}, 422, ["spec.resourceAttributes.namespace"]),
        (LOCAL, {"spec": {**on(), "user": "a"}, "metadata": {"namespace": "b"}}, 400, []),
        (
            LOCAL,
            {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}, "user": "a"}},
            422,
            ["spec.nonResourceAttributes"],
        ),
        (RULES, {}, 400, []),
        (RULES, {"spec": {"namespace": 5}}, 400, []),
        (RULES, {"spec": {"namespace": "default"}, "status": {"resourceRules": None, "incomplete": False}}, 201, []),
        (WHO, {"kind": "Other"}, 400, []),
        (WHO, {"metadata": {"name": "x"}}, 201, []),
        (f"{AUTHENTICATION}/tokenreviews", {"spec": {"token": ""}}, 400, []),
        (f"{AUTHENTICATION}/tokenreviews", {"spec": {"token": "x", "audiences": "y"}}, 400, []),
    ],
)
async def test_a_question_is_refused_where_kubernetes_refuses_it(
    admin: AsgiClient, path: str, body: Any, code: int, faults: list[str]
) -> None:
    answer = await admin.call("POST", path, body)
    assert (answer.status, fields(answer)) == (code, faults), answer.body.decode()


async def test_fields_that_a_question_does_not_have_are_told_of(admin: AsgiClient) -> None:
    body = {"spec": {**on(more=1), "much": 2}}
    told = await admin.call("POST", SELF, body)
    assert told.status == 201
    assert told.warnings == [
        '299 - "unknown field \\"spec.resourceAttributes.more\\""',
        '299 - "unknown field \\"spec.much\\""',
    ]
    assert told.json()["spec"] == on()
    assert (await admin.call("POST", SELF, body, fieldValidation="Strict")).status == 400


@pytest.mark.parametrize(
    ("body", "code", "faults"),
    [
        ({"spec": {}}, 201, []),
        ({"metadata": {"name": "default", "namespace": "default"}}, 201, []),
        ({"metadata": {"name": "other"}}, 422, ["metadata.name"]),
        ({"metadata": {"namespace": "other"}}, 400, []),
        ({"kind": "Other", "apiVersion": "v1"}, 400, []),
        ({"spec": {"expirationSeconds": "x"}}, 400, []),
        ({"spec": {"expirationSeconds": 5}}, 422, ["spec.expirationSeconds"]),
        ({"spec": {"boundObjectRef": {"kind": "Secret", "apiVersion": "v1"}}}, 400, []),
        ({"spec": {"boundObjectRef": {"kind": "App", "name": "x"}}}, 400, []),
        ({"spec": {"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": "x"}}}, 404, []),
    ],
)
async def test_a_request_for_a_token_is_refused_where_kubernetes_refuses_it(
    admin: AsgiClient, body: Any, code: int, faults: list[str]
) -> None:
    made = await admin.call("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    assert made.status in (201, 409)
    answer = await admin.call("POST", TOKEN, body)
    assert (answer.status, fields(answer)) == (code, faults), answer.body.decode()


@pytest.mark.parametrize(
    ("user", "group", "expected"),
    [
        ("zed", "system:unauthenticated", None),
        ("system:serviceaccount:a:b", "", ["system:serviceaccounts", "system:serviceaccounts:a"]),
        ("system:serviceaccount:a:B_", "", []),
        ("zed", "a", ["a"]),
    ],
)
async def test_the_groups_of_who_is_impersonated(
    admin: AsgiClient, user: str, group: str, expected: list[str] | None
) -> None:
    headers = {"impersonate-user": user} | ({"impersonate-group": group} if group else {})
    answer = await admin.call("POST", WHO, {}, headers=headers)
    if expected is None:
        # Whom nobody has authenticated may not even ask who he is.
        assert answer.status == 403
    else:
        assert answer.json()["status"]["userInfo"]["groups"] == [*expected, "system:authenticated"]
