"""Gathers what device info and metrics tell, from the machine and from the parts of the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from eaves.node.counters import CounterFile
from eaves.node.desired.model import ObjectKind, Owner
from eaves.node.engine import EngineSlot
from eaves.node.hardware.inventory import load_inventory
from eaves.node.link.attestation import Attestation
from eaves.node.link.calls import Controller
from eaves.node.link.config import ConfigPoller
from eaves.node.link.uplinks import Uplinks
from eaves.node.link.uploads import LogUploader
from eaves.node.observed import ALIVE, AppState, AppStatus, NetworkStatus, Observations, VolumeStatus, list_statuses
from eaves.node.orders import Orders
from eaves.node.ports.view import PortsView, describe_problems
from eaves.node.report import facts
from eaves.node.report.device import DeviceView
from eaves.node.report.facts import Machine
from eaves.node.report.flows import FlowUploader
from eaves.node.report.metrics import MetricsView
from eaves.node.settings import NodeSettings
from eaves.wire.identifiers import is_uuid

if TYPE_CHECKING:
    from eaves.node.ports.service import Ports


class Parts(Protocol):
    """The parts of the daemon that are looked at; :class:`eaves.node.bootstrap.Node` has them."""

    settings: NodeSettings
    serial: str
    observations: Observations
    controller: Controller
    attestation: Attestation
    poller: ConfigPoller
    counters: CounterFile
    orders: Orders
    engine: EngineSlot
    uplinks: Uplinks
    ports: Ports | None
    uploader: LogUploader
    flows: FlowUploader


class Surveyor:
    """Fills the views of ``device`` and ``metrics``."""

    def __init__(self, parts: Parts, root_ca_sha256: bytes, version: str) -> None:
        self._parts = parts
        self._root_ca_sha256 = root_ca_sha256
        self._version = version
        self.machine = Machine()

    async def view_device(self) -> DeviceView:
        parts = self._parts
        servers, domains = await facts.load_resolvers()
        desired = parts.orders.desired
        return DeviceView(
            machine=self.machine,
            ports=self._without_own(await facts.load_ports()),
            mounts=await asyncio.to_thread(facts.load_mounts, Path(parts.settings.state_dir)),
            disks=await asyncio.to_thread(facts.load_disks),
            devices=await asyncio.to_thread(load_inventory),
            name_servers=servers,
            search_domains=domains,
            uplinks=parts.uplinks.configured,
            port_configs=parts.ports.view if parts.ports is not None else PortsView(),
            record=parts.counters.record,
            attestation=parts.attestation.step,
            attestation_error=parts.attestation.last_error,
            item_statuses=parts.orders.item_statuses,
            apps=[(status.id, status.name) for status in list_statuses(parts.observations, AppStatus)],
            name=(desired.name if desired else "") or parts.settings.name,
            serial=parts.serial,
            version=self._version,
            podman_version=parts.engine.podman_version,
            root_ca_sha256=self._root_ca_sha256,
            config_hash=parts.poller.applied_hash,
            config_applied_at=parts.poller.applied_at,
            has_config=desired is not None,
            is_in_maintenance=desired is not None and desired.maintenance_mode,
            is_rebooting=parts.orders.is_rebooting,
            is_halting=any(status.state in ALIVE for status in list_statuses(parts.observations, AppStatus)),
            owner=desired.owner if desired is not None else Owner(),
            base_os=desired.base_os if desired is not None else None,
            hardware=desired.hardware if desired is not None else (),
            device_users={group: app.id for app in desired.apps for group in app.devices}
            if desired is not None
            else {},
            problems=list(self._each_problem()),
        )

    async def view_metrics(self) -> MetricsView:
        parts = self._parts
        apps = list_statuses(parts.observations, AppStatus)
        own = parts.settings.engine
        networks = list_statuses(parts.observations, NetworkStatus)
        bridges = {status.bridge for status in networks}
        ports = await facts.load_ports()
        return MetricsView(
            machine=self.machine,
            load=await asyncio.to_thread(facts.load_load),
            ports=[
                port
                for port in ports
                if port.name in bridges or not port.name.startswith((own.bridge_prefix, own.veth_prefix))
            ],
            labels={uplink.interface: uplink.label for uplink in parts.uplinks.configured},
            signals=await parts.ports.load_signals() if parts.ports is not None else {},
            mounts=await asyncio.to_thread(facts.load_mounts, Path(parts.settings.state_dir)),
            disks=await asyncio.to_thread(facts.load_disks),
            apps=await parts.engine.usages(),
            cluster=await parts.engine.cluster_usage(),
            started_at={
                status.id: status.current.started_at
                for status in apps
                if status.current is not None and status.state is AppState.RUNNING
            },
            networks=networks,
            volumes=list_statuses(parts.observations, VolumeStatus),
            logs=parts.uploader.figures(),
            flows=parts.flows.figures(),
            ciphers=parts.orders.ciphers,
            traffic=parts.controller.traffic.ways,
            with_calls=not parts.orders.is_of_eaves,
            config_received_ns=parts.poller.received_ns,
            config_processed_ns=parts.poller.processed_ns,
        )

    def _without_own(self, ports: list[facts.Port]) -> list[facts.Port]:
        own = self._parts.settings.engine
        return [port for port in ports if not port.name.startswith((own.bridge_prefix, own.veth_prefix))]

    def _each_problem(self) -> Iterator[str]:
        """One line for each thing that is wrong with the node itself or that no other message can tell."""
        parts = self._parts
        if parts.engine.problem is not None:
            error = parts.engine.problem
            yield f"{error}; {error.resolution}" if error.resolution else str(error)
        if parts.ports is not None:
            yield from describe_problems(parts.ports.view)
        if parts.poller.problem:
            yield parts.poller.problem
        if parts.orders.command_problem:
            yield parts.orders.command_problem
        for problem in parts.orders.problems:
            if problem.kind in (ObjectKind.DATASTORE, ObjectKind.NODE) or not is_uuid(problem.object_id):
                yield f"{problem.element}: {problem.message}"
