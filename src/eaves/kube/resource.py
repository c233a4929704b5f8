"""What the API machinery needs to know of a kind: names, schema, columns, selectable fields and its own rules.

``kinds`` makes one :class:`Resource` a kind; discovery, OpenAPI, tables, patch, apply and the controller's handlers read it. A
new kind is one more value of this type and no code here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

if TYPE_CHECKING:
    from eaves.kube.errors import FieldError
    from eaves.kube.schema import Schema

Object = dict[str, Any]
"""A Kubernetes object as decoded JSON. Machinery treats it as immutable unless a function says that it fills it."""


class Gvr(NamedTuple):
    """Group, version, plural resource. The core group is the empty string."""

    group: str
    version: str
    resource: str

    @property
    def group_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


class Verb(StrEnum):
    GET = "get"
    LIST = "list"
    WATCH = "watch"
    CREATE = "create"
    UPDATE = "update"
    PATCH = "patch"
    DELETE = "delete"
    DELETE_COLLECTION = "deletecollection"


ALL_VERBS = frozenset(Verb)


class Column(Struct, frozen=True):
    """A printed column. ``value`` takes the object (and the time as Unix seconds, for ages) and gives the cell."""

    name: str
    type: str
    """OpenAPI type: string, integer, number, boolean, date."""
    value: Callable[[Object, float], Any]
    description: str = ""
    format: str = ""
    priority: int = 0
    """0 always, 1 with ``-o wide``."""


def accept_all(_new: Object, _old: Object | None) -> Sequence[FieldError]:
    """The validation of a kind that has no rules beyond its schema."""
    return ()


def warn_of_nothing(_object: Object) -> Iterable[str]:
    """The warnings of a kind that has none."""
    return ()


def keep(_object: Object) -> None:
    """The defaulting of a kind that has none beyond its schema."""


class Subresource(Struct, frozen=True):
    """A subresource path of a kind (``status``, ``log``, ``scale``, ``eviction`` …) for discovery and OpenAPI."""

    name: str
    verbs: frozenset[str]
    kind: str = ""
    """Kind of its body when it differs from the parent's."""
    group: str = ""
    version: str = ""


class Resource(Struct, frozen=True):
    """One served kind in one version.

    ``schema`` describes the whole object (apiVersion, kind, metadata, spec, status …). ``validate`` gets the defaulted, schema-valid
    new object and the old one (None on create) and answers every fault with its field path. ``default`` fills the object in
    place, for defaults that a schema cannot express. ``selectable_fields`` maps a field-selector name to a function giving its text.
    """

    gvr: Gvr
    kind: str
    singular: str
    namespaced: bool
    schema: Schema
    columns: Sequence[Column]
    short_names: Sequence[str] = ()
    categories: Sequence[str] = ()
    verbs: frozenset[Verb] = ALL_VERBS
    subresources: Sequence[Subresource] = ()
    selectable_fields: Mapping[str, Callable[[Object], str]] = {}
    default: Callable[[Object], None] = keep
    validate: Callable[[Object, Object | None], Sequence[FieldError]] = accept_all
    warn: Callable[[Object], Iterable[str]] = warn_of_nothing
    """Texts that a writer of a good object is told."""
    has_status: bool = True
    """Whether ``status`` is a subresource: then writes to the main path leave it alone and the reverse."""
    is_custom: bool = True
    """Behaves as a CustomResourceDefinition's kind (no strategic merge patch, PUT needs a resourceVersion, items carry kind)."""
    has_free_names: bool = False
    """Whether names are any segment of a path (``system:basic-user``), as those of roles."""
    zero_fields: Mapping[str, object] = {}
    """Fields at the top that are written even when they are empty, and so. They count as absent in everything else."""
    stored_as: Gvr | None = None
    """Group, version and resource under which its objects are kept, when those are others."""
    other_forms: Mapping[str, Mapping[str, str]] = {}
    """Further group versions that serve the same objects: by each, the names that its fields at the top have here where they differ."""
    unowned: frozenset[str] = frozenset()
    """Elements at the top (``f:spec``) that who creates an object does not own, as the server fills them in."""
    status_has_metadata: bool = False
    """Whether a write to ``status`` changes the metadata too, as for some kinds of Kubernetes itself."""
    has_generation: bool = True
    """Whether changes of a spec are counted."""
    creates_on_update: bool = False
    """Whether a PUT of an object that is not there makes it."""
    needs_version: bool = False
    """Whether who replaces an object must say which version of it, as for every custom kind."""
    deprecation: str = ""
    """What everybody who asks for the kind is told by a warning."""
    instead: str = ""
    """What a writer of a kind that can only be looked for is told: what to write instead."""
    description: str = ""

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"

    @property
    def api_version(self) -> str:
        return self.gvr.group_version

    @property
    def store_name(self) -> str:
        """Name under which the store keeps it: ``apps.eaves.dev``, ``secrets``."""
        return f"{self.gvr.resource}.{self.gvr.group}" if self.gvr.group else self.gvr.resource
