"""Errors of clusters.

::

    EngineError
    └── ClusterError               something about the cluster that could not be done
        ├── KubeApiError           the cluster's own API refused or did not answer; carries the status
        ├── JoinError              the server to join does not answer as one of this cluster
        └── BackupError            a snapshot could not be taken, shipped or brought back
"""

from __future__ import annotations

from eaves.node.errors import EngineError


class ClusterError(EngineError):
    code = "ClusterError"


class KubeApiError(ClusterError):
    """``status`` 0 = no answer."""

    code = "ClusterApiUnavailable"

    def __init__(self, message: str, *, status: int = 0, element: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(message, element=element)
        self.status = status
        self.retry_after_s = retry_after_s


class JoinError(ClusterError):
    code = "ServerNotReady"


class BackupError(ClusterError):
    code = "BackupFailed"
