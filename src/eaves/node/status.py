"""What ``eaves node status`` shows: a snapshot that the daemon hands out over a Unix socket, and its rendering.

The socket is the daemon's only local interface; one connection gets one JSON object. Only root can open it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from eaves.kit import files
from eaves.kit.errors import EavesError
from eaves.node.observed import (
    AppStatus,
    ClusterStatus,
    Fault,
    ImageState,
    ImageStatus,
    NetworkStatus,
    VolumeState,
    VolumeStatus,
)

_LIMIT_BYTES = 16 << 20
_ANSWER_TIMEOUT_S = 10.0


class NotRunningError(EavesError):
    """No daemon answers."""

    code = "NodeNotRunning"


class ServiceLine(Struct, frozen=True):
    name: str
    state: str
    failures: int
    last_error: str


class ProblemLine(Struct, frozen=True):
    element: str
    message: str
    resolution: str


class Snapshot(Struct, frozen=True, kw_only=True):
    """Everything about a running node; times are Unix seconds, 0 = never."""

    version: str
    pid: int
    started_at: float
    server: str
    device_id: str
    serial: str
    waiting_for: str
    """What the node itself waits for; empty when nothing."""
    attestation: str
    notify_channel: str
    last_contact: float
    last_failure: float
    last_error: str
    last_error_remedy: str
    config_hash: str
    config_applied_at: float
    config_problem: str
    queued_messages: int
    waiting_log_files: int
    apps: list[AppStatus]
    networks: list[NetworkStatus]
    volumes: list[VolumeStatus]
    images: list[ImageStatus]
    problems: list[ProblemLine]
    services: list[ServiceLine]
    rss_bytes: int = 0
    clusters: list[ClusterStatus] = []


class StatusSocket:
    """Serves snapshots."""

    def __init__(self, path: Path, take: Callable[[], Awaitable[Snapshot]]) -> None:
        self._path = path
        self._take = take
        self.listening = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled."""
        server = await asyncio.start_unix_server(self._answer, sock=await asyncio.to_thread(self._bind))
        self.listening.set()
        async with server:
            await server.serve_forever()

    def _bind(self) -> socket.socket:
        files.want_folder(self._path.parent)
        self._path.unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX)
        # On Linux the file gets the mode that the socket had when it was bound, so there is no moment of open access.
        os.fchmod(server.fileno(), 0o600)
        server.bind(str(self._path))
        return server

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(msgspec.json.encode(await self._take()))
            await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()


def fetch_snapshot(path: Path) -> Snapshot:
    """Ask the running daemon. Raises NotRunningError."""
    remedy = "start it with systemctl start eaves-node, or eaves node run; look into its log if it does not stay up"
    chunks: list[bytes] = []
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_TIMEOUT_S)
            connection.connect(str(path))
            while chunk := connection.recv(1 << 16):
                chunks.append(chunk)
                if sum(map(len, chunks)) > _LIMIT_BYTES:
                    break
        return msgspec.json.decode(b"".join(chunks), type=Snapshot)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NotRunningError("the node daemon does not run", element=str(path), resolution=remedy) from error
    except PermissionError as error:
        raise NotRunningError("only root may ask the node daemon", element=str(path), resolution="use sudo") from error
    except (OSError, msgspec.DecodeError) as error:
        raise NotRunningError(
            "the node daemon gives no usable answer", element=str(path), details=str(error)
        ) from error


