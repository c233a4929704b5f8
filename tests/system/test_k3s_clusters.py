"""K3s clusters from ``kubectl apply`` to their end, on machines of their own, under faults. Whichever K3s is found runs inside."""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import time
from pathlib import Path

import pytest

from eaves.kube.resource import Object
from eaves.testing.daemons import wait_for
from eaves.testing.expired_certificates import let_all_expire, list_ends
from eaves.testing.k3s import Release
from eaves.testing.k3s_stage import READY_LIMIT_S, ClusterNode, ClusterStage, want_cluster

_SPEAK = "while true; do echo up; sleep 1; done"
pytestmark = [pytest.mark.xdist_group("k3s"), pytest.mark.timeout(2400)]


def test_one_server_beside_nothing_else_comes_and_goes(stage: ClusterStage, shop: str, releases: list[Release]) -> None:
    node = stage.add_node()
    stage.apply(want_cluster("till", releases[0].version, [node]), shop)
    stage.wait_phase("till", shop, "Ready")
    cluster = stage.get("till", shop)
    assert cluster["status"]["version"] == releases[0].version
    assert cluster["status"]["firstServer"] == node.name
    wait_for("the API", lambda: stage.ask(node, "/readyz") == "ok", READY_LIMIT_S, node.explain)
    (kube_node,) = wait_for("its Node", lambda: stage.list_kube_nodes(node), READY_LIMIT_S, node.explain)
    assert kube_node["status"]["nodeInfo"]["kubeletVersion"] == releases[0].version

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


@pytest.mark.soak
def test_three_servers_and_an_agent_bear_losses(stage: ClusterStage, shop: str, releases: list[Release]) -> None:
    nodes = [stage.add_node() for _ in range(4)]
    servers, agent = nodes[:3], nodes[3]
    stage.apply(want_cluster("shop", releases[0].version, servers, [agent]), shop)
    stage.wait_phase("shop", shop, "Ready")
    status = stage.get("shop", shop)["status"]
    assert (status["servers"]["ready"], status["agents"]["ready"]) == (3, 1)
    first = next(node for node in servers if node.name == status["firstServer"])
    others = [node for node in servers if node is not first]

    # The first server loses its power for good: no second cluster comes to be, and the others go on.
    first.cut_power()
    wait_for(
        "the API of another server", lambda: stage.ask(others[0], "/readyz") == "ok", READY_LIMIT_S, others[0].explain
    )
    others[0].wait(
        "the loss to be told", lambda: stage.get("shop", shop)["status"]["servers"]["ready"] == 2, READY_LIMIT_S
    )
    assert stage.get("shop", shop)["status"]["firstServer"] == first.name
    first.start()
    stage.wait_phase("shop", shop, "Ready")
    wait_for("the first server to see all", lambda: len(stage.list_ready(first)) == 4, READY_LIMIT_S, first.explain)

    # A cable that is pulled and put back.
    stage.set_cable(agent, is_plugged=False)
    wait_for("the agent to be missed", lambda: len(stage.list_ready(first)) == 3, READY_LIMIT_S, first.explain)
    stage.set_cable(agent, is_plugged=True)
    wait_for("the agent to be back", lambda: len(stage.list_ready(first)) == 4, READY_LIMIT_S, first.explain)

    # A member that is taken out of the spec leaves the cluster, etcd and its machine.
    left = others[1]
    names = [node.name for node in (first, others[0])]
    stage.controller.operator.patch("k3sclusters", "shop", {"spec": {"servers": {"nodeNames": names}}}, shop)
    wait_for("the member to be gone", lambda: len(stage.list_kube_nodes(first)) == 3, READY_LIMIT_S, left.explain)
    wait_for("no trace of it", lambda: stage.list_traces(left) == [], READY_LIMIT_S, left.explain)
    stage.wait_phase("shop", shop, "Ready")


@pytest.mark.soak
def test_another_box_takes_the_place_of_a_dead_server(stage: ClusterStage, shop: str, releases: list[Release]) -> None:
    nodes = [stage.add_node() for _ in range(3)]
    stage.apply(want_cluster("shop", releases[0].version, nodes), shop)
    stage.wait_phase("shop", shop, "Ready")
    name = stage.get("shop", shop)["status"]["firstServer"]
    dead = next(node for node in nodes if node.name == name)
    other = next(node for node in nodes if node is not dead)
    former = _find_member(stage, shop, name)["id"]

    # Nothing of it comes back, and somebody says so; meanwhile another box registers under its name, at another address.
    dead.cut_power()
    stage.controller.operator.delete("edgenodes", name)
    box = stage.add_node(name=name)
    # The controller dies in the middle of the exchange.
    other.wait("the new box to be a member", lambda: _find_member(stage, shop, name).get("id") not in (None, former))
    stage.controller.daemon.kill()
    stage.controller.start()
    stage.wait_phase("shop", shop, "Ready")
    status = stage.get("shop", shop)["status"]
    assert status["servers"]["ready"] == 3
    assert _find_member(stage, shop, name)["address"].partition("/")[0] == box.machine.address
    wait_for("the new box to see all", lambda: len(stage.list_ready(box)) == 3, READY_LIMIT_S, box.explain)
    assert stage.list_ready(other) == sorted(node.name for node in nodes)
    assert stage.count_etcd(other) == 3


