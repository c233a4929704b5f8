"""Errors of containers.

::

    WorkloadError
    └── ContainerError    podman did not do what it was asked to
"""

from __future__ import annotations

from eaves.node.workloads.errors import WorkloadError


class ContainerError(WorkloadError):
    code = "ContainerError"
    retryable = True
