"""What happens to a site with a K3s cluster while something is done to it: each fault of one node, of the controller or of all clocks."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from eaves.testing import kubernetes, movable_clock, shifted_clock
from eaves.testing.expired_certificates import list_ends
from eaves.testing.k3s_stage import ClusterNode, ClusterStage

DAY_S = 86_400
AHEAD_S = 430 * DAY_S
"""Beyond the end of all certificates, which are good for a year."""
_TRIES = 3


class Fault:
    """Nothing happens. ``outlasts``: what is done ends while the fault lasts; else it ends after :meth:`mend`."""

    outlasts = False
    is_heard = True
    """The controller answers meanwhile."""
    disk_bytes = 0
    """What nodes must have as a disk of their own; 0 = any."""
    has_clock = False
    """Nodes must have clocks of their own."""

    def why_not(self) -> str:
        """Why it cannot be made here; empty when it can."""
        return ""

    def strike(self, stage: ClusterStage, node: ClusterNode) -> None:
        """Let it happen."""

    def is_felt(self, stage: ClusterStage, node: ClusterNode, told: str) -> bool:
        """Whether it has lasted long enough to matter. ``told``: all that the K3sCluster and the EdgeNode say now."""
        return True

    def mend(self, stage: ClusterStage, node: ClusterNode) -> None:
        """Let it be over."""

    def prove(self, stage: ClusterStage, server: ClusterNode) -> None:
        """Assert that it happened to a server that was struck during its bring-up, where nothing else shows that."""


class Kill(Fault):
    """``kill -9`` of K3s and of the node's daemon, which somebody starts again."""

    def strike(self, stage: ClusterStage, node: ClusterNode) -> None:
        node.daemon.kill()
        stage.kill_k3s(node)

    def mend(self, stage: ClusterStage, node: ClusterNode) -> None:
        node.start()


class PowerCut(Fault):
    """All that runs on the node is gone at once."""

    def strike(self, stage: ClusterStage, node: ClusterNode) -> None:
        node.cut_power()

    def mend(self, stage: ClusterStage, node: ClusterNode) -> None:
        node.start()


class NetworkCut(Fault):
    """The node reaches nobody and nobody reaches it, until it has asked the controller several times in vain."""

    def __init__(self) -> None:
        self._before = 0

    def strike(self, stage: ClusterStage, node: ClusterNode) -> None:
        self._before = node.count_refusals()
        stage.set_cable(node, is_plugged=False)
        node.cut_controller()

    def is_felt(self, stage: ClusterStage, node: ClusterNode, told: str) -> bool:
        return node.count_refusals() >= self._before + 2 * _TRIES

    def mend(self, stage: ClusterStage, node: ClusterNode) -> None:
        stage.set_cable(node, is_plugged=True)
        node.mend_controller()


class ControllerAway(Fault):
    """The controller dies, until each node has asked it several times in vain."""

    is_heard = False

    def __init__(self) -> None:
        self._before: dict[str, int] = {}

    def strike(self, stage: ClusterStage, node: ClusterNode) -> None:
        self._before = {one.name: one.count_refusals() for one in stage.nodes if one.daemon.is_running}
        stage.controller.daemon.kill()

    def is_felt(self, stage: ClusterStage, node: ClusterNode, told: str) -> bool:
        nodes = [one for one in stage.nodes if one.name in self._before]
        return all(one.count_refusals() >= self._before[one.name] + _TRIES for one in nodes if one.daemon.is_running)

    def mend(self, stage: ClusterStage, node: ClusterNode) -> None:
        stage.controller.start()


class DiskFull(Fault):
    """Not a byte is left for the node and its K3s, until somebody is told so or what is done has ended all the same."""

    disk_bytes = 3 << 29

    def strike(self, stage: ClusterStage, node: ClusterNode) -> None:
        node.fill_disk()

    def is_felt(self, stage: ClusterStage, node: ClusterNode, told: str) -> bool:
        return any(words in told for words in ("no space left", "No space left", "StorageFull", "free space"))

    def mend(self, stage: ClusterStage, node: ClusterNode) -> None:
        node.free_disk()


class ClocksAhead(Fault):
    """The clocks of all nodes go months ahead, beyond the end of all certificates, and come back when what is done has ended."""

    outlasts = True
    has_clock = True

    def why_not(self) -> str:
        folder = kubernetes.find_module(kubernetes.module_of(kubernetes.VERSIONS[0]))
        if folder is None or not movable_clock.is_heeded_by(folder / "kube"):
            return "programs that heed a clock of the test's are those of the stand-in, built with a Go that is known"
        return "" if shifted_clock.find_library() else "libfaketime is missing"

    def strike(self, stage: ClusterStage, node: ClusterNode) -> None:
        self._move(stage, AHEAD_S)

    def mend(self, stage: ClusterStage, node: ClusterNode) -> None:
        self._move(stage, 0)

    def prove(self, stage: ClusterStage, server: ClusterNode) -> None:
        """K3s would not have made such certificates by the right time."""
        assert min(list_ends(stage.data(server)).values()) > time.time() + AHEAD_S

    @staticmethod
    def _move(stage: ClusterStage, seconds: int) -> None:
        for one in stage.nodes:
            assert one.clock is not None
            one.clock.move(seconds)


FAULTS: Mapping[str, type[Fault]] = {
    "kill": Kill,
    "power-cut": PowerCut,
    "network-cut": NetworkCut,
    "controller-away": ControllerAway,
    "disk-full": DiskFull,
    "clocks-ahead": ClocksAhead,
}


def tell(stage: ClusterStage, node: ClusterNode, name: str, namespace: str) -> str:
    """All that the cluster and the node say of themselves."""
    said = [stage.find(name, namespace) or {}, stage.controller.operator.get("edgenodes", node.name) or {}]
    return json.dumps([one.get("status") for one in said])
