"""ServiceAccount: an identity for programs."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from eaves.kinds.fields import about, merging
from eaves.kinds.serving import core_resource
from eaves.kube.resource import Subresource
from eaves.kube.tables import age_column, name_column


class ObjectName(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Names an object in the same namespace."""

    name: Annotated[str, about("Name of the object.")]


class ServiceAccount(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """ServiceAccount is an identity that programs use."""

    secrets: Annotated[list[ObjectName], merging("name", "Secrets that belong to it.")] = []
    image_pull_secrets: Annotated[list[ObjectName], about("Secrets with credentials of registries.")] = []
    automount_service_account_token: Annotated[bool | None, about("Whether workloads get its token.")] = None


RESOURCE = core_resource(
    ServiceAccount,
    "serviceaccounts",
    namespaced=True,
    short_names=("sa",),
    subresources=(
        Subresource("token", frozenset({"create"}), kind="TokenRequest", group="authentication.k8s.io", version="v1"),
    ),
    columns=(name_column(), age_column()),
)
