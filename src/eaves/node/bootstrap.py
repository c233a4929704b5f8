"""Wires the node daemon: makes every part, connects them, and lists the services that the supervisor keeps running.

``eaves node run`` calls :func:`run_node`; tests make a :class:`Node` with an engine of their own.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import logging
import platform
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from eaves import __version__
from eaves.kit import files
from eaves.kit.supervisor import Supervisor
from eaves.kit.systemd import notify_systemd
from eaves.node import properties
from eaves.node import settings as node_settings
from eaves.node.counters import CounterFile, load_boot_id
from eaves.node.engine import EngineSlot, OpenEngine, open_manager
from eaves.node.link import identity, tls
from eaves.node.link.attestation import Attestation
from eaves.node.link.calls import Controller
from eaves.node.link.certs import CertificateKeeper
from eaves.node.link.checkpoint import Checkpoint
from eaves.node.link.client import HttpClient
from eaves.node.link.clock import Clock
from eaves.node.link.config import ConfigPoller
from eaves.node.link.errors import IdentityError
from eaves.node.link.loglines import DeviceLogHandler
from eaves.node.link.logs import LogStore
from eaves.node.link.notify import NotifyChannel
from eaves.node.link.onboarding import Onboarding
from eaves.node.link.queues import EventQueue
from eaves.node.link.uplinks import Uplinks
from eaves.node.link.uploads import LogUploader
from eaves.node.lock import InstanceLock
from eaves.node.observed import AppStatus, Observations
from eaves.node.orders import Orders
from eaves.node.report.facts import load_machine
from eaves.node.report.flows import FlowUploader
from eaves.node.report.reporter import Reporter
from eaves.node.report.survey import Surveyor
from eaves.node.report.timereporter import TimeReporter
from eaves.node.report.told import Told, ToldKeys
from eaves.node.reserve import Reserve
from eaves.node.settings import NodeSettings
from eaves.node.snapshots import SnapshotTaker
from eaves.node.statefile import StateFile
from eaves.node.status import StatusSocket
from eaves.node.tunnel.clusterhttp import ClusterHttp
from eaves.node.tunnel.dialler import Dialler
from eaves.node.tunnel.exec import AttachHandler, ExecHandler
from eaves.node.tunnel.export import ExportHandler
from eaves.node.tunnel.logs import LiveLogs
from eaves.node.tunnel.portforward import PortForward
from eaves.node.tunnel.unixsocket import UnixSocket
from eaves.wire.envelope import Signer
from eaves.wire.logfile import DeviceComment, encode_device_comment
from eaves.wire.notify import Notice
from eaves.wire.tunnel import StreamKind

if TYPE_CHECKING:
    from eaves.node.ports.service import Ports

log = logging.getLogger(__name__)


class Node:
    """All parts of one node daemon. :meth:`open`, then :meth:`run`."""

    def __init__(
        self, settings: NodeSettings, root_pem: bytes, keys: identity.DeviceKeys, serial: str, open_engine: OpenEngine
    ) -> None:
        state, run = Path(settings.state_dir), Path(settings.run_dir)
        link_dir = state / "link"
        soft_serial = identity.want_soft_serial(settings.name or platform.node())
        clock = Clock(root_pem, _utc_now)
        self.settings = settings
        self.serial = serial
        self.supervisor = Supervisor()
        self.observations = Observations()
        self.client = _want_client(settings, root_pem, clock)
        self.uplinks = Uplinks(node_settings.want_uplinks(settings))
        self.controller = Controller(
            self.client,
            self.uplinks,
            keys,
            proxy=node_settings.parse_proxy(settings.proxy),
            serial=serial,
            soft_serial=soft_serial,
        )
        self.certs = CertificateKeeper(
            link_dir, root_pem, self.controller.fetch_certs, now=clock.now, is_clock_behind=clock.is_behind
        )
        self.controller.use_certificates(self.certs)
        self.onboarding = Onboarding(
            self.controller,
            self.certs,
            link_dir / "uuid",
            load_signer=_want_signer_loader(settings),
            serial=serial,
            soft_serial=soft_serial,
        )
        self.attestation = Attestation(self.controller, run / "integrity_token", version=__version__)
        self.checkpoint = Checkpoint(link_dir, self.certs.open)
        self.counters = CounterFile(state / "boot.json")
        self.logs = LogStore(
            state / "newlog",
            quota_bytes=settings.log_quota_mib << 20,
            want_name=self._name_of_app,
            want_comment=self._log_comment,
        )
        self.live_logs = LiveLogs(self.logs.append_app, self.logs.last_number)
        self.engine = EngineSlot(open_engine, settings, self.observations, self.live_logs.deliver)
        self.engine.note_device = self.logs.note_device
        self.engine.seal = lambda payload: identity.seal_envelope(keys, payload)
        self.queue = EventQueue(self.controller.post)
        self.orders = Orders(
            self.engine,
            keys,
            self.certs,
            self.counters,
            self.checkpoint,
            reboot_command=tuple(settings.reboot_command),
            before_reboot=self._say_goodbye,
        )
        self._root_pem = root_pem
        self._clock = clock
        self._device_log = DeviceLogHandler(self.logs.note_device)
        self._own_log_level: int | None = None
        """Of the settings, while the config has another one in force."""
        self.ports: Ports | None = None
        if settings.manage_ports:
            # Imported here: other nodes save the memory.
            from eaves.node.portlink import PortLink

            ports = PortLink(
                settings, self.controller, self.uplinks, self.orders.parse_ports, self._trust_proxies, self._reconnect
            )
            self.ports = ports.ports
            self.engine.ways = ports.find_ways
        self.poller = ConfigPoller(
            self.controller, self.attestation, self.onboarding, self.checkpoint, self.orders.apply
        )
        self.uploader = LogUploader(self.controller, self.logs, lambda: self.orders.timers)
        self.notify = NotifyChannel(self.controller, self._hear)
        self.tunnel = Dialler(self.controller)
        self.tunnel.register(StreamKind.EXEC, ExecHandler(self.engine))
        self.tunnel.register(StreamKind.HTTP, ClusterHttp(self.engine.cluster_api))
        self.tunnel.register(StreamKind.LOGS, self.live_logs)
        self.tunnel.register(StreamKind.EXPORT, ExportHandler(self.engine))
        self.tunnel.register(StreamKind.ATTACH, AttachHandler(self.engine))
        self.tunnel.register(StreamKind.PORT_FORWARD, PortForward(self.observations, settings.engine.netns_dir))
        sockets = settings.engine.machine_socket
        self.tunnel.register(StreamKind.CONSOLE, UnixSocket(self.observations, sockets("console"), "serial console"))
        self.tunnel.register(StreamKind.VNC, UnixSocket(self.observations, sockets("vnc"), "screen"))
        self.surveyor = Surveyor(self, hashlib.sha256(root_pem).digest(), __version__)
        self.flows = FlowUploader(self.controller, self.observations)
        told = Told(StateFile(link_dir / "told.json", ToldKeys))
        self.reporter = Reporter(self.controller, self.observations, self.orders, self.queue, self.surveyor, told)
        self.time_reporter = TimeReporter(self.controller, self.orders, self.queue)
        self.status = StatusSocket(run / "node.sock", SnapshotTaker(self, __version__).take)
        self._onboarded = asyncio.Event()
        self._connect()

    @classmethod
    async def open(cls, settings: NodeSettings, *, open_engine: OpenEngine = open_manager) -> Node:
        """Make the parts and take up what was saved. Raises EavesError for settings or keys that cannot be used."""
        root_pem = await asyncio.to_thread(files.load_file, Path(settings.root_certificate_file))
        if root_pem is None:
            raise IdentityError(
                "root certificate of the controller is missing",
                element=settings.root_certificate_file,
                resolution="join this node with eaves node join",
            )
        folder = Path(settings.state_dir) / "identity"
        keys = await asyncio.to_thread(identity.FileKeys.open, folder, Clock(root_pem, _utc_now).now())
        serial = await asyncio.to_thread(identity.load_serial, folder, settings.serial)
        node = await asyncio.to_thread(cls, settings, root_pem, keys, serial, open_engine)
        await node._load()
        return node

    async def run(self) -> None:
        """Run until :meth:`stop`."""
        logging.getLogger().addHandler(self._device_log)
        self._add_services()
        try:
            await self.supervisor.run()
        finally:
            logging.getLogger().removeHandler(self._device_log)
            self._use_log_level(None)
            await self.counters.update(replace(self.counters.record, is_clean=True))
            await self.client.close()
            await self.logs.close()

    def stop(self) -> None:
        """Ask :meth:`run` to end; apps go on running."""
        self.supervisor.stop()

    def _add_services(self) -> None:
        """Everything that runs, in the order of starting."""
        add = self.supervisor.add
        add("reserve", Reserve(Path(self.settings.state_dir)).run)
        add("engine", self.engine.run)
        add("status", self.status.run)
        add("orders", self.orders.run)
        if self.ports is not None:
            add("ports", self.ports.run)
        add("onboarding", self._onboard)
        add("certificates", self._once_onboarded(self.certs.run))
        add("attestation", self._once_onboarded(self.attestation.run))
        add("config", self._once_onboarded(self.poller.run))
        add("notify", self._once_onboarded(self.notify.run))
        add("tunnel", self.tunnel.run)
        add("queue", self._once_onboarded(self.queue.run))
        add("report-changes", self._once_onboarded(self.reporter.run_changes))
        add("report-device", self._once_onboarded(self.reporter.run_device))
        add("report-health", self._once_onboarded(self.reporter.run_health))
        add("report-time", self._once_onboarded(self.time_reporter.run))
        if self.settings.metrics:
            add("report-metrics", self._once_onboarded(self.reporter.run_metrics))
        add("flows", self._once_onboarded(self.flows.run))
        add("logs", self._once_onboarded(self.uploader.run))
        add("log-readers", self._once_onboarded(self.uploader.run_for_readers))

    def _once_onboarded(self, service: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            await self._onboarded.wait()
            await service()

        return run

    def _connect(self) -> None:
        """Who is told of what."""
        self.orders.on_change(self._take_timers)
        self.orders.on_change(self._take_log_levels)
        self.orders.on_change(self._take_ports)
        if self.ports is not None:
            self.ports.changed = self.reporter.note_device
        self.orders.on_change(self.reporter.note_config)
        self.attestation.changed = self.reporter.note_device
        self.engine.changed = self.reporter.note_device
        self.certs.changed = self._take_certificates
        self.onboarding.changed = self.reporter.tell_all
        self.controller.reconnected = self.queue.note_reconnected
        self.notify.allow(self.settings.notify)

    async def _load(self) -> None:
        await self.logs.open()
        await self.counters.start(await asyncio.to_thread(load_boot_id), time.time())
        self.surveyor.machine = await asyncio.to_thread(load_machine)
        await self.certs.load()
        await self.attestation.load()
        if await self.onboarding.load() is not None:
            self._onboarded.set()
            await self.poller.load()

    async def _onboard(self) -> None:
        if not self._onboarded.is_set():
            await self.onboarding.obtain()
            self._onboarded.set()

    def _take_certificates(self) -> None:
        self.orders.note_certificates()
        self.poller.note_certificates()

    def _take_ports(self) -> None:
        if self.ports is not None and self.orders.desired is not None:
            self.ports.take(self.orders.desired.port_sections)

    def _reconnect(self) -> None:
        self.client.abort()
        self.engine.note_moved()
        self.notify.reconnect()

    async def _trust_proxies(self, pems: tuple[str, ...]) -> None:
        """The certificates of the ports' proxies, beside those of the settings."""
        context = await asyncio.to_thread(
            _want_context, self.settings, self._root_pem, self._clock, [pem.encode() for pem in pems]
        )
        await self.client.use_context(context)

    def _take_timers(self) -> None:
        timers, desired = self.orders.timers, self.orders.desired
        self.uploader.note_timers()
        self.poller.interval_s = timers.config_interval_s
        self.certs.interval_s = timers.cert_interval_s
        # 0 is allowed by the device API and means "as usual".
        self.client.dial_timeout_s = timers.dial_timeout_s or self.client.dial_timeout_s
        self.client.send_timeout_s = timers.send_timeout_s or self.client.send_timeout_s
        self.logs.quota_bytes = min(self.settings.log_quota_mib, timers.newlog_ondisk_max_mib) << 20
        self.notify.allow(self.settings.notify and not (desired is not None and desired.notify_disabled))

    def _take_log_levels(self) -> None:
        items = self.orders.desired.config_items if self.orders.desired is not None else {}
        self._use_log_level(properties.find_log_level(items))
        self._device_log.setLevel(properties.find_remote_log_level(items))

    def _use_log_level(self, level: int | None) -> None:
        root = logging.getLogger()
        if level is not None:
            self._own_log_level = root.level if self._own_log_level is None else self._own_log_level
            root.setLevel(level)
        elif self._own_log_level is not None:
            root.setLevel(self._own_log_level)
            self._own_log_level = None

    def _hear(self, notice: Notice) -> None:
        """Hints from the notify channel."""
        if notice.config is not None and notice.config != self.poller.applied_hash:
            self.poller.wake()
        desired = self.orders.desired
        if notice.certs is not None and desired is not None and notice.certs != desired.controller_certs_hash:
            self.certs.request_fetch()
        if notice.logs is not None:
            self.uploader.note_readers(notice.logs.app, notice.logs.seconds)
        if notice.stream is not None:
            self.tunnel.dial(notice.stream)
        if notice.hangup is not None:
            self.tunnel.hang_up(notice.hangup)

    async def _say_goodbye(self) -> None:
        """Before a reboot: the controller shall know why the node falls silent."""
        if self._onboarded.is_set():
            await self.reporter.queue_device()
            await self.queue.wait_empty()

    def _name_of_app(self, app_id: str) -> str:
        status = self.observations.get(AppStatus, app_id)
        return status.name if status is not None else app_id

    def _log_comment(self) -> str:
        return encode_device_comment(
            DeviceComment(device_id=self.controller.device_id or "", image="IMGA", version=__version__)
        )


