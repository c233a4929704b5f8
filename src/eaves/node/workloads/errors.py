"""Errors of workloads, whatever runs them.

::

    EngineError
    └── WorkloadError
        ├── StartError                the workload was made but does not start
        ├── SpecImpossibleError       the app asks for something that its engine cannot give
        ├── NotRunningError           there is nothing that could be talked to
        ├── sessions.SessionError     a command cannot be run, or streams not be attached to
        ├── EngineMissingError        this node has no engine for the app's kind
        ├── containers.errors.ContainerError …
        └── vms.errors.VmError …
"""

from __future__ import annotations

from eaves.node.errors import EngineError


class WorkloadError(EngineError):
    code = "WorkloadError"
    retryable = True


class StartError(WorkloadError):
    code = "StartError"
    retryable = True


class SpecImpossibleError(WorkloadError):
    code = "AppImpossible"
    retryable = False


class EngineMissingError(WorkloadError):
    code = "AppKindUnsupported"
    retryable = False


class NotRunningError(WorkloadError):
    code = "NotRunning"
    retryable = True
