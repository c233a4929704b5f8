"""Errors of containers.

::

    EngineError
    └── ContainerError
        ├── StartError            the container was made but its program does not start
        └── SpecImpossibleError   the app asks for something that no container can have
"""

from __future__ import annotations

from eaves.node.errors import EngineError


class ContainerError(EngineError):
    code = "ContainerError"
    retryable = True


class StartError(ContainerError):
    code = "StartError"
    retryable = True


class SpecImpossibleError(ContainerError):
    code = "AppImpossible"
    retryable = False
