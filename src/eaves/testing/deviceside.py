"""A device side over a real SQLite store, with its services running: what tests of the gateway talk to."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from eaves.controller.deviceside import Clocks, DeviceSide, Stores, build_device_side
from eaves.controller.events import EventRecorder
from eaves.controller.identity import GivenFiles, Identity, open_identity
from eaves.controller.objects import Objects, want_put
from eaves.controller.settings import GatewaySettings
from eaves.kit.files import want_folder
from eaves.kube.resource import Object
from eaves.store.sqlite.credentials import SqliteCredentials
from eaves.store.sqlite.devices import SqliteDeviceRegistry
from eaves.store.sqlite.objects import SqliteStore
from eaves.store.sqlite.telemetry import SqliteTelemetry
from eaves.testing.device import Device, OnboardingPair, make_onboarding_pair
from eaves.testing.device_transport import AsgiTransport
from eaves.testing.objects import make_object

WAIT_S = 60.0


class Rig(Struct, frozen=True):
    """The device side and everything a test looks into."""

    side: DeviceSide
    objects: Objects
    registry: SqliteDeviceRegistry
    telemetry: SqliteTelemetry
    settings: SqliteCredentials
    identity: Identity
    onboarding: OnboardingPair

    def device(self, *, source: str = "192.0.2.1", **options: Any) -> Device:
        """A new device that calls from ``source``."""
        return Device(AsgiTransport(self.side.gateway, source), self.onboarding, **options)

    async def onboarded(self, **options: Any) -> Device:
        """A device with its first config."""
        device = self.device(**options)
        await device.onboard(self.identity.current.root_pem)
        return device

    async def add_key(self, name: str = "lab", *, pair: OnboardingPair | None = None, **terms: Any) -> None:
        """An OnboardingKey, known to the gateway when this returns."""
        pair = pair or self.onboarding
        await self.put(make_onboarding_key(name, pair, **terms))
        await self.until(lambda: self.side.keys.name_of(pair.fingerprint) == name)

    async def put(self, obj: Object) -> None:
        """Create or replace an object."""
        await self.objects.store.commit([want_put(obj, None)])

    async def change(self, kind: str, name: str, namespace: str = "", **spec: Any) -> None:
        """Change the spec of an object as the operator API would."""
        obj = await self.objects.get(kind, namespace, name)
        assert obj is not None
        meta = {**obj["metadata"], "generation": obj["metadata"]["generation"] + 1}
        await self.put({**obj, "metadata": meta, "spec": {**obj["spec"], **spec}})

    async def until(self, condition: Any, what: str = "") -> Any:
        """Wait for a condition, plain or async, to hold; answers its value."""
        async with asyncio.timeout(WAIT_S):
            while True:
                value = condition()
                if asyncio.iscoroutine(value):
                    value = await value
                if value:
                    return value
                await asyncio.sleep(0.005)
        raise AssertionError(what)

    async def edgenode(self, device: Device) -> Object:
        name = self.side.nodes.name_of(device.id)
        assert name is not None
        obj = await self.objects.get("EdgeNode", "", name)
        assert obj is not None
        return obj

    async def condition(self, device: Device, kind: str) -> Mapping[str, Any]:
        """A condition of the device's EdgeNode; empty when it has none."""
        conditions: Sequence[Mapping[str, Any]] = (await self.edgenode(device)).get("status", {}).get("conditions", [])
        return next((found for found in conditions if found["type"] == kind), {})


def make_onboarding_key(name: str, pair: OnboardingPair, **terms: Any) -> Object:
    spec = {"certificate": pair.pem, "approval": "Automatic", **terms}
    return make_object("OnboardingKey", name, spec, namespace="")


@contextlib.asynccontextmanager
async def open_rig(
    folder: Path,
    *,
    settings: GatewaySettings | None = None,
    clocks: Clocks | None = None,
    body_timeout_s: float = 60.0,
    onboarding: OnboardingPair | None = None,
) -> AsyncIterator[Rig]:
    """A running device side whose data lies in ``folder``; opening it again is a restart."""
    await asyncio.to_thread(want_folder, folder)
    store = await SqliteStore.open(folder / "objects.db")
    registry = SqliteDeviceRegistry(store)
    telemetry = await SqliteTelemetry.open(folder / "telemetry.db")
    credentials = SqliteCredentials(store)
    objects = Objects(store)
    identity = open_identity(
        folder / "pki", ("localhost", "127.0.0.1"), GivenFiles(), lambda: datetime.datetime.now(datetime.UTC)
    )
    side = build_device_side(
        Stores(objects, registry, telemetry, credentials),
        identity,
        EventRecorder(objects, "eaves-gateway"),
        settings,
        clocks,
        body_timeout_s,
    )
    for name in ("default", "kube-system"):
        await objects.create(make_object("Namespace", name, {}, namespace="", api_version="v1"))
    tasks = [asyncio.create_task(service(), name=name) for name, service in side.services().items()]
    try:
        async with asyncio.timeout(WAIT_S):
            await side.wait_ready()
        yield Rig(side, objects, registry, telemetry, credentials, identity, onboarding or make_onboarding_pair())
    finally:
        side.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await registry.close()
        await store.close()
        await telemetry.close()
