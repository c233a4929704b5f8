"""Errors of the node's ports.

::

    EngineError
    └── PortError                  a port cannot be set up now
        ├── CallError              a service on the message bus refuses a call
        └── ManagerMissingError    NetworkManager or ModemManager does not answer
"""

from __future__ import annotations

from eaves.node.errors import EngineError


class PortError(EngineError):
    code = "PortError"
    retryable = True


class CallError(PortError):
    """A service answered a call with an error, or not in time."""

    code = "PortCallFailed"
    name = ""
    """As the service calls it; empty = it did not answer."""


class ManagerMissingError(PortError):
    code = "NetworkManagerMissing"
