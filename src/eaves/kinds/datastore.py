"""Datastore: where images come from, with credentials by Secret."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Struct, field

from eaves.kinds.fields import Conditions, LocalReference, about
from eaves.kinds.metadata import ObjectMeta
from eaves.kube.resource import Object


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

    api_version: str = field(name="apiVersion", default="eaves.dev/v1alpha1")
    kind: str = "Datastore"
    metadata: ObjectMeta = ObjectMeta()
    spec: DatastoreSpec
    status: DatastoreStatus = DatastoreStatus()


def decode(obj: Object) -> Datastore:
    """Typed view of a stored object. Raises ``msgspec.ValidationError`` when it does not fit the schema."""
    return msgspec.convert(obj, Datastore)
