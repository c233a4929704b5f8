"""Errors of virtual machines.

::

    WorkloadError
    └── VmError                QEMU did not do what it was asked to
        ├── QmpError           QEMU's monitor socket gives no good answer
        └── AgentRefusalError  the guest's agent will not do what it was asked to
"""

from __future__ import annotations

from eaves.node.workloads.errors import WorkloadError


class VmError(WorkloadError):
    code = "VmError"
    retryable = True


class QmpError(VmError):
    code = "QmpError"
    retryable = True


class AgentRefusalError(VmError):
    code = "AgentRefused"
