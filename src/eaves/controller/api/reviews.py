"""Questions of who one is and what somebody may do. Created and answered, never stored."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Struct, field

from eaves.controller.api.app import Answer
from eaves.controller.api.authorization import Attributes, Authorizer, Rules
from eaves.controller.api.http import Request, Response
from eaves.controller.api.identity import Identity
from eaves.controller.api.questions import UserInfo, check_no_metadata, load_question, make_question
from eaves.controller.api.routing import Target
from eaves.kinds.fields import about
from eaves.kinds.times import render_time
from eaves.kube import encode, rbac, status
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.resource import Object, Resource


class Requirement(Struct, frozen=True, rename="camel"):
    """Requirement is one condition of a selector."""

    key: Annotated[str, about("Field or label.")] = ""
    operator: Annotated[str, about("In, NotIn, Exists or DoesNotExist.")] = ""
    values: Annotated[tuple[str, ...], about("Values, for In and NotIn.")] = ()


class SelectorAttributes(Struct, frozen=True, rename="camel"):
    """SelectorAttributes is the selector of a list or watch."""

    raw_selector: Annotated[str, about("The selector as it stands in a query.")] = ""
    requirements: Annotated[tuple[Requirement, ...], about("The selector, read.")] = ()


class ResourceAttributes(Struct, frozen=True, rename="camel"):
    """ResourceAttributes is an action on a resource."""

    namespace: Annotated[str, about("Namespace of the resource; empty for the whole cluster.")] = ""
    verb: Annotated[str, about("Verb, such as get or list; * for all.")] = ""
    group: Annotated[str, about("API group of the resource; * for all.")] = ""
    version: Annotated[str, about("API version of the resource; * for all.")] = ""
    resource: Annotated[str, about("Plural of the kind; * for all.")] = ""
    subresource: Annotated[str, about("Subresource, such as log.")] = ""
    name: Annotated[str, about("Name of the object; empty for all.")] = ""
    field_selector: Annotated[SelectorAttributes | None, about("Selector of fields; roles don't look at it.")] = None
    label_selector: Annotated[SelectorAttributes | None, about("Selector of labels; roles don't look at it.")] = None


class PathAttributes(Struct, frozen=True, rename="camel"):
    """PathAttributes is an action on a plain path."""

    path: Annotated[str, about("Path of the URL.")] = ""
    verb: Annotated[str, about("Method of HTTP in lower case.")] = ""


class SelfAccessSpec(Struct, frozen=True, rename="camel"):
    """Exactly one of the two must be given."""

    resource_attributes: Annotated[ResourceAttributes | None, about("An action on a resource.")] = None
    non_resource_attributes: Annotated[PathAttributes | None, about("An action on a plain path.")] = None


class AccessSpec(SelfAccessSpec, frozen=True, rename="camel"):
    """Exactly one of the two attributes must be given, and a user or groups."""

    user: Annotated[str, about("Whom it is about.")] = ""
    groups: Annotated[tuple[str, ...], about("Groups of the user.")] = ()
    uid: Annotated[str, about("UID of the user.")] = ""
    extra: Annotated[Mapping[str, tuple[str, ...]], about("Further facts of the user.")] = {}


class AccessStatus(Struct, frozen=True, rename="camel"):
    """The answer."""

    allowed: Annotated[bool, about("Whether it is allowed.")] = False
    denied: Annotated[bool, about("Whether it is forbidden by a rule; roles only allow.")] = False
    reason: Annotated[str, about("By which binding.")] = ""
    evaluation_error: Annotated[str, about("What could not be looked at.")] = ""


class RulesSpec(Struct, frozen=True, rename="camel"):
    """The question."""

    namespace: Annotated[str, about("In which namespace.")] = ""


class ResourceRule(Struct, frozen=True, rename="camel"):
    """ResourceRule is what may be done with some resources."""

    verbs: Annotated[tuple[str, ...], about("Verbs; * for all.")] = ()
    api_groups: Annotated[tuple[str, ...], about("API groups; * for all.")] = ()
    resources: Annotated[tuple[str, ...], about("Resources; * for all.")] = ()
    resource_names: Annotated[tuple[str, ...], about("Names of objects; all when empty.")] = ()


class PathRule(Struct, frozen=True, rename="camel"):
    """PathRule is what may be done with some plain paths."""

    verbs: Annotated[tuple[str, ...], about("Methods of HTTP in lower case; * for all.")] = ()
    paths: Annotated[tuple[str, ...], about("Paths; * at the end stands for any rest.")] = field(
        name="nonResourceURLs", default=()
    )


class RulesStatus(Struct, frozen=True, rename="camel"):
    """The answer."""

    resource_rules: Annotated[tuple[ResourceRule, ...], about("What may be done with resources.")] = ()
    non_resource_rules: Annotated[tuple[PathRule, ...], about("What may be done with plain paths.")] = ()
    incomplete: Annotated[bool, about("Whether more may be allowed.")] = False
    evaluation_error: Annotated[str, about("Why more may be allowed, such as a role that does not exist.")] = ""


class SelfSubjectStatus(Struct, frozen=True, rename="camel"):
    """The answer."""

    user_info: Annotated[UserInfo | None, about("Whom the server takes the caller for.")] = None


_AUTHORIZATION = "authorization.k8s.io"
SELF_SUBJECT_REVIEW = make_question(
    "authentication.k8s.io",
    "selfsubjectreviews",
    "SelfSubjectReview",
    "SelfSubjectReview tells who the server takes the caller for.",
    spec=None,
    answer=SelfSubjectStatus,
)
SELF_ACCESS_REVIEW = make_question(
    _AUTHORIZATION,
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    "SelfSubjectAccessReview tells whether the caller may do something.",
    spec=SelfAccessSpec,
    answer=AccessStatus,
)
SELF_RULES_REVIEW = make_question(
    _AUTHORIZATION,
    "selfsubjectrulesreviews",
    "SelfSubjectRulesReview",
    "SelfSubjectRulesReview tells what the caller may do in a namespace.",
    spec=RulesSpec,
    answer=RulesStatus,
)
ACCESS_REVIEW = make_question(
    _AUTHORIZATION,
    "subjectaccessreviews",
    "SubjectAccessReview",
    "SubjectAccessReview tells whether somebody may do something.",
    spec=AccessSpec,
    answer=AccessStatus,
)
LOCAL_ACCESS_REVIEW = make_question(
    _AUTHORIZATION,
    "localsubjectaccessreviews",
    "LocalSubjectAccessReview",
    "LocalSubjectAccessReview tells whether somebody may do something in a namespace.",
    spec=AccessSpec,
    answer=AccessStatus,
    namespaced=True,
)
REVIEWS = (SELF_SUBJECT_REVIEW, SELF_ACCESS_REVIEW, SELF_RULES_REVIEW, ACCESS_REVIEW, LOCAL_ACCESS_REVIEW)
_ABOUT_OTHERS = (ACCESS_REVIEW, LOCAL_ACCESS_REVIEW)


class ReviewKind:
    """Serves one of the reviews."""

    def __init__(self, resource: Resource, authorizer: Authorizer) -> None:
        self.resource = resource
        self._authorizer = authorizer

    async def serve(self, request: Request, target: Target) -> Answer:
        """Raises ApiError 400, 422."""
        obj = await load_question(self.resource, request, target.namespace)
        spec = obj.get("spec") or {}
        if self.resource is not SELF_SUBJECT_REVIEW and self.resource is not SELF_RULES_REVIEW:
            check_no_metadata(self.resource, obj)
        answer = await self._answer(request.identity, spec, target.namespace)
        document: Object = {
            "kind": self.resource.kind,
            "apiVersion": self.resource.api_version,
            **self._show_question(obj, target.namespace),
            "status": answer,
        }
        return Response(encode.encode_json(document), 201)

    def _show_question(self, obj: Object, namespace: str) -> Object:
        """What the answer repeats, which differs with the review for no other reason than that a kube-apiserver's does."""
        if self.resource is SELF_SUBJECT_REVIEW:
            return {"metadata": {"creationTimestamp": render_time(time.time())}}
        if self.resource is SELF_RULES_REVIEW:
            return {"metadata": {}, "spec": {}}
        place = {"namespace": namespace} if namespace else {}
        return {"metadata": obj["metadata"] | place, "spec": obj.get("spec") or {}}

    async def _answer(self, identity: Identity, spec: Mapping[str, Any], namespace: str) -> Object:
        if self.resource is SELF_SUBJECT_REVIEW:
            return {"userInfo": render_identity(identity)}
        if self.resource is SELF_RULES_REVIEW:
            if not spec.get("namespace"):
                raise status.bad_request("no namespace on request")
            return render_rules(await self._authorizer.rules(identity, spec["namespace"]))
        decision = await self._authorizer.authorize(parse_access(self.resource, identity, spec, namespace))
        answer: Object = {"allowed": decision.allowed}
        if decision.reason:
            answer["reason"] = decision.reason
        return answer


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


