"""Role, ClusterRole, RoleBinding, ClusterRoleBinding: who may do what. Their meaning is in :mod:`eaves.kube.rbac`.

Rules and texts are those of Kubernetes' ``pkg/apis/rbac/validation``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from eaves.kinds import rules
from eaves.kinds.columns import at
from eaves.kinds.fields import about
from eaves.kinds.rules import invalid, required
from eaves.kinds.serving import core_resource
from eaves.kube import names
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.metadata import check_labels
from eaves.kube.rbac import GROUP
from eaves.kube.resource import Column, Object
from eaves.kube.tables import age_column, name_column

_SUBJECT_KINDS = ("ServiceAccount", "User", "Group")
_ROLE_KINDS = ("Role", "ClusterRole")
ATOMIC = Meta(extra_json_schema={"x-kubernetes-map-type": "atomic"})


class PolicyRule(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """PolicyRule holds what may be done with some resources or plain paths."""

    verbs: Annotated[list[str], about("Verbs that are allowed, such as get, list, watch; * for all.")]
    api_groups: Annotated[list[str], about('API groups of the resources; "" is the core group, * means all.')] = []
    resources: Annotated[
        list[str], about("Resources, or resource/subresource; * for all, */scale for one of any.")
    ] = []
    resource_names: Annotated[list[str], about("Names of the objects that are meant; all when empty.")] = []
    non_resource_urls: Annotated[
        list[str], about("Paths that are no resources; * at the end stands for any rest. In ClusterRoles only.")
    ] = field(name="nonResourceURLs", default_factory=list)


class RoleRef(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """RoleRef names the role that is given."""

    api_group: Annotated[str, about("API group of the role.")] = ""
    kind: Annotated[str, about("Role or ClusterRole.")]
    name: Annotated[str, about("Name of the role.")]


class Subject(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Subject names whom the role is given to."""

    kind: Annotated[str, about("User, Group or ServiceAccount.")]
    api_group: Annotated[str, about("API group of the subject: empty for ServiceAccount.")] = ""
    name: Annotated[str, about("Name of the subject.")]
    namespace: Annotated[str, about("Namespace of a ServiceAccount.")] = ""


