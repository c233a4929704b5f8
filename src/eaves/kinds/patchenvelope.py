"""PatchEnvelope: files that running apps fetch from their node's metadata server, without a restart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
from msgspec import Struct

from eaves.kinds import rules
from eaves.kinds.columns import at, count
from eaves.kinds.fields import KeyReference, about, keyed, unique
from eaves.kinds.metadata import ObjectMeta
from eaves.kinds.rules import forbidden, required
from eaves.kinds.serving import eaves_resource
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.resource import Column, Object

FILE_LIMIT_BYTES = 10 << 10
"""What the device API allows an inline artifact."""
_SOURCES = "content, secretKeyRef, configMapKeyRef, volumeName"


class PatchFile(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """One file. Exactly one of content, secretKeyRef, configMapKeyRef, each at most 10 KiB, and volumeName, of any size."""

    name: Annotated[
        str,
        about("Name of the file.", min_length=1, max_length=255, pattern="^[A-Za-z0-9_][A-Za-z0-9._+-]*$"),
    ]
    content: Annotated[str | None, about("The text of the file.")] = None
    secret_key_ref: Annotated[
        KeyReference | None, about("Take the content from a Secret; it travels encrypted to each node.")
    ] = None
    config_map_key_ref: Annotated[KeyReference | None, about("Take the content from a ConfigMap.")] = None
    volume_name: Annotated[
        str,
        about(
            "A Volume of mode File in the same namespace that is the file. Apps on other nodes than the Volume's do not get"
            " the envelope.",
            max_length=253,
        ),
    ] = ""
    metadata: Annotated[str, about("Text about the file that the app is told with it.", max_length=1024)] = ""


class PatchEnvelopeSpec(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What is offered to whom."""

    apps: Annotated[
        list[str], unique(description="Names of Apps in the same namespace that may have it.", max_length=1024)
    ] = []
    version: Annotated[str, about("Version that the apps are told.", max_length=128)] = ""
    active: Annotated[bool, about("False: it is brought to the nodes and kept ready, and no app sees it.")] = False
    files: Annotated[list[PatchFile], keyed("name", description="The files.", max_length=64)] = []


class PatchOnNode(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The envelope on one node."""

    node_name: Annotated[str, about("The node.")]
    state: Annotated[str, about("Pending, Received, Downloading, Downloaded, Ready, Active or Error.")] = ""
    version: Annotated[str, about("Version that the node has.")] = ""
    message: Annotated[str, about("What is wrong.")] = ""


class PatchEnvelopeStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Where it is."""

    nodes: Annotated[list[PatchOnNode], keyed("nodeName", description="State on each node with one of the apps.")] = []
    observed_generation: Annotated[int, about("Generation of the spec that was seen.")] = 0


class PatchEnvelope(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Files for running apps."""

    api_version: Annotated[str, about("Version of the schema of this object.")] = ""
    kind: Annotated[str, about("Kind of this object.")] = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: PatchEnvelopeSpec = PatchEnvelopeSpec()
    status: PatchEnvelopeStatus = PatchEnvelopeStatus()


def decode(obj: Object) -> PatchEnvelope:
    """Typed view of a stored object. Raises ``msgspec.ValidationError`` when it does not fit the schema."""
    return msgspec.convert(obj, PatchEnvelope)


def check_envelope(new: Object, _old: Object | None) -> Sequence[FieldError]:
    """Every fault of a PatchEnvelope."""
    return list(_check_spec(msgspec.convert(new.get("spec") or {}, PatchEnvelopeSpec)))


def find_warnings(new: Object) -> Iterator[str]:
    """What is allowed, since it may be filled in later, and brings nobody anything."""
    spec = msgspec.convert(new.get("spec") or {}, PatchEnvelopeSpec)
    if not spec.files:
        yield f"spec.files: the envelope has no content, so apps get nothing by it; add a file with one of {_SOURCES}"
    if not spec.apps:
        yield "spec.apps: no App may have the envelope, so it is brought to no node; name Apps of its namespace"


def _check_spec(spec: PatchEnvelopeSpec) -> Iterator[FieldError]:
    for index, name in enumerate(spec.apps):
        yield from rules.check_dns_label(f"spec.apps[{index}]", name)
    for index, file in enumerate(spec.files):
        path = f"spec.files[{index}]"
        given = [file.content, file.secret_key_ref, file.config_map_key_ref, file.volume_name or None]
        if given.count(None) == len(given):
            yield required(path, f"must specify one of: {_SOURCES}")
        elif given.count(None) < len(given) - 1:
            yield forbidden(path, f"may not have more than one of {_SOURCES}")
        if file.volume_name:
            yield from rules.check_dns_subdomain(f"{path}.volumeName", file.volume_name)
        if file.content is not None and len(file.content.encode()) > FILE_LIMIT_BYTES:
            detail = f"may not be more than {FILE_LIMIT_BYTES} bytes"
            yield FieldError(f"{path}.content", CauseType.TOO_LONG, detail, "")


RESOURCE = eaves_resource(
    PatchEnvelope,
    "patchenvelopes",
    namespaced=True,
    short_names=("patch",),
    columns=(
        Column("Version", "string", at("spec.version"), "Version that apps are told."),
        Column("Active", "boolean", at("spec.active", False), "Whether apps see it."),
        Column("Files", "integer", count("spec.files"), "Number of files."),
        Column("Nodes", "integer", count("status.nodes"), "Nodes that have it."),
    ),
    validate=check_envelope,
    warn=find_warnings,
)