async def run_node(settings: NodeSettings, *, open_engine: OpenEngine = open_manager) -> None:
    """Run the daemon until SIGTERM or SIGINT. Raises EavesError when it cannot start at all."""
    for folder in (settings.state_dir, settings.run_dir):
        await asyncio.to_thread(files.want_folder, Path(folder))
    lock = await asyncio.to_thread(InstanceLock, Path(settings.run_dir) / "node.lock")
    try:
        try:
            node = await Node.open(settings, open_engine=open_engine)
        except OSError as error:
            raise IdentityError(
                f"the node cannot start: {error.strerror}",
                element=str(error.filename or settings.state_dir),
                resolution="make room on the disk, or correct the permissions of the folder",
            ) from error
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, node.stop)
        notify_systemd("READY=1")
        log.info("node daemon runs: version=%s server=%s serial=%s", __version__, settings.server, node.serial)
        await node.run()
        log.info("node daemon stops, apps go on running")
    finally:
        lock.release()


def _want_client(settings: NodeSettings, root_pem: bytes, clock: Clock) -> HttpClient:
    """A client that trusts whom the settings say."""
    return HttpClient(node_settings.parse_server(settings.server), _want_context(settings, root_pem, clock, []))


def _want_context(settings: NodeSettings, root_pem: bytes, clock: Clock, pems: list[bytes]) -> tls.ResumingContext:
    """Trust in the controller, and in proxies on the way: those of the settings and ``pems``."""
    proxy_pem = files.load_file(Path(settings.proxy_certificate_file)) if settings.proxy_certificate_file else None
    return tls.want_context(
        root_pem,
        [*([proxy_pem] if proxy_pem else []), *pems],
        use_system=settings.trust_system_certificates,
        is_clock_behind=clock.is_behind,
    )


def _want_signer_loader(settings: NodeSettings) -> Callable[[], Signer] | None:
    """None for a node without an onboarding key, whose device certificate the controller must know already."""
    certificate, key = Path(settings.onboarding_certificate_file), Path(settings.onboarding_key_file)
    if not certificate.exists() and not key.exists():
        return None
    return lambda: identity.load_onboarding_signer(certificate, key)


def _utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
