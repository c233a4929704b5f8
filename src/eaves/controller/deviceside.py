"""Puts the device side together: gateway and the reconcilers that stand between it and the objects.

Bootstrap runs its services under the supervisor; tests build it over a store of their own. Read it from top to bottom: each part gets
the two or three others that it talks to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from eaves.controller.compile.model import ObjectKey, Problem
from eaves.controller.epoch import StoreEpoch
from eaves.controller.events import EventSink
from eaves.controller.gateway.app import BODY_TIMEOUT_S, Gateway
from eaves.controller.gateway.attest import Attestor
from eaves.controller.gateway.config import ConfigService
from eaves.controller.gateway.devices import Devices
from eaves.controller.gateway.ingest import Ingest
from eaves.controller.gateway.limits import Budget
from eaves.controller.gateway.logs import LogIntake
from eaves.controller.gateway.notify import Greeting, NotifyEndpoint, NotifyHub
from eaves.controller.gateway.register import KeyIndex, Registrar
from eaves.controller.gateway.verify import Verifier
from eaves.controller.identity import Identity
from eaves.controller.nodes import NodeIndex
from eaves.controller.objects import Objects
from eaves.controller.reconcile.clusters.service import ClusterReconciler
from eaves.controller.reconcile.clusters.tokens import ClusterTokens
from eaves.controller.reconcile.configs import ConfigReconciler
from eaves.controller.reconcile.contact import ContactKeeper
from eaves.controller.reconcile.departures import DepartureReconciler
from eaves.controller.reconcile.observations import DeviceObserver
from eaves.controller.settings import GatewaySettings
from eaves.controller.tunnel.broker import Broker
from eaves.controller.tunnel.endpoint import StreamEndpoint
from eaves.kit.rates import Rate
from eaves.store.credentials import SettingStore
from eaves.store.devices import DeviceRegistry
from eaves.store.telemetry import Telemetry
from eaves.wire.identifiers import DeviceId

MIN_SOURCE_BYTES = 4 << 20
"""Bodies under way of one address; many devices may be behind it."""

Service = Callable[[], Coroutine[Any, Any, None]]


class Clocks(Struct, frozen=True):
    """Where the time comes from."""

    now: Callable[[], float] = time.time
    time_ns: Callable[[], int] = time.time_ns
    monotonic_s: Callable[[], float] = time.monotonic


class Stores(Struct, frozen=True):
    """What is durable."""

    objects: Objects
    registry: DeviceRegistry
    telemetry: Telemetry
    settings: SettingStore
    file: Path | None = None
    """Of the objects; None = whether it is another one is not looked at."""


class DeviceSide(Struct, frozen=True):
    """The parts that others use, and the services to run."""

    gateway: Gateway
    hub: NotifyHub
    tunnel: Broker
    nodes: NodeIndex
    keys: KeyIndex
    configs: ConfigReconciler
    observer: DeviceObserver
    contact: ContactKeeper
    departures: DepartureReconciler
    clusters: ClusterReconciler
    budget: Budget

    def services(self) -> Mapping[str, Service]:
        """In the order to start them."""
        return {
            "nodes": self.nodes.run,
            "onboarding-keys": self.keys.run,
            "configs": self.configs.run,
            "observations": self.observer.run,
            "contact": self.contact.run,
            "departures": self.departures.run,
            "clusters": self.clusters.run,
        }

    def stop(self) -> None:
        """End what has no end of its own: the listener stops."""
        self.tunnel.stop()
        self.hub.close()

    async def wait_ready(self) -> None:
        """Returns when devices can be answered."""
        await self.nodes.wait_ready()
        await self.keys.wait_ready()


def build_device_side(
    stores: Stores,
    identity: Identity,
    events: EventSink,
    settings: GatewaySettings | None = None,
    clocks: Clocks | None = None,
    body_timeout_s: float = BODY_TIMEOUT_S,
) -> DeviceSide:
    """Everything between the devices and the store."""
    settings, clocks = settings or GatewaySettings(), clocks or Clocks()
    nodes, keys, hub = NodeIndex(stores.objects.store), KeyIndex(stores.objects), NotifyHub()
    work = _build_reconcilers(stores, identity, events, settings, clocks, nodes, hub)
    configs, observer, contact = work.configs, work.observer, work.contact

    device_rate = Rate(settings.device_requests_per_s, settings.device_burst)
    fault_rate = Rate(settings.unknown_requests_per_s, settings.unknown_burst)
    devices = Devices(stores.registry, nodes, device_rate, clocks.monotonic_s)
    verifier = Verifier(devices, device_rate, fault_rate, clocks.monotonic_s)
    budget = Budget(settings.body_memory_mib << 20, max(settings.body_memory_mib << 20 >> 3, MIN_SOURCE_BYTES))

    def greet(device_id: DeviceId) -> Greeting:
        return Greeting(configs.shelf.hash_of(device_id), identity.current.certs_hash)

    def seal(payload: bytes) -> bytes:
        return identity.current.signer.seal(payload)

    tunnel = Broker(hub)
    nodes.call_when_gone(tunnel.drop)
    gateway = Gateway(
        verifier=verifier,
        registrar=Registrar(stores.objects, stores.registry, nodes, keys, events, clocks.now),
        attestor=Attestor(
            stores.registry,
            devices,
            clocks.monotonic_s,
            on_verdict=observer.take_verdict,
            on_certs=lambda device: configs.want(device, is_urgent=True),
        ),
        configs=ConfigService(configs.shelf, devices, observer.take_poll, configs.note_poll),
        ingest=Ingest(
            stores.registry,
            stores.telemetry,
            observer.wake,
            observer.take_pressure,
            observer.take_health,
            clocks.monotonic_s,
            clocks.time_ns,
        ),
        logs=LogIntake(stores.telemetry, configs.shelf, clocks.time_ns),
        notify=NotifyEndpoint(hub, verifier, greet, contact.hear),
        streams=StreamEndpoint(tunnel, verifier, seal),
        seal=seal,
        certs=_SealedCerts(identity).sealed,
        seen=contact.hear,
        budget=budget,
        body_timeout_s=body_timeout_s,
    )
    return DeviceSide(
        gateway, hub, tunnel, nodes, keys, configs, observer, contact, work.departures, work.clusters, budget
    )


class _Reconcilers(Struct, frozen=True):
    """What looks at objects and devices beside the requests."""

    configs: ConfigReconciler
    observer: DeviceObserver
    contact: ContactKeeper
    departures: DepartureReconciler
    clusters: ClusterReconciler


def _build_reconcilers(
    stores: Stores,
    identity: Identity,
    events: EventSink,
    settings: GatewaySettings,
    clocks: Clocks,
    nodes: NodeIndex,
    hub: NotifyHub,
) -> _Reconcilers:
    objects, registry = stores.objects, stores.registry
    parts = _Late()
    tokens = ClusterTokens(stores.settings, lambda: identity.current.iv_secret)
    contact = ContactKeeper(
        registry, nodes, clocks.monotonic_s, clocks.time_ns, lambda device: parts.look_at(device, True)
    )
    configs = ConfigReconciler(
        objects,
        registry,
        stores.settings,
        nodes,
        identity,
        hub,
        clocks.now,
        report=lambda device, is_new: parts.look_at(device, is_new),
        unplaced=lambda app: parts.take_unplaced(app),
        max_configs=settings.config_cache,
        epoch=StoreEpoch(stores.settings, clocks.now, stores.file),
        tokens=tokens.find,
    )

    def problems_of(device: DeviceId) -> Sequence[Problem]:
        outcome = configs.outcome(device)
        return outcome.problems if outcome is not None else ()

    clusters = ClusterReconciler(objects, registry, nodes, tokens, events, problems_of, clocks.now)
    observer = DeviceObserver(
        objects, registry, nodes, events, contact, configs.outcome, clocks.now, clusters.take_report
    )

    def look_at(device: DeviceId, is_new: bool) -> None:
        observer.look_at(device, is_new)
        clusters.look_at(device)

    parts.look_at, parts.take_unplaced = look_at, observer.take_unplaced
    departures = DepartureReconciler(
        objects, registry, stores.telemetry, nodes, hub, configs.remove_kept, clocks.time_ns
    )
    return _Reconcilers(configs, observer, contact, departures, clusters)


class _SealedCerts:
    """The body of ``/certs``, sealed once for each state of the identity."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._certs_hash = ""
        self._sealed = b""

    def sealed(self) -> bytes:
        current = self._identity.current
        if current.certs_hash != self._certs_hash:
            self._sealed, self._certs_hash = current.signer.seal(current.certs_payload), current.certs_hash
        return self._sealed


def _nobody(*_: object) -> None:
    """Nobody listens yet."""


class _Late(Struct):
    """The observer, for parts that are made before it and call it later."""

    look_at: Callable[[DeviceId, bool], None] = field(default=_nobody)
    take_unplaced: Callable[[ObjectKey], None] = field(default=_nobody)
