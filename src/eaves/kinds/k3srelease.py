"""K3sRelease: one version of K3s by its files in a Datastore, with digests, so that nodes need no public net."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Struct

from eaves.kinds import rules
from eaves.kinds.columns import at, get
from eaves.kinds.fields import Conditions, LocalReference, Quantity, about, keyed
from eaves.kinds.k3s_version import check_k3s_version
from eaves.kinds.metadata import ObjectMeta
from eaves.kinds.rules import invalid
from eaves.kinds.serving import eaves_resource, text_at
from eaves.kube.errors import FieldError
from eaves.kube.resource import Column, Object

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Architecture(StrEnum):
    AMD64 = "amd64"
    ARM64 = "arm64"
    ARM = "arm"


class ReleaseFile(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A file that a node fetches and checks."""

    datastore_ref: Annotated[LocalReference, about("Datastore of type HTTP or S3 in the same namespace.")]
    path: Annotated[str, about("Path below the datastore's own.", min_length=1, max_length=1024)]
    sha256: Annotated[str, about("SHA-256 of the file in 64 lower-case hexadecimal digits.")]
    size: Annotated[Quantity | None, about("Size in bytes, where it is known.")] = None


class ReleaseBuild(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The files for one processor architecture."""

    architecture: Annotated[Architecture, about("amd64, arm64 or arm, as EdgeNodes report it.")]
    binary: Annotated[ReleaseFile, about("The k3s program.")]
    images: Annotated[
        list[ReleaseFile],
        about(
            "Air-gap bundles of container images (.tar, .tar.gz, .tar.zst), imported before K3s starts; without one the nodes pull"
            " K3s' own images from the net.",
            max_length=16,
        ),
    ] = []


class K3sReleaseSpec(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Which version, and where its files are."""

    version: Annotated[
        str, about("Version of the form vX.Y.Z+k3sN, such as v1.34.2+k3s1; cannot change.", min_length=1)
    ]
    architectures: Annotated[list[ReleaseBuild], keyed("architecture", description="Its builds.", max_length=8)]


class K3sReleaseStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Nothing is observed of a release; its users tell what they miss."""

    conditions: Conditions = []


class K3sRelease(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A version of K3s that clusters of the same namespace can have."""

    api_version: Annotated[str, about("Version of the schema of this object.")] = ""
    kind: Annotated[str, about("Kind of this object.")] = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: K3sReleaseSpec
    status: K3sReleaseStatus = K3sReleaseStatus()


def decode(obj: Object) -> K3sRelease:
    """Typed view of a stored object. Raises ``msgspec.ValidationError`` when it does not fit the schema."""
    return msgspec.convert(obj, K3sRelease)


def check_release(new: Object, old: Object | None) -> Sequence[FieldError]:
    """Every fault of a K3sRelease, and of a change of one."""
    spec = msgspec.convert(new["spec"], K3sReleaseSpec)
    faults = list(_check_spec(spec))
    if old is not None:
        faults.extend(rules.check_immutable("spec.version", spec.version, old["spec"].get("version")))
    return faults


def _check_spec(spec: K3sReleaseSpec) -> Iterator[FieldError]:
    yield from check_k3s_version("spec.version", spec.version)
    if not spec.architectures:
        yield rules.required("spec.architectures", "name the files of at least one architecture")
    for index, build in enumerate(spec.architectures):
        path = f"spec.architectures[{index}]"
        yield from _check_file(f"{path}.binary", build.binary)
        for number, image in enumerate(build.images):
            yield from _check_file(f"{path}.images[{number}]", image)


def _check_file(path: str, file: ReleaseFile) -> Iterator[FieldError]:
    yield from rules.check_dns_subdomain(f"{path}.datastoreRef.name", file.datastore_ref.name)
    if file.path.startswith("/") or posixpath.normpath(file.path) != file.path or ".." in file.path.split("/"):
        yield invalid(f"{path}.path", file.path, "must be relative, without '..', '//' or '/' at its end")
    elif "@" in file.path or any(sign.isspace() for sign in file.path):
        yield invalid(f"{path}.path", file.path, "must not contain '@' or white space")
    if not _SHA256.fullmatch(file.sha256):
        yield invalid(f"{path}.sha256", file.sha256, "must be 64 lower-case hexadecimal digits")
    if file.size is not None:
        yield from rules.check_quantity(f"{path}.size", file.size, minimum="1", maximum="64Gi")


def _architectures(obj: Object, _now: float) -> str:
    return ",".join(str(build.get("architecture", "")) for build in get(obj, ["spec", "architectures"], ()))


RESOURCE = eaves_resource(
    K3sRelease,
    "k3sreleases",
    namespaced=True,
    short_names=("k3srel",),
    columns=(
        Column("Version", "string", at("spec.version"), "Version of K3s."),
        Column("Architectures", "string", _architectures, "Processors that it is for."),
    ),
    selectable_fields={"spec.version": text_at("spec", "version")},
    validate=check_release,
)
