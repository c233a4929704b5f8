"""Takes the snapshot that the status socket hands out."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Protocol

from eaves.kit.supervisor import Supervisor
from eaves.node.link.certs import CertificateKeeper
from eaves.node.link.notify import NotifyChannel
from eaves.node.link.onboarding import Onboarding
from eaves.node.link.queues import EventQueue
from eaves.node.observed import AppStatus, ClusterStatus, ImageStatus, NetworkStatus, VolumeStatus, list_statuses
from eaves.node.ports.view import describe_problems
from eaves.node.report.facts import load_own_rss_bytes
from eaves.node.report.survey import Parts
from eaves.node.status import ProblemLine, ServiceLine, Snapshot


class AllParts(Parts, Protocol):
    """Parts that only the snapshot looks at."""

    supervisor: Supervisor
    onboarding: Onboarding
    certs: CertificateKeeper
    notify: NotifyChannel
    queue: EventQueue


class SnapshotTaker:
    """Looks at the daemon from inside."""

    def __init__(self, parts: AllParts, version: str) -> None:
        self._parts = parts
        self._version = version
        self._started_at = time.time()

    async def take(self) -> Snapshot:
        rss_bytes = await asyncio.to_thread(load_own_rss_bytes)
        parts, health = self._parts, self._parts.controller.health
        return Snapshot(
            version=self._version,
            pid=os.getpid(),
            started_at=self._started_at,
            server=parts.settings.server,
            device_id=parts.controller.device_id or "",
            serial=parts.serial,
            waiting_for=self._waiting_for(),
            attestation=f"{parts.attestation.step.lower()} {parts.attestation.last_error}".strip(),
            notify_channel=self._notify_channel(),
            last_contact=health.last_success,
            last_failure=health.last_failure,
            last_error=health.last_error,
            last_error_remedy=health.resolution,
            config_hash=parts.poller.applied_hash,
            config_applied_at=parts.poller.applied_at,
            config_problem=parts.poller.problem,
            queued_messages=len(parts.queue),
            waiting_log_files=parts.uploader.waiting_files,
            apps=list_statuses(parts.observations, AppStatus),
            networks=list_statuses(parts.observations, NetworkStatus),
            volumes=list_statuses(parts.observations, VolumeStatus),
            images=list_statuses(parts.observations, ImageStatus),
            problems=self._problems(),
            services=[
                ServiceLine(service.name, service.state, service.failures, service.last_error)
                for service in parts.supervisor.statuses()
                if service.state != "done"
            ],
            rss_bytes=rss_bytes,
            clusters=list_statuses(parts.observations, ClusterStatus),
        )

    def _waiting_for(self) -> str:
        parts = self._parts
        if parts.controller.device_id is None:
            return parts.onboarding.waiting_for or "an answer of the controller to onboarding"
        if not parts.poller.applied_hash:
            return "a first config from the controller"
        return ""

    def _notify_channel(self) -> str:
        channel = self._parts.notify
        if channel.is_open:
            return "open"
        return f"closed: {channel.last_error}" if channel.last_error else "closed"

    def _problems(self) -> list[ProblemLine]:
        parts = self._parts
        lines = [ProblemLine(problem.element, problem.message, problem.resolution) for problem in parts.orders.problems]
        if parts.engine.problem is not None:
            error = parts.engine.problem
            lines.insert(0, ProblemLine(error.element or "engine", error.message, error.resolution))
        if parts.ports is not None:
            lines += [ProblemLine("ports", text, "") for text in describe_problems(parts.ports.view)]
        if parts.orders.command_problem:
            lines.insert(0, ProblemLine("node", parts.orders.command_problem, ""))
        return lines
