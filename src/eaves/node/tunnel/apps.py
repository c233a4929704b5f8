"""What the streams to an app have in common: the app must run, and what it is connected to ends with its stream."""

from __future__ import annotations

import socket

from eaves.node.observed import AppState, AppStatus, Observations
from eaves.node.tunnel.abc import Offer, RefusedError
from eaves.node.tunnel.relaying import relay
from eaves.wire.tunnel import RefusalCode


def find_running(observations: Observations, app_id: str) -> AppStatus:
    """Raises RefusedError."""
    status = observations.get(AppStatus, app_id)
    if not isinstance(status, AppStatus):
        raise RefusedError(RefusalCode.NOT_FOUND, "the node does not have the app")
    if status.state is not AppState.RUNNING:
        raise RefusedError(RefusalCode.NOT_RUNNING, f"the app is not running: its state is {status.state}")
    return status


async def accept_and_relay(offer: Offer, connected: socket.socket) -> None:
    """Takes the socket over, be it that nobody wants the stream any more. Raises StreamClosedError."""
    try:
        stream = await offer.accept()
    except BaseException:
        connected.close()
        raise
    await relay(stream, connected)
