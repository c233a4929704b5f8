"""ServiceAccount: an identity for programs."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from eaves.kinds.event import ATOMIC
from eaves.kinds.fields import about, merging
from eaves.kinds.serving import core_resource
from eaves.kube.resource import Object, Subresource
from eaves.kube.tables import age_column, name_column


class ObjectName(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Names an object in the same namespace."""

    name: Annotated[str, about("Name of the object.")]


class SecretReference(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Names a secret by the form in which any object can be named."""

    name: Annotated[str, about("Name of the secret.")]
    kind: Annotated[str, about("Not kept.")] = ""
    namespace: Annotated[str, about("Not kept.")] = ""
    uid: Annotated[str, about("Not kept.")] = ""
    api_version: Annotated[str, about("Not kept.")] = ""
    resource_version: Annotated[str, about("Not kept.")] = ""
    field_path: Annotated[str, about("Not kept.")] = ""


class ServiceAccount(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """ServiceAccount is an identity that programs use."""

    secrets: Annotated[
        list[Annotated[SecretReference, ATOMIC]], merging("name", "Secrets that belong to it, by their names.")
    ] = []
    image_pull_secrets: Annotated[list[ObjectName], about("Secrets with credentials of registries.")] = []
    automount_service_account_token: Annotated[bool | None, about("Whether workloads get its token.")] = None


def default_account(obj: Object) -> None:
    """Secrets are in its namespace: whatever else is said of them is not kept."""
    if obj.get("secrets"):
        obj["secrets"] = [{"name": secret.get("name", "")} for secret in obj["secrets"]]


RESOURCE = core_resource(
    ServiceAccount,
    "serviceaccounts",
    namespaced=True,
    short_names=("sa",),
    subresources=(
        Subresource("token", frozenset({"create"}), kind="TokenRequest", group="authentication.k8s.io", version="v1"),
    ),
    columns=(name_column(), age_column()),
    default=default_account,
)
