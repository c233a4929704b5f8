"""Interface of the object store: what every engine promises to its callers.

Promises, the same on each engine (one conformance test-suite in ``tests/contract/store`` runs over all):

* A *revision* is a positive integer that grows with every commit, in commit order; it may have gaps.
* A write is acknowledged after it is durable. All writes of one :meth:`ObjectStore.commit` happen together or not at all, each
  with a revision of its own, in list order.
* A watch from revision R delivers each change with a revision above R exactly once and in order, or raises
  :class:`~eaves.store.errors.CompactedError` when R is older than the kept history.
* A list pinned to a revision answers as the store was then, whatever is written meanwhile.
* An object's bytes are encoded once: the caller gives them in two parts and the store joins them around the decimal revision
  (``head + b"42" + tail``), so that the revision inside a document equals the one it was committed with.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from msgspec import Struct


class Key(NamedTuple):
    """Where an object lives. ``resource`` is ``plural.group`` (``apps.eaves.dev``) or ``plural`` for the core group."""

    resource: str
    namespace: str
    """Empty for cluster-scoped resources."""
    name: str
    tenant: str = ""


class StoredObject(Struct, frozen=True):
    """One committed version of an object."""

    key: Key
    uid: str
    revision: int
    value: bytes
    """The document as committed, with its own revision inside."""
    labels: Mapping[str, str] = {}
    fields: Mapping[str, str] = {}
    """Values of the resource's selectable fields (``spec.nodeName`` → ``store-17``), given by the caller at write time."""


class Document(Struct, frozen=True):
    """What a caller wants to store: bytes around the revision, and what selectors look at."""

    uid: str
    head: bytes
    tail: bytes
    labels: Mapping[str, str] = {}
    fields: Mapping[str, str] = {}

    def join(self, revision: int) -> bytes:
        return self.head + str(revision).encode() + self.tail


class Put(Struct, frozen=True):
    """Create or replace. ``expected`` is the revision that must be current: 0 = must not exist, None = any."""

    key: Key
    document: Document
    expected: int | None


class Remove(Struct, frozen=True):
    """Delete. ``document`` is the last state, published to watchers in the DELETED event with the deletion's revision."""

    key: Key
    document: Document
    expected: int | None


class Check(Struct, frozen=True):
    """A guard without a write: the commit fails unless ``key`` is at ``expected`` (0 = must not exist, -1 = must exist)."""

    key: Key
    expected: int


Write = Put | Remove | Check


class ChangeType(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Change(Struct, frozen=True):
    """One committed change; ``previous`` is the version it replaced (None for ADDED)."""

    type: ChangeType
    object: StoredObject
    previous: StoredObject | None

    @property
    def revision(self) -> int:
        return self.object.revision


class Progress(Struct, frozen=True):
    """Sent on a watch that asked for it: every change up to ``revision`` has been delivered (source of bookmarks)."""

    revision: int


class Page(Struct, frozen=True):
    """Part of a list. ``next_key`` is where to go on at the same ``revision``; None at the end."""

    items: Sequence[StoredObject]
    revision: int
    next_key: tuple[str, str] | None
    """(namespace, name) of the last item given."""
    remaining: int | None = None
    """Items after this page; None when it is the last one or not known."""


class ObjectStore(Protocol):
    """Objects by key. All methods raise :class:`~eaves.store.errors.StoreUnavailableError` when the engine cannot answer."""

    async def get(self, key: Key) -> StoredObject | None:
        """The current version, never older than the last acknowledged write of this process."""
        ...

    async def list(
        self,
        resource: str,
        namespace: str | None = None,
        *,
        limit: int = 0,
        after: tuple[str, str] | None = None,
        revision: int | None = None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
        tenant: str = "",
    ) -> Page:
        """Objects in (namespace, name) order. ``namespace`` None = all. ``revision`` None = now, else exactly that one.

        ``labels`` and ``fields`` are equalities that an engine may answer by index; other operators are the caller's to filter.
        Raises CompactedError for a revision out of history, FutureRevisionError for one not committed yet.
        """
        ...

    async def commit(self, writes: Sequence[Write]) -> Sequence[StoredObject]:
        """Durably apply all writes; answers one object a write (for a Check, nothing is appended).

        Raises ConflictError (with the key and the current object) when an ``expected`` does not hold, DiskFullError.
        """
        ...

    async def revision(self) -> int:
        """The revision of the latest commit."""
        ...

    def watch(
        self,
        resource: str,
        namespace: str | None = None,
        *,
        after: int,
        progress: bool = False,
        tenant: str = "",
    ) -> AsyncIterator[Change | Progress]:
        """Changes with a revision above ``after``, for ever. With ``progress``, a Progress at least every few seconds while idle.

        Raises CompactedError at once, or later when the reader is too slow to be served from the kept history.
        """
        ...

    async def wait_for(self, revision: int, timeout_s: float) -> bool:
        """Whether ``revision`` became current within the time."""
        ...

    async def close(self) -> None: ...
