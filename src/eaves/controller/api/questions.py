"""Kinds of which only answers are made: reviews and requests for tokens. A question is read as strictly as any other object.

What is asked is a ``spec``; the answer goes into ``status``. Nothing is stored, so an object's metadata have no meaning here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated

from msgspec import Struct

from eaves.controller.api.bodies import decode_body
from eaves.controller.api.drafts import check_identity, check_place, drop_unknown
from eaves.controller.api.http import Request
from eaves.controller.api.writeoptions import load_write_options
from eaves.kinds.fields import about
from eaves.kinds.times import render_time
from eaves.kube import managed, status
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.metadata import with_object_fields
from eaves.kube.resource import Gvr, Object, Resource, Verb
from eaves.kube.schema import Schema, apply_defaults
from eaves.kube.schema_from_types import schema_of

_SERVER_FIELDS = ("creationTimestamp", "managedFields", "namespace")


class UserInfo(Struct, frozen=True, rename="camel"):
    """UserInfo is what is known of somebody."""

    username: Annotated[str, about("Name of the user.")] = ""
    uid: Annotated[str, about("What tells users of one name apart.")] = ""
    groups: Annotated[tuple[str, ...], about("Groups of the user.")] = ()
    extra: Annotated[Mapping[str, tuple[str, ...]], about("Further facts, from what authenticated the user.")] = {}


def make_question(
    group: str,
    plural: str,
    kind: str,
    description: str,
    *,
    spec: type[Struct] | None,
    answer: type[Struct],
    namespaced: bool = False,
) -> Resource:
    """The Resource of such a kind. ``spec`` None: there is nothing to ask."""
    properties = {} if spec is None else {"spec": schema_of(spec)}
    schema = Schema(
        type="object",
        description=description,
        properties={**properties, "status": schema_of(answer)},
        reference=f"io.k8s.api.{group.partition('.')[0]}.v1.{kind}",
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


async def load_question(resource: Resource, request: Request, namespace: str, subresource: str = "") -> Object:
    """The body of a request, without fields that the kind does not have: those are told of, or refused when strict.

    Its metadata say who asks what, as if it were kept. Raises ApiError 400, 413, 415, 422.
    """
    options = load_write_options("CreateOptions", request)
    body = await request.body()
    obj, remarks = await decode_body(body, request.header(b"content-type"), options, resource.kind)
    check_identity(resource, obj, body=body)
    check_place(resource, obj, namespace)
    known = drop_unknown(resource, obj, options.validation, request.warn, remarks=remarks)
    apply_defaults(resource.schema, known)
    given = {name: value for name, value in known["metadata"].items() if name not in _SERVER_FIELDS}
    asked = {"metadata": given, "spec": known.get("spec") or {}}
    managed.track_create(resource, asked, options.manager, render_time(time.time()), subresource)
    known["metadata"] = given
    return known


def check_no_metadata(resource: Resource, obj: Object) -> None:
    """A review is of nothing that has a name. Raises ApiError 422."""
    metadata = obj["metadata"]
    if any(value for name, value in metadata.items() if name != "managedFields"):
        fault = FieldError("metadata", CauseType.INVALID, "must be empty", metadata)
        raise status.invalid(resource.gvr.group, "", "", [fault])