def render_snapshot(snapshot: Snapshot, now: float | None = None) -> str:
    """The snapshot for people."""
    now = time.time() if now is None else now
    lines = [
        f"node         {snapshot.device_id or 'not onboarded yet'}, serial {snapshot.serial}",
        f"daemon       eaves {snapshot.version}, pid {snapshot.pid}, {snapshot.rss_bytes >> 20} MiB",
        f"controller   {snapshot.server}, last contact {_ago(snapshot.last_contact, now)}",
    ]
    if snapshot.last_error and snapshot.last_failure >= snapshot.last_contact:
        lines.append(f"             last error {_ago(snapshot.last_failure, now)}: {snapshot.last_error}")
        lines += [f"             {snapshot.last_error_remedy}"] if snapshot.last_error_remedy else []
    if snapshot.waiting_for:
        lines.append(f"waits for    {snapshot.waiting_for}")
    lines += [
        f"attestation  {snapshot.attestation}",
        f"notify       {snapshot.notify_channel}",
        f"config       {snapshot.config_hash[:16] or 'none'}, applied {_ago(snapshot.config_applied_at, now)}",
    ]
    if snapshot.config_problem:
        lines.append(f"             refused: {snapshot.config_problem}")
    lines.append(f"to send      {snapshot.queued_messages} messages, {snapshot.waiting_log_files} log files")
    lines += _render_objects(snapshot, now)
    broken = [service for service in snapshot.services if service.state != "running"]
    lines += [f"service      {service.name} {service.state}: {service.last_error}" for service in broken]
    return "\n".join(lines) + "\n"


def _render_objects(snapshot: Snapshot, now: float) -> list[str]:
    lines = [""]
    lines += [_render_app(status, now) for status in sorted(snapshot.apps, key=lambda app: (app.namespace, app.name))]
    lines += ["no apps"] if not snapshot.apps else []
    lines += [_render_cluster(cluster, now) for cluster in snapshot.clusters]
    for network in snapshot.networks:
        state = "active" if network.active else "not active"
        ports = network.tree.ports if network.tree is not None else ()
        shown = "".join(f", {port.name} {port.role} {port.state}" for port in ports)
        lines.append(f"network      {network.name}: {state}{shown}{_fault(network.fault, now)}")
    for image in snapshot.images:
        if image.state is not ImageState.LOADED:
            lines.append(
                f"image        {image.name}: {image.state} {image.progress_percent} %{_fault(image.fault, now)}"
            )
    for volume in snapshot.volumes:
        if volume.state is not VolumeState.READY:
            lines.append(f"volume       {volume.name}: {volume.state}{_fault(volume.fault, now)}")
    lines += [
        f"problem      {problem.element}: {problem.message}"
        + (f" ({problem.resolution})" if problem.resolution else "")
        for problem in snapshot.problems
    ]
    return lines


def _render_app(status: AppStatus, now: float) -> str:
    name = f"{status.namespace}/{status.name}" if status.namespace else status.name
    parts = [f"app          {name}: {status.state}"]
    if status.waiting_for:
        parts.append(f"waits for {status.waiting_for}")
    if status.restarts:
        parts.append(f"{status.restarts} restarts")
    addresses = [address for interface in status.interfaces for address in interface.addresses]
    if addresses:
        parts.append(" ".join(addresses))
    if status.next_start_at > now:
        parts.append(f"starts again in {status.next_start_at - now:.0f} s")
    return ", ".join(parts) + _fault(status.fault, now)


def _render_cluster(status: ClusterStatus, now: float) -> str:
    role = "server" if status.is_server else "agent"
    parts = [f"cluster      {status.name}: {status.state}, {role} {status.node_name} {status.version}".rstrip()]
    if status.waiting_for:
        parts.append(f"waits for {status.waiting_for}")
    if status.message:
        parts.append(status.message)
    if status.nodes:
        parts.append(f"{sum(1 for node in status.nodes if node.is_ready)} of {len(status.nodes)} nodes ready")
    if status.restarts:
        parts.append(f"{status.restarts} restarts")
    if status.certificates_expire_at:
        parts.append(f"certificates until {time.strftime('%Y-%m-%d', time.gmtime(status.certificates_expire_at))}")
    return ", ".join(parts) + _fault(status.fault, now)


def _fault(fault: Fault | None, now: float) -> str:
    if fault is None:
        return ""
    retry = f"; tried again in {fault.retry_at - now:.0f} s" if fault.retry_at > now else ""
    remedy = f"; {fault.resolution}" if fault.resolution else ""
    return f": {fault.message}{remedy}{retry}"


def _ago(moment: float, now: float) -> str:
    if moment <= 0:
        return "never"
    seconds = max(0, int(now - moment))
    if seconds < 120:
        return f"{seconds} s ago"
    return f"{seconds // 60} min ago" if seconds < 7200 else f"{seconds // 3600} h ago"
