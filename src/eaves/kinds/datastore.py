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


class S3Addressing(StrEnum):
    PATH = "Path"
    VIRTUAL_HOST = "VirtualHost"


class DatastoreMirror(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A copy of the datastore, such as one in the site's own network."""

    url: Annotated[
        str, about("Server, written like the datastore's own; of the same type.", min_length=1, max_length=2048)
    ]
    path: Annotated[str, about("Put before each image, instead of the datastore's path.", max_length=1024)] = ""
    credentials_secret_ref: Annotated[
        LocalReference | None, about("Secret with the mirror's credentials; the datastore's own are never sent to it.")
    ] = None
    ca_certificates: Annotated[str, about("PEM certificates of authorities to trust for it.", max_length=262144)] = ""


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
        about(
            "Secret with the keys username and password (for S3 also AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), or of type"
            " kubernetes.io/dockerconfigjson."
        ),
    ] = None
    ca_certificates: Annotated[
        str, about("PEM certificates of authorities to trust for this server only.", max_length=262144)
    ] = ""
    addressing: Annotated[
        S3Addressing | None,
        about("Where the bucket's name goes, for S3: Path or VirtualHost. By the server's name when absent."),
    ] = None
    mirrors: Annotated[
        list[DatastoreMirror],
        about(
            "Tried first, in order. They are not trusted: what comes from them must have the digest that the datastore names.",
            max_length=8,
        ),
    ] = []
    fallback_datastore_refs: Annotated[
        list[LocalReference],
        about(
            "Datastores to try, in order, when this one cannot give an image. They hold it under the same name.",
            max_length=4,
        ),
    ] = []


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
    yield from _check_server("spec", spec, spec.type)
    if spec.region and spec.type is not DatastoreType.S3:
        yield rules.forbidden("spec.region", "only S3 has regions")
    if spec.addressing is not None and spec.type is not DatastoreType.S3:
        yield rules.forbidden("spec.addressing", "only S3 has buckets")
    for number, mirror in enumerate(spec.mirrors):
        yield from _check_server(f"spec.mirrors[{number}]", mirror, spec.type)
    for number, reference in enumerate(spec.fallback_datastore_refs):
        yield from rules.check_dns_subdomain(f"spec.fallbackDatastoreRefs[{number}].name", reference.name)


def _check_server(field: str, server: DatastoreSpec | DatastoreMirror, kind: DatastoreType) -> Iterator[FieldError]:
    yield from _check_url(f"{field}.url", server.url, kind)
    if server.path.startswith("/") or ".." in server.path.split("/"):
        yield invalid(f"{field}.path", server.path, "must be relative and without '..'")
    if kind is DatastoreType.S3 and not server.path:
        yield required(f"{field}.path", "S3 needs the bucket here")
    if server.credentials_secret_ref is not None:
        yield from rules.check_dns_subdomain(f"{field}.credentialsSecretRef.name", server.credentials_secret_ref.name)
    if server.ca_certificates:
        yield from check_certificates(f"{field}.caCertificates", server.ca_certificates, single=False)


def _check_url(field: str, url: str, kind: DatastoreType) -> Iterator[FieldError]:
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        port_is_good = parts.port is None or 1 <= parts.port <= 65535
    except ValueError:
        yield invalid(field, url, "must be a host name with an optional port, scheme and path")
        return
    if "@" in parts.netloc:
        yield rules.forbidden(
            field, "must not hold credentials; put them in a Secret and name it in credentialsSecretRef"
        )
        return
    allowed = _SCHEMES[kind]
    if parts.scheme not in allowed:
        choices = ", ".join(f"{scheme}://" for scheme in allowed if scheme)
        yield invalid(field, url, f"must start with one of {choices} or have no scheme")
    if not parts.hostname or not port_is_good or parts.query or parts.fragment or any(c.isspace() for c in url):
        yield invalid(field, url, "must be a host name with an optional port, scheme and path")


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
