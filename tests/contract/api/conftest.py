"""One API served over TLS for the whole module, and the real kubectl for it. Tests use namespaces of their own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from eaves.testing.kubectl import Kubectl
from eaves.testing.operator_api import ServedApi


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApi]:
    with ServedApi(tmp_path_factory.mktemp("api")) as served:
        yield served


@pytest.fixture(scope="module")
def kubectl(served: ServedApi, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    return Kubectl(served.kubeconfig, tmp_path_factory.mktemp("home"))


@pytest.fixture
def space(kubectl: Kubectl) -> Iterator[str]:
    """A fresh namespace."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    kubectl.ok("create", "namespace", name)
    yield name
    kubectl.ok("delete", "namespace", name, "--wait=false")
