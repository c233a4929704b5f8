"""Each operation on a K3s cluster under each fault: on real machines, from the bring-up to the end. Whichever K3s is found runs inside."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from eaves.kube.resource import Object
from eaves.testing.cluster_faults import FAULTS, Fault, tell
from eaves.testing.daemons import wait_for
from eaves.testing.k3s import Release
from eaves.testing.k3s_stage import READY_LIMIT_S, ClusterNode, ClusterStage, want_cluster
from eaves.testing.system import ControllerHost

pytestmark = [pytest.mark.xdist_group("k3s"), pytest.mark.timeout(3600), pytest.mark.soak]
NAME = "shop"
FELT_LIMIT_S = 180.0


class Site:
    """A cluster that grows and shrinks, one operation after the other, each hit by the same fault."""

    def __init__(self, stage: ClusterStage, shop: str, fault: Fault) -> None:
        self.stage, self.shop, self.fault = stage, shop, fault
        self.began = time.monotonic()
        self.kept: list[str] = []
        """ConfigMaps that must be there."""

    def add_node(self, name: str = "") -> ClusterNode:
        return self.stage.add_node(name=name, disk_bytes=self.fault.disk_bytes, has_clock=self.fault.has_clock)

    def edit(self, **spec: object) -> None:
        self.stage.controller.operator.patch("k3sclusters", NAME, {"spec": spec}, self.shop)

    def members(self) -> dict[str, Object]:
        found = self.stage.find(NAME, self.shop) or {}
        return {member["nodeName"]: member for member in found.get("status", {}).get("members", [])}

    def member(self, node: ClusterNode) -> Object:
        """Empty when it is none."""
        return self.members().get(node.name, {})

    def done(self, order: str) -> int:
        """How often the whole cluster obeyed an order."""
        status: Object = self.stage.get(NAME, self.shop)["status"]
        return int(status.get("done", {}).get(order, 0))

    def run(
        self,
        what: str,
        begin: Callable[[], None],
        under_way: Callable[[], object],
        is_done: Callable[[], object],
        struck: ClusterNode | Callable[[], ClusterNode],
    ) -> None:
        """Begin it, let the fault happen when it is under way, and see it done."""
        self.say(what)
        begin()
        explain = self.explain
        wait_for(f"{what} to begin", lambda: under_way() or is_done(), READY_LIMIT_S, explain)
        node = struck if isinstance(struck, ClusterNode) else struck()
        self.fault.strike(self.stage, node)
        self.say(f"{what}: struck")
        if self.fault.outlasts:
            wait_for(f"{what} meanwhile", is_done, READY_LIMIT_S, explain)
        else:
            wait_for(f"the fault to be felt: {what}", lambda: self._is_felt(node, is_done), FELT_LIMIT_S, explain)
        self.say(f"{what}: mends")
        self.fault.mend(self.stage, node)
        wait_for(what, is_done, READY_LIMIT_S, explain)

    def settle(self, servers: Sequence[ClusterNode], agents: Sequence[ClusterNode] = ()) -> None:
        """Wait until the cluster is Ready with these members and nobody else, with all that was written to it; write more."""
        stage, names = self.stage, sorted(node.name for node in (*servers, *agents))
        stage.wait_phase(NAME, self.shop, "Ready")
        assert sorted(self.members()) == names
        for server in servers:
            seen = functools.partial(self._sees, server, names)
            wait_for(f"{server.name} to see all", seen, READY_LIMIT_S, self.explain)
            assert stage.count_etcd(server) == len(servers)
        assert set(self.kept) <= set(stage.list_config_maps(servers[-1]))
        self.kept.append(f"kept-{len(self.kept)}")
        stage.write_config_map(servers[0], self.kept[-1])
        self.say("settled")

    def _sees(self, server: ClusterNode, names: Sequence[str]) -> bool:
        return self.stage.list_ready(server) == names

    def explain(self) -> str:
        if not self.stage.controller.daemon.is_running:
            return "the controller is away"
        told = [tell(self.stage, node, NAME, self.shop) for node in self.stage.nodes[:1]]
        return "\n".join([*told, *(node.explain() for node in self.stage.nodes)])

    def say(self, what: str) -> None:
        print(f"{time.monotonic() - self.began:.0f} s: {what}", flush=True)

    def _is_felt(self, node: ClusterNode, is_done: Callable[[], object]) -> bool:
        if not self.fault.is_heard:
            return self.fault.is_felt(self.stage, node, "")
        return self.fault.is_felt(self.stage, node, tell(self.stage, node, NAME, self.shop)) or bool(is_done())


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest) -> Fault:
    found = FAULTS[request.param]()
    if found.why_not():
        pytest.skip(found.why_not())
    return found


@pytest.fixture
def site(folder: Path, own_controller: ControllerHost, releases: list[Release], fault: Fault) -> Iterator[Site]:
    own_controller.start()
    with ClusterStage(folder, own_controller, releases) as stage:
        own_controller.operator.create("namespaces", {"metadata": {"name": "shop"}})
        stage.want_releases("shop")
        yield Site(stage, "shop", fault)


def test_every_operation_ends_well_in_spite_of(site: Site, releases: list[Release]) -> None:
    new, old = (*releases, *releases)[:2]
    a, d = site.add_node(), site.add_node()
    _bring_up(site, old, a, d)
    _obey_orders(site, a, d)
    b, c = site.add_node(), site.add_node()
    _add_servers(site, a, b, c, d)
    if new.version != old.version:
        _upgrade(site, new, [a, b, c, d])
        site.settle([a, b, c], [d])
    box = _replace(site, b, c)
    site.settle([a, box, c], [d])
    _shrink(site, a, box, c, d)
    assert [site.stage.list_traces(node) for node in (a, box, c, d)] == [[]] * 4


def _bring_up(site: Site, release: Release, server: ClusterNode, agent: ClusterNode) -> None:
    spec: Object = {"backup": {"keep": 3}, "upgrade": {"healthTimeout": "60s"}}
    site.run(
        "bring-up",
        lambda: site.stage.apply(want_cluster(NAME, release.version, [server], **spec), site.shop),
        # A cluster whose authority is made by a clock that is ahead is of no use when that has come back.
        lambda: site.stage.read(server, "server/tls/server-ca.crt"),
        lambda: site.member(server).get("ready"),
        server,
    )
    site.settle([server])
    site.fault.prove(site.stage, server)
    site.run(
        "add an agent",
        lambda: site.edit(agents={"nodeNames": [agent.name]}),
        lambda: site.member(agent).get("state") == "Starting",
        lambda: site.member(agent).get("ready"),
        agent,
    )
    site.settle([server], [agent])


def _obey_orders(site: Site, server: ClusterNode, agent: ClusterNode) -> None:
    """Snapshot, restore, certificates and token."""
    counters: dict[str, object] = {}

    def order(name: str, value: object = 1) -> None:
        counters[name] = value
        site.edit(operations=counters)

    def is_ordered(name: str) -> bool:
        return int(site.member(server).get("ordered", {}).get(name, 0)) == 1

    def obey(name: str, value: object = 1) -> None:
        def is_done() -> bool:
            return site.done(name) == 1

        site.run(name, lambda: order(name, value), lambda: is_ordered(name), is_done, server)

    obey("snapshot")
    snapshots = wait_for(
        "the snapshot to be told",
        lambda: site.stage.get(NAME, site.shop)["status"].get("snapshots"),
        READY_LIMIT_S,
        site.explain,
    )
    assert len(snapshots) == 1
    site.stage.write_config_map(server, "after-the-snapshot")
    obey("restore", {"snapshot": snapshots[0]["name"], "counter": 1})
    site.settle([server], [agent])
    assert "after-the-snapshot" not in site.stage.list_config_maps(server)

    certificate = site.stage.read(server, "server/tls/client-admin.crt")
    obey("rotateCertificates")
    site.settle([server], [agent])
    assert site.stage.read(server, "server/tls/client-admin.crt") != certificate
    token = site.stage.read(server, "server/token")
    obey("rotateToken")
    site.settle([server], [agent])
    assert site.stage.read(server, "server/token") != token


def _add_servers(site: Site, first: ClusterNode, second: ClusterNode, third: ClusterNode, agent: ClusterNode) -> None:
    site.run(
        "add servers",
        lambda: site.edit(servers={"nodeNames": [first.name, second.name, third.name]}),
        lambda: site.member(second).get("state") == "Starting",
        lambda: site.member(second).get("ready") and site.member(third).get("ready"),
        second,
    )
    site.settle([first, second, third], [agent])


def _upgrade(site: Site, release: Release, nodes: Sequence[ClusterNode]) -> None:
    by_name = {node.name: node for node in nodes}

    def is_told() -> ClusterNode | None:
        """The first one that is to run the new version."""
        members = site.members().values()
        return next((by_name[m["nodeName"]] for m in members if m["version"] == release.version), None)

    def is_upgraded() -> bool:
        return {member.get("runningVersion") for member in site.members().values()} == {release.version}

    site.run("upgrade", lambda: site.edit(version=release.version), is_told, is_upgraded, lambda: is_told() or nodes[0])


def _replace(site: Site, dead: ClusterNode, other: ClusterNode) -> ClusterNode:
    """The box of a server dies for good, and another one registers under its name, while the fault hits ``other``."""
    former = site.member(dead)["id"]

    def begin() -> None:
        dead.cut_power()
        site.stage.controller.operator.delete("edgenodes", dead.name)
        site.add_node(name=dead.name)

    def is_entered() -> bool:
        return site.member(dead).get("id") not in (None, former)

    site.run("replace a server", begin, is_entered, lambda: is_entered() and site.member(dead).get("ready"), other)
    return site.stage.nodes[-1]


def _shrink(site: Site, first: ClusterNode, second: ClusterNode, third: ClusterNode, agent: ClusterNode) -> None:
    """Until nothing is left."""
    site.run(
        "remove a server",
        lambda: site.edit(servers={"nodeNames": [first.name, second.name]}),
        lambda: site.member(third).get("want") != "Ready",
        lambda: not site.member(third) and site.stage.list_traces(third) == [],
        third,
    )
    site.settle([first, second], [agent])
    site.run(
        "remove an agent",
        lambda: site.edit(agents={"nodeNames": []}),
        lambda: site.member(agent).get("want") != "Ready",
        lambda: not site.member(agent) and site.stage.list_traces(agent) == [],
        agent,
    )
    site.settle([first, second])
    site.run(
        "delete",
        lambda: site.stage.controller.operator.delete("k3sclusters", NAME, site.shop),
        lambda: site.member(first).get("want") != "Ready",
        lambda: site.stage.find(NAME, site.shop) is None,
        first,
    )