def parse_access(resource: Resource, identity: Identity, spec: Mapping[str, Any], namespace: str) -> Attributes:
    """What an access review asks: about ``identity``, or about whom the review names. Raises ApiError 422 with every fault.

    The types in ``spec`` are right.
    """
    asked = msgspec.convert(spec, AccessSpec)
    faults = list(_find_faults(resource, asked, namespace))
    if faults:
        raise status.invalid(resource.gvr.group, "", "", faults)
    if resource in _ABOUT_OTHERS:
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


def _find_faults(resource: Resource, asked: AccessSpec, namespace: str) -> Iterator[FieldError]:
    wanted, path = asked.resource_attributes, asked.non_resource_attributes
    if (wanted is None) == (path is None):
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        yield FieldError("spec", CauseType.INVALID, why, path and _shown(path))
    if resource in _ABOUT_OTHERS and not asked.user and not asked.groups:
        yield FieldError("spec.user", CauseType.INVALID, "at least one of user or group must be specified", "")
    if wanted is not None:
        yield from _find_selector_faults("spec.resourceAttributes.fieldSelector", wanted.field_selector)
        yield from _find_selector_faults("spec.resourceAttributes.labelSelector", wanted.label_selector)
    if resource is not LOCAL_ACCESS_REVIEW:
        return
    if wanted is not None and wanted.namespace != namespace:
        where = "spec.resourceAttributes.namespace"
        yield FieldError(where, CauseType.INVALID, "must match metadata.namespace", wanted.namespace)
    if path is not None:
        where = "spec.nonResourceAttributes"
        yield FieldError(where, CauseType.INVALID, "disallowed on this kind of request", _shown(path))


def _find_selector_faults(path: str, selector: SelectorAttributes | None) -> Iterator[FieldError]:
    """Roles do not look at selectors, but a question that means nothing is none. What is read is not checked further."""
    if selector is None:
        return
    if selector.raw_selector and selector.requirements:
        why = "may not specified at the same time as requirements"
        yield FieldError(f"{path}.rawSelector", CauseType.INVALID, why, selector.raw_selector)
    if not selector.raw_selector and not selector.requirements:
        why = f"when {path} is specified, requirements or rawSelector is required"
        yield FieldError(f"{path}.requirements", CauseType.REQUIRED, why)


def _shown(path: PathAttributes) -> Object:
    return {"Path": path.path, "Verb": path.verb}
