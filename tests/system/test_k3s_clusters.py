"""K3s clusters from ``kubectl apply`` to their end, on machines of their own, under faults. Whichever K3s is found runs inside."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from eaves.testing.daemons import wait_for
from eaves.testing.k3s import NoK3sError, Release, find_releases
from eaves.testing.k3s_stage import READY_LIMIT_S, ClusterStage, want_cluster
from eaves.testing.system import ControllerHost

pytestmark = [pytest.mark.xdist_group("k3s"), pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def releases() -> list[Release]:
    """Newest first."""
    try:
        return find_releases()
    except NoK3sError as error:
        pytest.skip(str(error))


@pytest.fixture
def stage(folder: Path, controller: ControllerHost, releases: list[Release]) -> Iterator[ClusterStage]:
    with ClusterStage(folder, controller, releases) as found:
        yield found


@pytest.fixture
def shop(controller: ControllerHost, stage: ClusterStage) -> Iterator[str]:
    """A namespace with the releases."""
    name = f"shop-{secrets.token_hex(3)}"
    controller.operator.create("namespaces", {"metadata": {"name": name}})
    stage.want_releases(name)
    yield name
    with contextlib.suppress(Exception):
        controller.operator.delete("namespaces", name)


def test_one_server_beside_nothing_else_comes_and_goes(stage: ClusterStage, shop: str, releases: list[Release]) -> None:
    node = stage.add_node()
    stage.apply(want_cluster("till", releases[0].version, [node]), shop)
    stage.wait_phase("till", shop, "Ready")
    cluster = stage.get("till", shop)
    assert cluster["status"]["version"] == releases[0].version
    assert cluster["status"]["firstServer"] == node.name
    assert stage.ask(node, "/readyz") == "ok"
    assert [n["status"]["nodeInfo"]["kubeletVersion"] for n in stage.list_kube_nodes(node)] == [releases[0].version]

    # The daemon's death is nothing to K3s, and the cluster needs no controller.
    before = stage.k3s_pids(node)
    node.daemon.kill()
    node.cut_controller()
    node.start()
    node.wait("K3s still there", lambda: stage.k3s_pids(node) == before and stage.ask(node, "/readyz") == "ok")
    node.cut_power()
    node.start()
    wait_for("the API after a power cut", lambda: stage.ask(node, "/readyz") == "ok", READY_LIMIT_S, node.explain)
    node.mend_controller()
    stage.wait_phase("till", shop, "Ready")

    stage.controller.operator.delete("k3sclusters", "till", shop)
    wait_for("the cluster to be gone", lambda: stage.find("till", shop) is None, READY_LIMIT_S, node.explain)
    assert stage.list_traces(node) == []
