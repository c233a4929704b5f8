"""Errors of the node's ports.

::

    EngineError
    └── PortError                  a port cannot be set up now
        └── ManagerMissingError    NetworkManager does not answer
"""

from __future__ import annotations

from eaves.node.errors import EngineError


class PortError(EngineError):
    code = "PortError"
    retryable = True


class ManagerMissingError(PortError):
    code = "NetworkManagerMissing"
