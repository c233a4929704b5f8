"""Starts and stops the controller: one list of everything that runs.

``eaves controller run`` calls :func:`run_controller`. Order: data folder, keys, ports (so that a fault shows before anything else
happens), stores, then the parts, each with the others that it talks to. It stops in reverse order, ports first.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from msgspec import Struct
from prometheus_client import CollectorRegistry, Gauge, GCCollector, PlatformCollector, ProcessCollector

from eaves.controller.access.aggregating import RoleAggregator
from eaves.controller.access.following import AccessFollower
from eaves.controller.access.wanting import want_access
from eaves.controller.api.upgrading import UpgradingProtocol
from eaves.controller.api.wiring import ApiParts, make_api
from eaves.controller.auditlog import AuditLog
from eaves.controller.devicelistener import listen_for_devices
from eaves.controller.deviceside import DeviceSide, Stores, build_device_side
from eaves.controller.epoch import StoreEpoch
from eaves.controller.events import EventRecorder
from eaves.controller.firststart import want_admin_access, want_first_objects
from eaves.controller.identity import GivenFiles, Identity, open_identity
from eaves.controller.objects import Objects
from eaves.controller.reconcile.garbage import GarbageCollector
from eaves.controller.reconcile.namespaces import NamespaceReconciler
from eaves.controller.reconcile.oldevents import EventSweeper
from eaves.controller.renewal import CertificateKeeper
from eaves.controller.serving import Listener, TlsFiles
from eaves.controller.settings import (
    ControllerSettings,
    parse_listen,
    want_api_url,
    want_gateway_server,
    want_hosts,
)
from eaves.kit.errors import EavesError
from eaves.kit.files import want_folder
from eaves.kit.supervisor import Supervisor
from eaves.kit.systemd import notify_systemd
from eaves.store.sqlite.credentials import SqliteCredentials
from eaves.store.sqlite.devices import SqliteDeviceRegistry
from eaves.store.sqlite.objects import ObjectOptions, SqliteStore
from eaves.store.sqlite.retention import TelemetryOptions
from eaves.store.sqlite.telemetry import SqliteTelemetry

log = logging.getLogger(__name__)

KUBECONFIG = "admin.kubeconfig"
OBJECTS = "objects.db"


class DataFolderError(EavesError):
    """The data folder cannot be used."""

    code = "BadDataFolder"


class _OpenStores(Struct, frozen=True):
    objects: Objects
    registry: SqliteDeviceRegistry
    telemetry: SqliteTelemetry
    credentials: SqliteCredentials


class _Contacts:
    """When devices last called, for the views of the operator API."""

    def __init__(self, side: DeviceSide) -> None:
        self._side = side

    async def last_seen_s(self, device_id: str) -> float:
        return self._side.contact.last_seen_s(device_id)


async def run_controller(settings: ControllerSettings) -> None:
    """Run until SIGTERM or SIGINT. Raises EavesError when it cannot start."""
    # Its start and stop are told by our own lines.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    supervisor = Supervisor()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    _raise_file_limit()
    folder = Path(settings.data_dir)
    identity = await asyncio.to_thread(load_identity, settings)
    tls = TlsFiles(identity.current.server_file, identity.current.server_file)
    async with _open_stores(settings, folder) as stores:
        await _run(settings, folder, identity, tls, stores, supervisor)


async def renew_epoch(settings: ControllerSettings) -> None:
    """Make the next start ask every device for everything. Raises EavesError when the data folder cannot be used, or is in use."""
    folder = Path(settings.data_dir)
    if not (folder / OBJECTS).exists():
        raise DataFolderError(
            f"there is no {OBJECTS} in {folder}", resolution="name the settings of the controller by --config"
        )
    async with _open_stores(settings, folder) as stores:
        await StoreEpoch(stores.credentials, time.time).renew()


async def _run(
    settings: ControllerSettings,
    folder: Path,
    identity: Identity,
    tls: TlsFiles,
    stores: _OpenStores,
    supervisor: Supervisor,
) -> None:
    objects = stores.objects
    side = build_device_side(
        Stores(objects, stores.registry, stores.telemetry, stores.credentials, folder / OBJECTS),
        identity,
        EventRecorder(objects, "eaves-controller"),
        settings.gateway,
    )
    metrics = _make_metrics(side)
    access = AccessFollower(objects.store)
    audit = _make_audit(settings, folder)
    api = make_api(
        ApiParts(
            store=objects.store,
            telemetry=stores.telemetry,
            tokens=stores.credentials,
            contacts=_Contacts(side),
            access=access,
            account_keys=lambda: identity.current.account_keys,
            issuer=want_api_url(settings, parse_listen(settings.api.listen, "api.listen")[1]),
            auditor=audit,
            interest=side.hub,
            tunnel=side.tunnel,
        ),
        metrics,
    )
    devices = listen_for_devices(side, tls, *parse_listen(settings.gateway.listen, "gateway.listen"), settings.gateway)
    operators = Listener(
        api,
        *parse_listen(settings.api.listen, "api.listen"),
        tls=tls,
        on_stop=api.stop,
        protocol=UpgradingProtocol,
    )

    await want_first_objects(objects, want_gateway_server(settings, devices.port), identity.current.root_pem)
    await want_access(objects)
    url = want_api_url(settings, operators.port)
    await want_admin_access(stores.credentials, folder / KUBECONFIG, url, identity.current.authority_pem)

    namespaces = NamespaceReconciler(objects, lambda: identity.current.authority_pem)
    _add_services(supervisor, objects, side, access, audit)
    supervisor.add("namespaces", namespaces.run)
    keeper = CertificateKeeper(identity, tls, side, _watched_files(settings, folder), namespaces.want_all)
    supervisor.add("certificates", keeper.run)
    # The ports come last: they are closed first, and nobody is answered by a part that has ended.
    supervisor.add("gateway", devices.run)
    supervisor.add("api", operators.run)
    running = asyncio.create_task(supervisor.run(), name="supervisor")
    # Both ports are bound by now; who calls early waits in their backlog.
    ready = asyncio.create_task(side.wait_ready(), name="ready")
    ready.add_done_callback(lambda task: None if task.cancelled() else _say_ready(url, devices.port, folder))
    await running
    ready.cancel()
    notify_systemd("STOPPING=1")
    log.info("controller stopped")


def _add_services(
    supervisor: Supervisor, objects: Objects, side: DeviceSide, access: AccessFollower, audit: AuditLog | None
) -> None:
    """What runs beside the two ports."""
    for name, service in side.services().items():
        supervisor.add(name, service)
    if audit is not None:
        supervisor.add("audit", audit.run)
    supervisor.add("access", access.run)
    supervisor.add("roles", RoleAggregator(objects).run)
    supervisor.add("garbage", GarbageCollector(objects).run)
    supervisor.add("old-events", EventSweeper(objects).run)


def load_identity(settings: ControllerSettings) -> Identity:
    """Keys and certificates in the data folder, made there when missing. Raises DataFolderError, KeyFileError."""
    folder = Path(settings.data_dir)
    try:
        want_folder(folder)
    except OSError as error:
        raise DataFolderError(
            f"cannot be made: {error.strerror}",
            element=str(folder),
            resolution="run as a user who may write there, or set data_dir",
        ) from error
    tls = settings.tls
    paths = [Path(text) if text else None for text in (tls.certificate, tls.key, tls.authority, tls.signing, tls.ecdh)]
    given = GivenFiles(*paths)
    return open_identity(folder / "pki", want_hosts(settings), given, lambda: datetime.datetime.now(datetime.UTC))


@contextlib.asynccontextmanager
async def _open_stores(settings: ControllerSettings, folder: Path) -> AsyncIterator[_OpenStores]:
    retention = settings.retention
    store = await SqliteStore.open(folder / OBJECTS, ObjectOptions(history_s=60.0 * retention.history_minutes))
    try:
        options = TelemetryOptions(
            max_bytes=retention.telemetry_mib << 20, max_age_s=86_400.0 * retention.telemetry_days
        )
        telemetry = await SqliteTelemetry.open(folder / "telemetry.db", options)
        try:
            registry = SqliteDeviceRegistry(store)
            try:
                yield _OpenStores(Objects(store), registry, telemetry, SqliteCredentials(store))
            finally:
                await registry.close()
        finally:
            await telemetry.close()
    finally:
        await store.close()


def _watched_files(settings: ControllerSettings, folder: Path) -> list[Path]:
    tls = settings.tls
    given = [Path(text) for text in (tls.certificate, tls.key, tls.authority, tls.signing, tls.ecdh) if text]
    return [folder / "pki", *given]


def _make_audit(settings: ControllerSettings, folder: Path) -> AuditLog | None:
    wanted = settings.audit
    if not wanted.enabled:
        return None
    path = folder / "audit" / "audit.log"
    return AuditLog(path, max_bytes=wanted.max_mib << 20, backups=wanted.backups, reads=wanted.reads)


def _make_metrics(side: DeviceSide) -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    gauges = {
        "eaves_edgenodes": ("EdgeNodes that there are", lambda: len(side.nodes)),
        "eaves_nodes_in_contact": ("Devices that call", lambda: len(side.contact)),
        "eaves_nodes_notified": ("Nodes connected to the notify channel", lambda: len(side.hub)),
        "eaves_configs_waiting": ("Configs waiting to be compiled", lambda: len(side.configs.queue)),
        "eaves_observations_waiting": ("Devices whose news waits", lambda: len(side.observer.queue)),
        "eaves_gateway_body_bytes": ("Memory reserved for request bodies", lambda: side.budget.used_bytes),
    }
    for name, (text, value) in gauges.items():
        Gauge(name, text, registry=registry).set_function(value)
    return registry


def _raise_file_limit() -> None:
    """Every device may hold a connection, so as many files as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _say_ready(access: str, gateway_port: int, folder: Path) -> None:
    """One line for people and scripts that started the daemon in the foreground."""
    line = f"eaves controller is ready: api={access} gateway-port={gateway_port} kubeconfig={folder / KUBECONFIG}"
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    notify_systemd(f"READY=1\nSTATUS={line}")
    log.info("controller runs: api=%s gateway_port=%d", access, gateway_port)
