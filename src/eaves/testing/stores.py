"""For tests of the store and of what stands on it: engines by name, documents, and a model that says what a store must answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from eaves.store.abc import Change, ChangeType, Document, Key, ObjectStore, Progress, StoredObject, Write
from eaves.store.committing import plan_commit
from eaves.store.credentials import CredentialStore, SettingStore
from eaves.store.devices import DeviceRegistry
from eaves.store.sqlite.credentials import SqliteCredentials
from eaves.store.sqlite.devices import SqliteDeviceRegistry
from eaves.store.sqlite.objects import ObjectOptions, SqliteStore
from eaves.store.sqlite.retention import TelemetryOptions
from eaves.store.sqlite.telemetry import SqliteTelemetry
from eaves.store.telemetry import Telemetry

ENGINES = ("sqlite",)

TEST_OPTIONS = ObjectOptions(progress_s=0.05)


class CompactingStore(ObjectStore, Protocol):
    """What every engine has besides its callers' interface: its history can be cut on demand."""

    async def compact(self, horizon: int) -> None: ...


async def open_store(engine: str, folder: Path, options: ObjectOptions = TEST_OPTIONS) -> CompactingStore:
    """Open the store of ``engine`` whose data lies in ``folder``; opening again finds what was there."""
    assert engine == "sqlite", engine
    return await SqliteStore.open(folder / "objects.db", options)


def key_of(name: str, namespace: str = "default", resource: str = "apps.eaves.dev") -> Key:
    return Key(resource, namespace, name)


def make_document(
    text: str = "",
    *,
    uid: str = "uid-1",
    labels: Mapping[str, str] | None = None,
    fields: Mapping[str, str] | None = None,
) -> Document:
    return Document(
        uid, b'{"metadata":{"resourceVersion":"', f'"}},"text":"{text}"}}'.encode(), labels or {}, fields or {}
    )


async def take_changes(watch: AsyncIterator[Change | Progress], count: int, timeout_s: float = 10.0) -> list[Change]:
    """The next ``count`` changes of a watch, bookmarks left out."""
    changes: list[Change] = []
    async with asyncio.timeout(timeout_s):
        while len(changes) < count:
            event = await anext(watch)
            if isinstance(event, Change):
                changes.append(event)
    return changes


async def eventually(holds: Callable[[], Awaitable[bool]], timeout_s: float = 10.0) -> None:
    """Wait for what a store does by itself, of which it tells nobody."""
    async with asyncio.timeout(timeout_s):
        while not await holds():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


class ModelStore:
    """All versions in a list: slow, and plainly right."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.current: dict[Key, StoredObject] = {}

    @property
    def revision(self) -> int:
        return self.changes[-1].revision if self.changes else 0

    def commit(self, writes: Sequence[Write]) -> list[StoredObject]:
        changes = plan_commit(writes, self.current.get, self.revision)
        for change in changes:
            self.changes.append(change)
            if change.type is ChangeType.DELETED:
                del self.current[change.object.key]
            else:
                self.current[change.object.key] = change.object
        return [change.object for change in changes]

    def list_at(
        self,
        resource: str,
        revision: int,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> list[StoredObject]:
        state: dict[Key, StoredObject] = {}
        for change in self.changes:
            if change.revision > revision:
                break
            if change.type is ChangeType.DELETED:
                state.pop(change.object.key)
            else:
                state[change.object.key] = change.object
        found = [
            stored
            for stored in state.values()
            if stored.key.resource == resource
            and (namespace is None or stored.key.namespace == namespace)
            and (labels or {}).items() <= stored.labels.items()
            and (fields or {}).items() <= stored.fields.items()
        ]
        return sorted(found, key=lambda stored: stored.key)

    def changes_after(self, resource: str, revision: int, namespace: str | None = None) -> list[Change]:
        return [
            change
            for change in self.changes
            if change.revision > revision
            and change.object.key.resource == resource
            and (namespace is None or change.object.key.namespace == namespace)
        ]


class Stores(Struct, frozen=True):
    """Everything durable of a controller, over one engine."""

    objects: CompactingStore
    devices: DeviceRegistry
    tokens: CredentialStore
    settings: SettingStore
    telemetry: Telemetry

    async def close(self) -> None:
        await self.telemetry.close()
        await self.devices.close()
        await self.objects.close()


async def open_stores(
    engine: str,
    folder: Path,
    *,
    telemetry: TelemetryOptions | None = None,
    touch_every_s: float = 30.0,
    time_ns: Callable[[], int] = time.time_ns,
) -> Stores:
    """Open all stores of ``engine`` whose data lies in ``folder``."""
    assert engine == "sqlite", engine
    objects = await SqliteStore.open(folder / "objects.db", TEST_OPTIONS)
    credentials = SqliteCredentials(objects)
    return Stores(
        objects,
        SqliteDeviceRegistry(objects, cache_devices=2, touch_every_s=touch_every_s),
        credentials,
        credentials,
        await SqliteTelemetry.open(folder / "telemetry.db", telemetry, time_ns=time_ns),
    )
