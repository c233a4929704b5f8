"""Where the built programs are. Looked up when used, so that commands that need none run without them."""

from __future__ import annotations

import os
from pathlib import Path

from eaves.testing import kubernetes
from tests.k3s import log

VERSION = os.environ.get("K3S_STANDIN_VERSION", kubernetes.VERSIONS[0])


def folder(module: str) -> Path:
    """The folder of a module's programs."""
    found = kubernetes.find_module(module)
    if found is None:
        log.fatal(f"the programs of {module} are not built: run tools/build_kubernetes.py")
    return found


def program(module: str, name: str) -> str:
    return str(folder(module) / name)


def kube(name: str) -> list[str]:
    """One of Kubernetes' programs, of the version that this K3s bears."""
    return [program(kubernetes.module_of(VERSION), "kube"), name]
