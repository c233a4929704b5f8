"""Errors of the tunnel.

TunnelError
├── NotConnectedError       the node holds no notify channel, so nobody can call it
├── TooManyStreamsError     the node's or the controller's bound is reached
├── OpenTimeoutError        the node did not dial back, or did not answer, in time
├── RefusedError            the node said no; ``refusal`` says why
└── RequestTooLongError     the request does not fit into one message

What becomes of an open stream is :class:`eaves.tunnel.stream.StreamClosedError`.
"""

from __future__ import annotations

from eaves.kit.errors import EavesError
from eaves.wire.tunnel import Refusal


class TunnelError(EavesError):
    """A stream could not be opened."""

    code = "TunnelError"


class NotConnectedError(TunnelError):
    code = "NodeNotConnected"
    retryable = True


class TooManyStreamsError(TunnelError):
    code = "TooManyStreams"
    retryable = True


class OpenTimeoutError(TunnelError):
    code = "OpenTimeout"
    retryable = True


class RefusedError(TunnelError):
    code = "StreamRefused"

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message, code=str(refusal.code))
        self.refusal = refusal


class RequestTooLongError(TunnelError):
    code = "RequestTooLong"