def _find_member(stage: ClusterStage, shop: str, name: str) -> Object:
    """Of a cluster ``shop``; empty when there is none of this name."""
    members: list[Object] = stage.get("shop", shop)["status"]["members"]
    return next((member for member in members if member["nodeName"] == name), {})


@pytest.mark.soak
def test_orders_are_obeyed_once_whatever_dies_meanwhile(
    stage: ClusterStage, shop: str, releases: list[Release]
) -> None:
    node = stage.add_node()
    stage.apply(want_cluster("till", releases[0].version, [node], backup={"keep": 3}), shop)
    stage.wait_phase("till", shop, "Ready")
    stage.write_config_map(node, "before")

    _order(stage, shop, {"snapshot": 1})
    _kill(node)
    _wait_done(stage, shop, node, "snapshot")
    snapshots = wait_for(
        "the snapshot to be told",
        lambda: stage.get("till", shop)["status"].get("snapshots"),
        READY_LIMIT_S,
        node.explain,
    )
    assert len(snapshots) == 1

    stage.write_config_map(node, "after")
    _order(stage, shop, {"restore": {"snapshot": snapshots[0]["name"], "counter": 1}})
    _kill(node)
    _wait_done(stage, shop, node, "restore")
    names = stage.list_config_maps(node)
    assert "before" in names
    assert "after" not in names

    certificate = stage.read(node, "server/tls/client-admin.crt")
    _order(stage, shop, {"rotateCertificates": 1})
    _kill(node)
    _wait_done(stage, shop, node, "rotateCertificates")
    assert stage.read(node, "server/tls/client-admin.crt") != certificate

    token = stage.read(node, "server/token")
    _order(stage, shop, {"rotateToken": 1})
    _kill(node)
    _wait_done(stage, shop, node, "rotateToken")
    stage.wait_phase("till", shop, "Ready")
    assert stage.read(node, "server/token") != token
    _grep_nothing(stage, node, [text.strip().rpartition(":")[2] for text in (token, stage.read(node, "server/token"))])

    # Told to keep its data and deleted in one breath: they stay all the same, and nothing else does.
    data = stage.data(node)
    stage.controller.operator.patch("k3sclusters", "till", {"spec": {"deletionPolicy": "KeepData"}}, shop)
    stage.controller.operator.delete("k3sclusters", "till", shop)
    wait_for("the cluster to be gone", lambda: stage.find("till", shop) is None, READY_LIMIT_S, node.explain)
    assert stage.list_traces(node) == [str(data)]
    assert (data / "server" / "db" / "etcd" / "member").is_dir()


@pytest.mark.soak
def test_certificates_that_ended_while_all_was_off_are_renewed_by_the_site_itself(
    stage: ClusterStage, shop: str, releases: list[Release]
) -> None:
    server, agent = nodes = [stage.add_node(), stage.add_node()]
    stage.apply(want_cluster("till", releases[0].version, [server], [agent]), shop)
    stage.wait_phase("till", shop, "Ready")
    for node in nodes:
        node.cut_controller()
        node.cut_power()
    now = time.time()
    data = [stage.data(node) for node in nodes]
    ended = [let_all_expire(folder, data[0]) for folder in data]
    assert len(ended[0]) > len(ended[1]) > 0
    for node in nodes:
        node.start()

    # Both kubelets speak to the API server again, and it to them.
    def is_back(node: ClusterNode) -> bool:
        text = stage.ask(server, f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node.name}")
        renewed = datetime.datetime.fromisoformat(json.loads(text)["spec"]["renewTime"]).timestamp() if text else 0.0
        return renewed > now and stage.ask(server, f"/api/v1/nodes/{node.name}/proxy/healthz") == "ok"

    for node in nodes:
        wait_for(f"{node.name} to be back", functools.partial(is_back, node), READY_LIMIT_S, node.explain)
    for folder in data:
        assert min(list_ends(folder).values()) > now + 300 * 86400
    for node in nodes:
        node.mend_controller()
    stage.wait_phase("till", shop, "Ready")
    told = stage.get("till", shop)["status"]["certificatesExpireAt"]
    assert datetime.datetime.fromisoformat(told).timestamp() > now + 300 * 86400


