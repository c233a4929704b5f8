"""Failures read as those of a kube-apiserver, since clients print and parse them."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.kube import status
from eaves.kube.errors import ApiError, CauseType, FieldError

GROUP = "eaves.dev"


@pytest.mark.parametrize(
    ("error", "code", "reason", "message", "details"),
    [
        (
            status.not_found(GROUP, "apps", "web"),
            404,
            "NotFound",
            'apps.eaves.dev "web" not found',
            {"name": "web", "group": GROUP, "kind": "apps"},
        ),
        (
            status.not_found("", "secrets", "x"),
            404,
            "NotFound",
            'secrets "x" not found',
            {"name": "x", "kind": "secrets"},
        ),
        (
            status.already_exists(GROUP, "apps", "web"),
            409,
            "AlreadyExists",
            'apps.eaves.dev "web" already exists',
            {"name": "web", "group": GROUP, "kind": "apps"},
        ),
        (
            status.conflict(GROUP, "apps", "web"),
            409,
            "Conflict",
            'Operation cannot be fulfilled on apps.eaves.dev "web": the object has been modified; please apply your '
            "changes to the latest version and try again",
            {"name": "web", "group": GROUP, "kind": "apps"},
        ),
        (
            status.forbidden(
                "", "pods", "", 'User "x" cannot list resource "pods" in API group "" at the cluster scope'
            ),
            403,
            "Forbidden",
            'pods is forbidden: User "x" cannot list resource "pods" in API group "" at the cluster scope',
            {"kind": "pods"},
        ),
        (
            status.forbidden(GROUP, "apps", "web", "why"),
            403,
            "Forbidden",
            'apps.eaves.dev "web" is forbidden: why',
            {"name": "web", "group": GROUP, "kind": "apps"},
        ),
        (status.unauthorized(), 401, "Unauthorized", "Unauthorized", None),
        (status.bad_request("no"), 400, "BadRequest", "no", None),
        (
            status.too_large(3145728),
            413,
            "RequestEntityTooLarge",
            "Request entity too large: limit is 3145728",
            None,
        ),
        (
            status.internal("boom"),
            500,
            "InternalError",
            "Internal error occurred: boom",
            {"causes": [{"message": "boom"}]},
        ),
    ],
)
def test_failures(error: ApiError, code: int, reason: str, message: str, details: Any) -> None:
    document = status.render_status(error)
    assert (document["kind"], document["apiVersion"], document["status"]) == ("Status", "v1", "Failure")
    assert (document["code"], document["reason"], document["message"]) == (code, reason, message)
    assert document.get("details") == details


def test_one_fault_stands_alone_and_several_in_a_list() -> None:
    image = FieldError("spec.image", CauseType.REQUIRED, "")
    port = FieldError("spec.port", CauseType.INVALID, "must be between 1 and 65535", 0)
    single = status.invalid(GROUP, "App", "web", [image])
    assert single.message == 'App.eaves.dev "web" is invalid: spec.image: Required value'
    both = status.render_status(status.invalid(GROUP, "App", "web", [image, port, image]))
    assert both["message"] == (
        'App.eaves.dev "web" is invalid: [spec.image: Required value, '
        "spec.port: Invalid value: 0: must be between 1 and 65535]"
    )
    assert both["code"] == 422
    assert both["details"]["causes"][:2] == [
        {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.image"},
        {
            "reason": "FieldValueInvalid",
            "message": "Invalid value: 0: must be between 1 and 65535",
            "field": "spec.port",
        },
    ]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FieldError("a", CauseType.INVALID, "no", "x"), 'a: Invalid value: "x": no'),
        (FieldError("a", CauseType.INVALID, "no", {"b": 1}), 'a: Invalid value: {"b":1}: no'),
        (FieldError("a", CauseType.INVALID, "no"), "a: Invalid value: null: no"),
        (FieldError("a", CauseType.INVALID, "no", True), "a: Invalid value: true: no"),
        (FieldError("a", CauseType.DUPLICATE, "", "x"), 'a: Duplicate value: "x"'),
        (
            FieldError("a", CauseType.NOT_SUPPORTED, 'supported values: "A"', "x"),
            'a: Unsupported value: "x": supported values: "A"',
        ),
        (FieldError("a", CauseType.FORBIDDEN, "never", "secret"), "a: Forbidden: never"),
        (
            FieldError("a", CauseType.TOO_LONG, "may not be more than 3 bytes", "secret"),
            "a: Too long: may not be more than 3 bytes",
        ),
        (
            FieldError("a", CauseType.TOO_MANY, "must have at most 2 items", 3),
            "a: Too many: 3: must have at most 2 items",
        ),
        (FieldError("", CauseType.REQUIRED, "all of it"), "Required value: all of it"),
    ],
)
def test_faults_of_fields(error: FieldError, text: str) -> None:
    assert status.render_field_error(error) == text


def test_terminating_namespace_is_a_cause() -> None:
    document = status.render_status(status.namespace_terminating(GROUP, "apps", "web", "shop"))
    assert document["message"] == (
        'apps.eaves.dev "web" is forbidden: unable to create new content in namespace shop because it is being terminated'
    )
    assert document["details"]["causes"] == [
        {
            "reason": "NamespaceTerminating",
            "message": "namespace shop is being terminated",
            "field": "metadata.namespace",
        }
    ]


def test_waiting_is_told_in_the_header_and_the_details() -> None:
    for error in (status.too_many_requests(3), status.service_unavailable("not yet", 3)):
        assert error.headers == {"Retry-After": "3"}
        assert status.render_status(error)["details"] == {"retryAfterSeconds": 3}


def test_version_of_the_future() -> None:
    error = status.future_version(9, 5)
    assert (error.status_code, error.message) == (504, "Timeout: Too large resource version: 9, current: 5")
    assert error.headers == {"Retry-After": "1"}
    assert error.status_details is not None
    assert error.status_details["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_expired_list_can_go_on() -> None:
    document = status.render_status(status.expired("too old", continue_token="next"))
    assert (document["code"], document["reason"], document["metadata"]) == (410, "Expired", {"continue": "next"})


def test_apply_conflict_names_each_field() -> None:
    document = status.render_status(status.apply_conflict("no", [(".spec.image", 'conflict with "other"')]))
    assert document["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "other"', "field": ".spec.image"}
    ]


def test_answer_to_a_delete() -> None:
    assert status.render_success(GROUP, "apps", "web", "u1") == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {"name": "web", "group": GROUP, "kind": "apps", "uid": "u1"},
    }
