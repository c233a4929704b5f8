"""The public port of the gateway: the shared listener with the bounds that strangers call for."""

from __future__ import annotations

from pathlib import Path

from eaves.controller.deviceside import DeviceSide
from eaves.controller.gateway.protocol import ConnectionCounts, ConnectionLimits, DeviceWebSocket, bounded_protocol
from eaves.controller.serving import Listener, TlsFiles
from eaves.controller.settings import GatewaySettings
from eaves.wire import notify

PING_INTERVAL_S = 50.0
"""Of the notify channel: below the minute after which many NATs forget a connection."""
KEEP_ALIVE_S = 75


def listen_for_devices(
    side: DeviceSide, tls: TlsFiles | Path, host: str, port: int, settings: GatewaySettings
) -> Listener:
    """A bound listener; ``tls`` may be one file with chain and key. Raises ListenError, CertificateFilesError."""
    files = TlsFiles(tls, tls) if isinstance(tls, Path) else tls
    limits = ConnectionLimits(
        connections=settings.connections, connections_per_address=settings.connections_per_address
    )
    return Listener(
        side.gateway,
        host,
        port,
        tls=files,
        on_stop=side.stop,
        keep_alive_s=KEEP_ALIVE_S,
        protocol=bounded_protocol(ConnectionCounts(limits)),
        websocket=DeviceWebSocket,
        ping_interval_s=PING_INTERVAL_S,
        message_limit_bytes=notify.ANSWER_LIMIT_BYTES,
        date_header=False,
    )
