"""The failures of the API, one function a reason, and the ``Status`` documents they are answered as.

Texts are those of a kube-apiserver, since kubectl prints and client-go parses them. ``resource`` is the plural; in NotFound, Conflict
and AlreadyExists ``details.kind`` is that plural, in Invalid it is the Kind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from eaves.kube.errors import ApiError, CauseType, FieldError
from eaves.kube.resource import Object

_NAMES = {
    CauseType.REQUIRED: "Required value",
    CauseType.DUPLICATE: "Duplicate value",
    CauseType.INVALID: "Invalid value",
    CauseType.NOT_SUPPORTED: "Unsupported value",
    CauseType.FORBIDDEN: "Forbidden",
    CauseType.TOO_LONG: "Too long",
    CauseType.TOO_MANY: "Too many",
    CauseType.TYPE_INVALID: "Invalid value",
}
_WITHOUT_VALUE = frozenset({CauseType.REQUIRED, CauseType.FORBIDDEN, CauseType.TOO_LONG})


def render_field_error(error: FieldError, *, with_path: bool = True) -> str:
    """``spec.image: Invalid value: "x": why``, as in the message; without the path, as in a cause."""
    text = _NAMES.get(error.type, str(error.type))
    if error.type not in _WITHOUT_VALUE:
        text = f"{text}: {_render_value(error.value)}"
    if error.detail:
        text = f"{text}: {error.detail}"
    return f"{error.path}: {text}" if with_path and error.path else text


def render_status(error: ApiError) -> Object:
    """The Status document of a failure."""
    document: Object = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {"continue": error.continue_token} if error.continue_token else {},
        "status": "Failure",
        "message": error.message,
    }
    if error.reason:
        document["reason"] = error.reason
    if error.status_details is not None:
        document["details"] = error.status_details
    document["code"] = error.status_code
    return document


def render_success(group: str, resource: str, name: str, uid: str) -> Object:
    """The answer to a delete."""
    details: Object = {"name": name}
    if group:
        details["group"] = group
    details["kind"] = resource
    details["uid"] = uid
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def not_found(group: str, resource: str, name: str) -> ApiError:
    message = f'{_qualify(resource, group)} "{name}" not found'
    return ApiError(404, "NotFound", message, details=_details(group, resource, name))


def unknown_resource() -> ApiError:
    """A path below a known group version that names no resource."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", details={})


def already_exists(group: str, resource: str, name: str, *, is_going: bool = False) -> ApiError:
    """``is_going``: it is being deleted, so that a client may try again."""
    message = f'{_qualify(resource, group)} "{name}" already exists'
    if is_going:
        message = f"object is being deleted: {message}"
    return ApiError(409, "AlreadyExists", message, details=_details(group, resource, name))


def conflict(group: str, resource: str, name: str, why: str = "") -> ApiError:
    """An optimistic lock that did not hold; ``why`` replaces the usual sentence."""
    sentence = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {_qualify(resource, group)} "{name}": {sentence}'
    return ApiError(409, "Conflict", message, details=_details(group, resource, name))


def apply_conflict(message: str, causes: Sequence[tuple[str, str]]) -> ApiError:
    """Server-side apply met fields of other managers. ``causes`` are (field, message) pairs."""
    listed = [{"reason": CauseType.CONFLICT.value, "message": text, "field": field} for field, text in causes]
    return ApiError(409, "Conflict", message, details={"causes": listed})


def invalid(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> ApiError:
    """Every fault with its field path."""
    texts = list(dict.fromkeys(render_field_error(error) for error in errors))
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    causes = [
        {"reason": error.type.value, "message": render_field_error(error, with_path=False), "field": error.path}
        for error in errors
    ]
    details = _details(group, kind, name)
    details["causes"] = causes
    return ApiError(422, "Invalid", f'{_qualify(kind, group)} "{name}" is invalid: {listed}', details=details)


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(group: str, resource: str, name: str, why: str, causes: Sequence[Mapping[str, str]] = ()) -> ApiError:
    """``why`` is the sentence after the object: ``User "x" cannot list resource "pods" in API group "" …``."""
    what = f'{_qualify(resource, group)} "{name}" is forbidden' if name else f"{_qualify(resource, group)} is forbidden"
    message = f"{what}: {why}" if resource else f"forbidden: {why}"
    details = _details(group, resource, name) | ({"causes": list(causes)} if causes else {})
    return ApiError(403, "Forbidden", message, details=details)


def namespace_terminating(group: str, resource: str, name: str, namespace: str) -> ApiError:
    """A create in a namespace that is being deleted."""
    sentence = f"unable to create new content in namespace {namespace} because it is being terminated"
    text = f"namespace {namespace} is being terminated"
    causes = [{"reason": "NamespaceTerminating", "message": text, "field": "metadata.namespace"}]
    return forbidden(group, resource, name, sentence, causes)


def method_not_allowed(group: str, resource: str, verb: str, why: str = "") -> ApiError:
    message = why or f'{verb} is not supported on resources of kind "{_qualify(resource, group)}"'
    return ApiError(405, "MethodNotAllowed", message, details=_details(group, resource, ""))


def path_not_allowed() -> ApiError:
    """A method that a path does not have, whatever is there."""
    return ApiError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", details={}
    )


def not_acceptable(accepted: Sequence[str]) -> ApiError:
    message = f"only the following media types are accepted: {', '.join(accepted)}"
    return ApiError(406, "NotAcceptable", message)


def unsupported_media_type(content_type: str, accepted: Sequence[str]) -> ApiError:
    """kubectl prints the accepted types and, for patches, chooses another from them."""
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return ApiError(415, "UnsupportedMediaType", message)


def too_large(limit_bytes: int) -> ApiError:
    return ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit_bytes}")


def expired(message: str, *, continue_token: str = "") -> ApiError:
    """410: the asked version is not kept any more. ``continue_token`` lets a list go on inconsistently."""
    error = ApiError(410, "Expired", message)
    if continue_token:
        error.continue_token = continue_token
    return error


def future_version(asked: int, current: int) -> ApiError:
    """504: the asked version is not there yet; a client tries again in a second."""
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    details = {"causes": causes, "retryAfterSeconds": 1}
    return ApiError(504, "Timeout", message, details=details, headers={"Retry-After": "1"})


def too_many_requests(retry_after_s: int, message: str = "too many requests, please try again later") -> ApiError:
    details = {"retryAfterSeconds": retry_after_s}
    return ApiError(429, "TooManyRequests", message, details=details, headers={"Retry-After": str(retry_after_s)})


def service_unavailable(message: str, retry_after_s: int = 1) -> ApiError:
    """``retry_after_s`` 0: clients are not told to try again, which kubectl would do ten times before it says why."""
    if not retry_after_s:
        return ApiError(503, "ServiceUnavailable", message)
    details = {"retryAfterSeconds": retry_after_s}
    headers = {"Retry-After": str(retry_after_s)}
    return ApiError(503, "ServiceUnavailable", message, details=details, headers=headers)


def internal(message: str) -> ApiError:
    """A defect of ours. The text must not carry what was being handled."""
    details = {"causes": [{"message": message}]}
    return ApiError(500, "InternalError", f"Internal error occurred: {message}", details=details)


def _details(group: str, kind: str, name: str) -> dict[str, Any]:
    details = {"name": name, "group": group, "kind": kind}
    return {key: value for key, value in details.items() if value}


def _qualify(resource: str, group: str) -> str:
    return f"{resource}.{group}" if group else resource


def _render_value(value: Any) -> str:
    """As Go prints it: quoted text, JSON for maps and lists, bare numbers and booleans, ``null``."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
