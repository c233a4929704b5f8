"""Questions of who one is and what somebody may do. Created and answered, never stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from eaves.controller.api.app import Answer
from eaves.controller.api.authorization import Attributes, Authorizer, Rules
from eaves.controller.api.http import Request, Response
from eaves.controller.api.identity import Identity
from eaves.controller.api.routing import Target
from eaves.kube import decode, encode, rbac, status
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.metadata import with_object_fields
from eaves.kube.resource import Gvr, Object, Resource, Verb
from eaves.kube.schema import Schema

_ANYTHING = Schema(type="object", preserve_unknown=True)


def make_review(group: str, plural: str, kind: str, description: str, *, namespaced: bool = False) -> Resource:
    """The Resource of a kind of which only answers are made."""
    reference = f"io.k8s.api.{group.partition('.')[0]}.v1.{kind}"
    schema = Schema(
        type="object",
        description=description,
        properties={
            "spec": msgspec.structs.replace(_ANYTHING, description="The question."),
            "status": msgspec.structs.replace(_ANYTHING, description="The answer, filled in by the server."),
        },
        reference=reference,
    )
    return Resource(
        gvr=Gvr(group, "v1", plural),
        kind=kind,
        singular=kind.lower(),
        namespaced=namespaced,
        schema=with_object_fields(schema),
        columns=(),
        verbs=frozenset({Verb.CREATE}),
        has_status=False,
        is_custom=False,
        description=description,
    )


SELF_SUBJECT_REVIEW = make_review(
    "authentication.k8s.io",
    "selfsubjectreviews",
    "SelfSubjectReview",
    "SelfSubjectReview tells who the server takes the caller for.",
)
SELF_ACCESS_REVIEW = make_review(
    "authorization.k8s.io",
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    "SelfSubjectAccessReview tells whether the caller may do something.",
)
SELF_RULES_REVIEW = make_review(
    "authorization.k8s.io",
    "selfsubjectrulesreviews",
    "SelfSubjectRulesReview",
    "SelfSubjectRulesReview tells what the caller may do in a namespace.",
)
ACCESS_REVIEW = make_review(
    "authorization.k8s.io",
    "subjectaccessreviews",
    "SubjectAccessReview",
    "SubjectAccessReview tells whether somebody may do something.",
)
LOCAL_ACCESS_REVIEW = make_review(
    "authorization.k8s.io",
    "localsubjectaccessreviews",
    "LocalSubjectAccessReview",
    "LocalSubjectAccessReview tells whether somebody may do something in a namespace.",
    namespaced=True,
)
REVIEWS = (SELF_SUBJECT_REVIEW, SELF_ACCESS_REVIEW, SELF_RULES_REVIEW, ACCESS_REVIEW, LOCAL_ACCESS_REVIEW)


class ResourceAttributes(Struct, frozen=True):
    """An action on a resource."""

    namespace: str = ""
    verb: str = ""
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""


class PathAttributes(Struct, frozen=True):
    """An action on a plain path."""

    path: str = ""
    verb: str = ""


class AccessSpec(Struct, frozen=True, rename="camel"):
    """The question of an access review: exactly one of the two."""

    resource_attributes: ResourceAttributes | None = None
    non_resource_attributes: PathAttributes | None = None
    user: str = ""
    """Whom it is about, when not the caller."""
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = {}


class ReviewKind:
    """Serves one of the reviews."""

    def __init__(self, resource: Resource, authorizer: Authorizer) -> None:
        self.resource = resource
        self._authorizer = authorizer

    async def serve(self, request: Request, target: Target) -> Answer:
        body, _ = decode.decode_object(await request.body(), request.header(b"content-type"))
        spec = body.get("spec") or {}
        answer = await self._answer(request.identity, spec if isinstance(spec, dict) else {}, target.namespace)
        document: Object = {
            "kind": self.resource.kind,
            "apiVersion": self.resource.api_version,
            "metadata": {"creationTimestamp": None} | ({"namespace": target.namespace} if target.namespace else {}),
            **({"spec": spec} if self.resource is not SELF_SUBJECT_REVIEW else {}),
            "status": answer,
        }
        return Response(encode.encode_json(document), 201)

    async def _answer(self, identity: Identity, spec: Mapping[str, Any], namespace: str) -> Object:
        if self.resource is SELF_SUBJECT_REVIEW:
            return {"userInfo": render_identity(identity)}
        if self.resource is SELF_RULES_REVIEW:
            rules = await self._authorizer.rules(identity, str(spec.get("namespace") or ""))
            return render_rules(rules)
        decision = await self._authorizer.authorize(self._parse(identity, spec, namespace))
        answer: Object = {"allowed": decision.allowed}
        if decision.reason:
            answer["reason"] = decision.reason
        return answer

    def _parse(self, identity: Identity, spec: Mapping[str, Any], namespace: str) -> Attributes:
        if self.resource is SELF_ACCESS_REVIEW:
            return parse_access(identity, spec)
        attributes = parse_access(None, spec, self.resource.kind)
        target = attributes.target
        if self.resource is LOCAL_ACCESS_REVIEW and (target is None or target.namespace not in ("", namespace)):
            where = "spec.resourceAttributes.namespace" if target else "spec.nonResourceAttributes"
            why = (
                f"must be empty or match the request's namespace, {namespace}" if target else "disallowed on this kind"
            )
            fault = FieldError(where, CauseType.INVALID, why, target.namespace if target else "")
            raise status.invalid(self.resource.gvr.group, self.resource.kind, "", [fault])
        return attributes


def render_identity(identity: Identity) -> Object:
    """A UserInfo."""
    info: Object = {"username": identity.user, "groups": list(identity.groups)}
    if identity.uid:
        info["uid"] = identity.uid
    if identity.extra:
        info["extra"] = {key: list(values) for key, values in identity.extra.items()}
    return info


def render_rules(rules: Rules) -> Object:
    return {
        "resourceRules": [rbac.render_rule(rule) for rule in rules.resources],
        "nonResourceRules": [rbac.render_rule(rule) for rule in rules.paths],
        "incomplete": False,
        **({"evaluationError": "; ".join(rules.faults)} if rules.faults else {}),
    }


def parse_access(identity: Identity | None, spec: Mapping[str, Any], kind: str = SELF_ACCESS_REVIEW.kind) -> Attributes:
    """What an access review asks: about ``identity``, or about whom the review names. Raises ApiError 400, 422."""
    try:
        asked = msgspec.convert(spec, AccessSpec)
    except msgspec.ValidationError as error:
        raise status.bad_request(f"spec cannot be read: {error}") from error
    if (asked.resource_attributes is None) == (asked.non_resource_attributes is None):
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        fault = FieldError("spec", CauseType.INVALID, why, None)
        raise status.invalid(SELF_ACCESS_REVIEW.gvr.group, kind, "", [fault])
    if identity is None:
        if not asked.user and not asked.groups:
            fault = FieldError("spec.user", CauseType.INVALID, "at least one of user or group must be specified", "")
            raise status.invalid(SELF_ACCESS_REVIEW.gvr.group, kind, "", [fault])
        identity = Identity(asked.user, asked.groups, asked.uid, asked.extra)
    if asked.non_resource_attributes is not None:
        path = asked.non_resource_attributes
        return Attributes(identity, path.verb, None, path.path)
    wanted = asked.resource_attributes
    assert wanted is not None
    target = Target(
        wanted.group, wanted.version or "*", wanted.resource, wanted.namespace, wanted.name, wanted.subresource
    )
    return Attributes(identity, wanted.verb, target)
