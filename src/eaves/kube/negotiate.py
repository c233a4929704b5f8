"""Which representation a client asks for: JSON or YAML; the object itself, a Table, or its metadata alone."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from eaves.kube import status

JSON = "application/json"
YAML = "application/yaml"
_ANY = ("*/*", "application/*", "")
_ACCEPTED = (JSON, YAML)


class As(StrEnum):
    """Shape of the answer."""

    OBJECT = ""
    TABLE = "Table"
    METADATA = "PartialObjectMetadata"
    METADATA_LIST = "PartialObjectMetadataList"
    DISCOVERY = "APIGroupDiscoveryList"


class Representation(Struct, frozen=True):
    media_type: str = JSON
    shape: As = As.OBJECT
    version: str = ""
    """Of the shape: v1 for Table, v2 or v2beta1 for discovery."""

    @property
    def content_type(self) -> str:
        if self.shape is As.DISCOVERY:
            return f"{JSON};g=apidiscovery.k8s.io;v={self.version};as=APIGroupDiscoveryList"
        return self.media_type


class _Clause(Struct, frozen=True):
    media_type: str
    parameters: dict[str, str]
    quality: float


def parse_accept(header: str) -> list[_Clause]:
    """Clauses by falling quality, in their order among equals."""
    clauses = []
    for part in header.split(","):
        media_type, *rest = (piece.strip() for piece in part.split(";"))
        parameters = {}
        for piece in rest:
            name, _, value = piece.partition("=")
            parameters[name.strip().lower()] = value.strip()
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 0.0
        clauses.append(_Clause(media_type.lower(), parameters, quality))
    return sorted(clauses, key=lambda clause: -clause.quality)


def accepts(header: str, media_type: str) -> bool:
    """Whether a client takes this one type. Nothing said means anything."""
    wanted = (media_type, *_ANY)
    return header in wanted or any(
        clause.quality > 0 and clause.media_type in wanted for clause in parse_accept(header)
    )


def negotiate(
    header: str, shapes: tuple[As, ...] = (As.OBJECT,), media_types: tuple[str, ...] = _ACCEPTED
) -> Representation:
    """The first clause that can be served, of the ``shapes`` that fit the request. Raises ApiError 406."""
    if header in ("", "*/*", JSON):
        return _PLAIN
    for clause in parse_accept(header):
        if clause.quality <= 0:
            continue
        media_type = JSON if clause.media_type in _ANY else clause.media_type
        if media_type not in media_types:
            continue
        wanted = clause.parameters.get("as", "")
        if not wanted:
            return Representation(media_type)
        version, group = clause.parameters.get("v", ""), clause.parameters.get("g", "")
        shape = next((shape for shape in shapes if shape.value == wanted), None)
        if shape is not None and _is_known(shape, group, version):
            return Representation(media_type, shape, version)
    raise status.not_acceptable(media_types)


def _is_known(shape: As, group: str, version: str) -> bool:
    if shape is As.DISCOVERY:
        return group == "apidiscovery.k8s.io" and version in ("v2", "v2beta1")
    return group == "meta.k8s.io" and version in ("v1", "v1beta1")


_PLAIN = Representation()