@pytest.mark.soak
def test_an_upgrade_moves_one_node_after_another(stage: ClusterStage, shop: str, releases: list[Release]) -> None:
    if len(releases) < 2:
        pytest.skip("one version of K3s alone: set EAVES_K3S_BINARY=NEW:OLD, or run tools/build_kubernetes.py")
    new, old = releases[:2]
    server, agent = stage.add_node(), stage.add_node()
    stage.apply(want_cluster("till", old.version, [server], [agent], upgrade={"healthTimeout": "30s"}), shop)
    stage.wait_phase("till", shop, "Ready")
    stage.write_config_map(server, "of-the-old")
    # While the new version cannot be had, nobody is touched for it, and the condition says what it waits for.
    stage.files.manners.status = 503
    stage.controller.operator.patch("k3sclusters", "till", {"spec": {"version": new.version}}, shop)
    server.wait("the reason", lambda: "503" in _condition(stage, shop, "Upgrading", "Fetching"), READY_LIMIT_S)
    assert not any(entry.get("spec", {}).get("unschedulable") for entry in stage.list_kube_nodes(server))
    assert {member["version"] for member in stage.get("till", shop)["status"]["members"]} == {old.version}
    stage.files.manners.status = 0
    # The daemon of the server dies as soon as it has begun.
    server.wait("the upgrade to begin", lambda: _condition(stage, shop, "Upgrading", "Fetching") == "", READY_LIMIT_S)
    _kill(server)

    # The agent is cut off from everybody as soon as it is told to change: the upgrade stands still with the reason, and goes on after.
    def is_agent_told() -> bool:
        members = {member["nodeName"]: member for member in stage.get("till", shop)["status"]["members"]}
        return bool(members[agent.name]["version"] == new.version)

    server.wait("the agent's turn", is_agent_told, READY_LIMIT_S)
    stage.set_cable(agent, is_plugged=False)
    agent.cut_controller()
    server.wait("the reason", lambda: agent.name in _condition(stage, shop, "Degraded", "HealthTimeout"), READY_LIMIT_S)
    stage.set_cable(agent, is_plugged=True)
    agent.mend_controller()

    def is_upgraded() -> bool:
        versions = {
            n["metadata"]["name"]: n["status"]["nodeInfo"]["kubeletVersion"] for n in stage.list_kube_nodes(server)
        }
        # At no time is an agent newer than its server.
        assert (versions.get(server.name), versions.get(agent.name)) != (old.version, new.version)
        return sorted(versions.values()) == [new.version] * 2

    wait_for("both to be upgraded", is_upgraded, 2 * READY_LIMIT_S, lambda: server.explain() + agent.explain())
    stage.wait_phase("till", shop, "Ready")
    assert stage.get("till", shop)["status"]["version"] == new.version
    assert "of-the-old" in stage.list_config_maps(server)


def _condition(stage: ClusterStage, shop: str, kind: str, reason: str) -> str:
    """The message of a condition that has this reason; else empty."""
    conditions = stage.get("till", shop)["status"]["conditions"]
    return next((str(c["message"]) for c in conditions if (c["type"], c["reason"]) == (kind, reason)), "")


def _order(stage: ClusterStage, shop: str, operations: Object) -> None:
    stage.controller.operator.patch("k3sclusters", "till", {"spec": {"operations": operations}}, shop)


def _kill(node: ClusterNode) -> None:
    """As soon as the order has reached it, or a little later: wherever it is then, it must go on from there."""
    node.daemon.kill()
    node.start()


def _wait_done(stage: ClusterStage, shop: str, node: ClusterNode, order: str) -> None:
    def is_done() -> bool:
        members = stage.get("till", shop)["status"]["members"]
        return bool(members[0].get("done", {}).get(order, 0) == 1 and members[0].get("ready"))

    wait_for(f"the order {order}", is_done, READY_LIMIT_S, node.explain)


def _grep_nothing(stage: ClusterStage, node: ClusterNode, words: list[str]) -> None:
    """No credential of the cluster is in clear in what the controller keeps, nor in any log or argument."""
    key = stage.read(node, "server/tls/client-admin.key").splitlines()[1]
    files = [path for path in stage.controller.folder.rglob("*") if path.is_file()]
    files += [node.daemon.log, *Path("/proc").glob("[0-9]*/cmdline")]
    for path in files:
        with contextlib.suppress(OSError):
            content = path.read_bytes()
            assert not [word for word in (*words, key) if word.encode() in content], path
