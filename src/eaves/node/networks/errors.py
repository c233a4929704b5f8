"""Errors of networks.

::

    EngineError
    └── NetworkError
        └── NetworkImpossibleError   this node cannot do what was asked, however often it is tried
"""

from __future__ import annotations

from eaves.node.errors import EngineError


class NetworkError(EngineError):
    code = "NetworkError"
    retryable = True


class NetworkImpossibleError(NetworkError):
    code = "NetworkImpossible"
    retryable = False