class LabelRequirement(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """One condition on a label."""

    key: Annotated[str, about("Key of the label.")]
    operator: Annotated[str, about("In, NotIn, Exists or DoesNotExist.")]
    values: Annotated[list[str], about("Values, for In and NotIn.")] = []


class LabelSelector(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Selects objects by their labels; all conditions must hold."""

    match_labels: Annotated[dict[str, str], about("Labels with exactly these values.")] = {}
    match_expressions: Annotated[list[LabelRequirement], about("Further conditions.")] = []


class AggregationRule(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """AggregationRule says from which ClusterRoles the rules come."""

    cluster_role_selectors: Annotated[list[LabelSelector], about("Selectors of ClusterRoles; one must fit.")] = []


class Role(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Role is a set of permissions in its namespace."""

    rules: Annotated[list[PolicyRule], about("What may be done.")] = []


class ClusterRole(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """ClusterRole is a set of permissions for the whole cluster, or for a namespace when a RoleBinding gives it."""

    rules: Annotated[list[PolicyRule], about("What may be done.")] = []
    aggregation_rule: Annotated[
        AggregationRule | None, about("Where the rules come from; they are then kept by the server.")
    ] = None


class RoleBinding(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """RoleBinding gives a Role, or the permissions of a ClusterRole, in its namespace."""

    subjects: Annotated[list[Subject], about("Whom the role is given to.")] = []
    role_ref: Annotated[RoleRef, ATOMIC, about("The role; it cannot be changed.")]


class ClusterRoleBinding(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """ClusterRoleBinding gives a ClusterRole for the whole cluster."""

    subjects: Annotated[list[Subject], about("Whom the role is given to.")] = []
    role_ref: Annotated[RoleRef, ATOMIC, about("The role; it cannot be changed.")]


def default_binding(obj: Object) -> None:
    """Fills the API groups in that follow from the kinds."""
    reference = obj.setdefault("roleRef", {})
    if not reference.get("apiGroup"):
        reference["apiGroup"] = GROUP
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group") and not subject.get("apiGroup"):
            subject["apiGroup"] = GROUP


def check_role(new: Object, _old: Object | None) -> Sequence[FieldError]:
    return list(_check_rules(new, is_namespaced=True))


def check_cluster_role(new: Object, _old: Object | None) -> Sequence[FieldError]:
    faults = list(_check_rules(new, is_namespaced=False))
    aggregation = new.get("aggregationRule")
    if aggregation is not None:
        selectors = aggregation.get("clusterRoleSelectors") or ()
        path = "aggregationRule.clusterRoleSelectors"
        if not selectors:
            detail = "at least one clusterRoleSelector required if aggregationRule is non-nil"
            faults.append(required(path, detail))
        for index, selector in enumerate(selectors):
            faults.extend(_check_selector(f"{path}[{index}]", selector))
    return faults


def check_role_binding(new: Object, old: Object | None) -> Sequence[FieldError]:
    return list(_check_binding(new, old, _ROLE_KINDS, is_namespaced=True))


def check_cluster_role_binding(new: Object, old: Object | None) -> Sequence[FieldError]:
    return list(_check_binding(new, old, ("ClusterRole",), is_namespaced=False))


def _check_rules(obj: Object, *, is_namespaced: bool) -> Iterator[FieldError]:
    for index, rule in enumerate(obj.get("rules") or ()):
        path = f"rules[{index}]"
        urls = rule.get("nonResourceURLs")
        if urls:
            if is_namespaced:
                detail = "namespaced rules cannot apply to non-resource URLs"
                yield invalid(f"{path}.nonResourceURLs", urls, detail)
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                detail = "rules cannot apply to both regular resources and non-resource URLs"
                yield invalid(f"{path}.nonResourceURLs", urls, detail)
            continue
        if not rule.get("apiGroups"):
            yield required(f"{path}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield required(f"{path}.resources", "resource rules must supply at least one resource")
    for index, rule in enumerate(obj.get("rules") or ()):
        if not rule.get("verbs"):
            yield required(f"rules[{index}].verbs")


def _check_selector(path: str, selector: Mapping[str, Any]) -> Iterator[FieldError]:
    yield from check_labels(selector.get("matchLabels") or {}, f"{path}.matchLabels")
    for index, term in enumerate(selector.get("matchExpressions") or ()):
        where, operator, values = f"{path}.matchExpressions[{index}]", term.get("operator"), term.get("values")
        if operator in ("In", "NotIn") and not values:
            yield required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist") and values:
            yield rules.forbidden(
                f"{where}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            )
        elif operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            yield invalid(f"{where}.operator", operator, "not a valid selector operator")
        key = term.get("key") or ""
        yield from (invalid(f"{where}.key", key, text) for text in names.check_qualified_name(key))
        for position, value in enumerate(values or ()):
            yield from (invalid(f"{where}.values[{position}]", value, text) for text in names.check_label_value(value))


def _check_binding(
    new: Object, old: Object | None, role_kinds: Sequence[str], *, is_namespaced: bool
) -> Iterator[FieldError]:
    reference = new.get("roleRef") or {}
    group, kind, name = (reference.get(key) or "" for key in ("apiGroup", "kind", "name"))
    if group != GROUP:
        yield _unsupported("roleRef.apiGroup", group, (GROUP,))
    if kind not in role_kinds:
        yield _unsupported("roleRef.kind", kind, role_kinds)
    for text in names.check_path_segment(name):
        yield invalid("roleRef.name", name, text)
    for index, subject in enumerate(new.get("subjects") or ()):
        yield from _check_subject(f"subjects[{index}]", subject, is_namespaced=is_namespaced)
    if old is not None and old.get("roleRef") != reference:
        yield invalid("roleRef", {"APIGroup": group, "Kind": kind, "Name": name}, "field is immutable")
    for index, subject in enumerate(new.get("subjects") or ()):
        if not subject.get("name"):
            yield required(f"subjects[{index}].name")
    if not name:
        yield required("roleRef.name")


def _check_subject(path: str, subject: Mapping[str, Any], *, is_namespaced: bool) -> Iterator[FieldError]:
    kind, group, name = (subject.get(key) or "" for key in ("kind", "apiGroup", "name"))
    match kind:
        case "ServiceAccount":
            if name:
                yield from rules.check_dns_subdomain(f"{path}.name", name)
            if group:
                yield _unsupported(f"{path}.apiGroup", group, ("",))
            if not is_namespaced and not subject.get("namespace"):
                yield required(f"{path}.namespace")
        case "User" | "Group":
            if group != GROUP:
                yield _unsupported(f"{path}.apiGroup", group, (GROUP,))
        case _:
            yield _unsupported(f"{path}.kind", kind, _SUBJECT_KINDS)


def _unsupported(path: str, value: Any, supported: Sequence[str]) -> FieldError:
    listed = ", ".join(f'"{each}"' for each in supported)
    return FieldError(path, CauseType.NOT_SUPPORTED, f"supported values: {listed}", value)


def _role(obj: Object, _now: float) -> str:
    reference = obj.get("roleRef") or {}
    return f"{reference.get('kind', '')}/{reference.get('name', '')}"


def _subjects(kind: str) -> Callable[[Object, float], str]:
    def value(obj: Object, _now: float) -> str:
        found = [each for each in obj.get("subjects") or () if each.get("kind") == kind]
        if kind != "ServiceAccount":
            return ", ".join(each.get("name", "") for each in found)
        return ", ".join(f"{each.get('namespace', '')}/{each.get('name', '')}" for each in found)

    return value


_CREATED = Column("Created At", "date", at("metadata.creationTimestamp"), "When it was made.")
_BINDING_COLUMNS = (
    name_column(),
    Column("Role", "string", _role, "The role that is given."),
    age_column(),
    Column("Users", "string", _subjects("User"), "Users who have it.", priority=1),
    Column("Groups", "string", _subjects("Group"), "Groups that have it.", priority=1),
    Column("ServiceAccounts", "string", _subjects("ServiceAccount"), "Service accounts that have it.", priority=1),
)


ROLE = core_resource(
    Role,
    "roles",
    namespaced=True,
    group=GROUP,
    group_reference="rbac",
    columns=(name_column(), _CREATED),
    validate=check_role,
    has_free_names=True,
    zero_fields={"rules": None},
    creates_on_update=True,
)
CLUSTER_ROLE = core_resource(
    ClusterRole,
    "clusterroles",
    namespaced=False,
    group=GROUP,
    group_reference="rbac",
    columns=(name_column(), _CREATED),
    validate=check_cluster_role,
    has_free_names=True,
    zero_fields={"rules": None},
    creates_on_update=True,
)
ROLE_BINDING = core_resource(
    RoleBinding,
    "rolebindings",
    namespaced=True,
    group=GROUP,
    group_reference="rbac",
    columns=_BINDING_COLUMNS,
    default=default_binding,
    validate=check_role_binding,
    has_free_names=True,
    creates_on_update=True,
)
CLUSTER_ROLE_BINDING = core_resource(
    ClusterRoleBinding,
    "clusterrolebindings",
    namespaced=False,
    group=GROUP,
    group_reference="rbac",
    columns=_BINDING_COLUMNS,
    default=default_binding,
    validate=check_cluster_role_binding,
    has_free_names=True,
    creates_on_update=True,
)
RESOURCES = (ROLE, CLUSTER_ROLE, ROLE_BINDING, CLUSTER_ROLE_BINDING)
