"""K3sClusterAccess: as whom callers of the operator API act inside a K3sCluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
from msgspec import Struct

from eaves.kinds import rules
from eaves.kinds.columns import at, count
from eaves.kinds.fields import LocalReference, about, unique
from eaves.kinds.metadata import ObjectMeta
from eaves.kinds.rules import invalid, required
from eaves.kinds.serving import eaves_resource, text_at
from eaves.kube.errors import FieldError
from eaves.kube.resource import Column, Object


class ServiceAccountReference(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Names a ServiceAccount of the operator API."""

    name: Annotated[str, about("Name of the ServiceAccount.", min_length=1, max_length=253)]
    namespace: Annotated[str, about("Its namespace; that of this object when absent.", max_length=63)] = ""


class AccessRule(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Some callers, and the groups that they bear inside the cluster."""

    users: Annotated[list[str], unique(description="Users of the operator API.", max_length=256)] = []
    groups: Annotated[list[str], unique(description="Groups of the operator API.", max_length=256)] = []
    service_accounts: Annotated[
        list[ServiceAccountReference], about("ServiceAccounts of the operator API.", max_length=256)
    ] = []
    cluster_groups: Annotated[
        list[str],
        unique(
            description="Groups inside the cluster: system:masters is its administrator, any other has what the cluster's own RBAC"
            " gives it.",
            max_length=64,
        ),
    ]


class K3sClusterAccessSpec(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Which cluster, and who is who in it."""

    cluster_ref: Annotated[LocalReference, about("K3sCluster in the same namespace.")]
    rules: Annotated[list[AccessRule], about("A caller bears the groups of every rule that names it.", max_length=256)]


class K3sClusterAccess(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Maps callers of the operator API to groups of a cluster.

    Who may reach the cluster at all is said by RBAC on ``k3sclusters/proxy``; this says as whom.
    """

    api_version: Annotated[str, about("Version of the schema of this object.")] = ""
    kind: Annotated[str, about("Kind of this object.")] = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: K3sClusterAccessSpec


def decode(obj: Object) -> K3sClusterAccess:
    """Typed view of a stored object. Raises ``msgspec.ValidationError`` when it does not fit the schema."""
    return msgspec.convert(obj, K3sClusterAccess)


def check_access(new: Object, _old: Object | None) -> Sequence[FieldError]:
    """Every fault of a K3sClusterAccess."""
    return list(_check_spec(msgspec.convert(new["spec"], K3sClusterAccessSpec)))


def _check_spec(spec: K3sClusterAccessSpec) -> Iterator[FieldError]:
    yield from rules.check_dns_subdomain("spec.clusterRef.name", spec.cluster_ref.name)
    for index, rule in enumerate(spec.rules):
        path = f"spec.rules[{index}]"
        if not (rule.users or rule.groups or rule.service_accounts):
            yield required(path, "must name at least one of users, groups and serviceAccounts")
        if not rule.cluster_groups:
            yield required(f"{path}.clusterGroups", "must name at least one group of the cluster")
        for field in ("users", "groups", "cluster_groups"):
            yield from _check_names(
                f"{path}.{'clusterGroups' if field == 'cluster_groups' else field}", getattr(rule, field)
            )
        for number, account in enumerate(rule.service_accounts):
            yield from rules.check_dns_subdomain(f"{path}.serviceAccounts[{number}].name", account.name)


def _check_names(path: str, texts: Sequence[str]) -> Iterator[FieldError]:
    """They go into headers of HTTP."""
    for number, text in enumerate(texts):
        if not text or len(text) > 512 or not text.isprintable() or text != text.strip():
            yield invalid(
                f"{path}[{number}]", text, "must be printable text of 1 to 512 characters without space at its ends"
            )


RESOURCE = eaves_resource(
    K3sClusterAccess,
    "k3sclusteraccesses",
    namespaced=True,
    columns=(
        Column("Cluster", "string", at("spec.clusterRef.name"), "K3sCluster that it is for."),
        Column("Rules", "integer", count("spec.rules"), "How many rules it has."),
    ),
    selectable_fields={"spec.clusterRef.name": text_at("spec", "clusterRef", "name")},
    validate=check_access,
    has_status=False,
)
