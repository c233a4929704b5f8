"""Datastore: where images come from, with credentials by Secret."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from eaves.kinds import rules
from eaves.kinds.columns import at
from eaves.kinds.fields import Conditions, LocalReference, about
from eaves.kinds.metadata import ObjectMeta
from eaves.kinds.pem import check_certificates
from eaves.kinds.rules import invalid, required
from eaves.kinds.serving import eaves_resource
from eaves.kube.errors import FieldError
from eaves.kube.resource import Column, Object


class DatastoreType(StrEnum):
    REGISTRY = "Registry"
    HTTP = "HTTP"
    S3 = "S3"


class DatastoreSpec(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The server and how to talk to it."""

    url: Annotated[
        str,
        about(
            "Server, such as registry.example:5000 or https://files.example. http:// means without TLS.",
            min_length=1,
            max_length=2048,
        ),
    ]
    type: Annotated[DatastoreType, about("Registry (OCI), HTTP or S3.")] = DatastoreType.REGISTRY
    path: Annotated[str, about("Put before each image: repository prefix, folder or bucket.", max_length=1024)] = ""
    region: Annotated[str, about("Region, for S3.", max_length=63)] = ""
    credentials_secret_ref: Annotated[
        LocalReference | None,
        about("Secret with the keys username and password, or of type kubernetes.io/dockerconfigjson."),
    ] = None
    ca_certificates: Annotated[
        str, about("PEM certificates of authorities to trust for this server only.", max_length=262144)
    ] = ""


class DatastoreStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What is known of the server."""

    conditions: Conditions = []


class Datastore(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A source of images."""

    api_version: Annotated[str, about("Version of the schema of this object.")] = ""
    kind: Annotated[str, about("Kind of this object.")] = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: DatastoreSpec
    status: DatastoreStatus = DatastoreStatus()


def decode(obj: Object) -> Datastore:
    """Typed view of a stored object. Raises ``msgspec.ValidationError`` when it does not fit the schema."""
    return msgspec.convert(obj, Datastore)


_SCHEMES = {
    DatastoreType.REGISTRY: ("", "docker", "oci", "https", "http"),
    DatastoreType.HTTP: ("", "https", "http"),
    DatastoreType.S3: ("", "https", "http"),
}


def check_datastore(new: Object, _old: Object | None) -> Sequence[FieldError]:
    """Every fault of a Datastore."""
    return list(_check_spec(msgspec.convert(new["spec"], DatastoreSpec)))


def _check_spec(spec: DatastoreSpec) -> Iterator[FieldError]:
    yield from _check_url(spec)
    if spec.path.startswith("/") or ".." in spec.path.split("/"):
        yield invalid("spec.path", spec.path, "must be relative and without '..'")
    if spec.region and spec.type is not DatastoreType.S3:
        yield rules.forbidden("spec.region", "only S3 has regions")
    if spec.type is DatastoreType.S3 and not spec.path:
        yield required("spec.path", "S3 needs the bucket here")
    if spec.credentials_secret_ref is not None:
        yield from rules.check_dns_subdomain("spec.credentialsSecretRef.name", spec.credentials_secret_ref.name)
    if spec.ca_certificates:
        yield from check_certificates("spec.caCertificates", spec.ca_certificates, single=False)


def _check_url(spec: DatastoreSpec) -> Iterator[FieldError]:
    try:
        parts = urlsplit(spec.url if "://" in spec.url else f"//{spec.url}")
        port_is_good = parts.port is None or 1 <= parts.port <= 65535
    except ValueError:
        yield invalid("spec.url", spec.url, "must be a host name with an optional port, scheme and path")
        return
    if "@" in parts.netloc:
        yield rules.forbidden(
            "spec.url", "must not hold credentials; put them in a Secret and name it in credentialsSecretRef"
        )
        return
    allowed = _SCHEMES[spec.type]
    if parts.scheme not in allowed:
        choices = ", ".join(f"{scheme}://" for scheme in allowed if scheme)
        yield invalid("spec.url", spec.url, f"must start with one of {choices} or have no scheme")
    if not parts.hostname or not port_is_good or parts.query or parts.fragment or any(c.isspace() for c in spec.url):
        yield invalid("spec.url", spec.url, "must be a host name with an optional port, scheme and path")


RESOURCE = eaves_resource(
    Datastore,
    "datastores",
    namespaced=True,
    short_names=("ds",),
    columns=(
        Column("Type", "string", at("spec.type"), "Registry, HTTP or S3."),
        Column("URL", "string", at("spec.url"), "Server."),
        Column("Path", "string", at("spec.path"), "Put before each image.", priority=1),
        Column(
            "Credentials", "string", at("spec.credentialsSecretRef.name"), "Secret with the credentials.", priority=1
        ),
    ),
    validate=check_datastore,
)
