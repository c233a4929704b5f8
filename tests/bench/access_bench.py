"""What access rules cost: decisions of the index, and the way to a cluster's API through the controller against direct access to it."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import statistics
import time
from collections.abc import Callable, Sequence

import yaml

from eaves.controller.access.defaults import default_roles
from eaves.controller.access.index import AccessIndex, Verdict
from eaves.controller.access.wanting import plan_access
from eaves.kinds import rbac as kinds
from eaves.kube.rbac import GROUP, Action
from eaves.testing.k3s_stage import ClusterNode, ClusterStage, want_cluster
from eaves.testing.namespaces import Namespace
from tests.bench.k3s_bench import open_stage
from tests.bench.results import Result, median_result

RUNS = 5
DECISIONS = 20_000
BATCH = 100
BINDINGS = 10_000
REQUESTS = 200
OBJECTS = 1000
LISTS = 10
PATH = "/api/v1/namespaces/default/configmaps"


def bench_decisions() -> Sequence[Result]:
    """Microseconds a decision with 10,000 bindings: seen before, and of a user and an object that are new."""
    index = AccessIndex()
    for obj in plan_access([]):
        resource = kinds.CLUSTER_ROLE if obj["kind"] == "ClusterRole" else kinds.CLUSTER_ROLE_BINDING
        index.put(resource.store_name, obj)
    reference = {"apiGroup": GROUP, "kind": "ClusterRole", "name": "admin"}
    for number in range(BINDINGS):
        subjects = [{"kind": "User", "name": f"user-{number}", "apiGroup": GROUP}]
        meta = {"name": "own", "namespace": f"space-{number}"}
        index.put(kinds.ROLE_BINDING.store_name, {"metadata": meta, "roleRef": reference, "subjects": subjects})
    groups = ("staff", "system:authenticated")
    known = Action("get", "eaves.dev", "apps", namespace="space-7", name="web")

    def decide_new(number: int) -> Verdict:
        place = number % BINDINGS
        action = Action("get", "eaves.dev", "apps", namespace=f"space-{place}", name=f"a-{number}")
        return index.decide(f"user-{place}", groups, action)

    seen = [_time(lambda _: index.decide("user-7", groups, known)) for _ in range(RUNS)]
    fresh = [_time(decide_new) for _ in range(RUNS)]
    note = f"{BINDINGS} bindings, {len(default_roles())} first roles"
    return [
        median_result("authorise_seen", "µs", "lower", seen, goal=5.0, note=note),
        median_result("authorise_new", "µs", "lower", fresh, goal=100.0, note=note),
    ]


def _time(decide: Callable[[int], Verdict]) -> float:
    """The best of many short batches: what else runs on the machine interrupts some of them, and not all."""
    took = []
    for first in range(0, DECISIONS, BATCH):
        started = time.perf_counter()
        for number in range(first, first + BATCH):
            assert decide(number).allowed
        took.append((time.perf_counter() - started) / BATCH * 1e6)
    return min(took)


def bench_proxy() -> Sequence[Result]:
    """A get and a list of 1,000 objects of a real API server, by one kept connection each way, in turns."""
    with open_stage() as (stage, shop):
        node = stage.add_node()
        version = stage.releases[0].version
        stage.apply(want_cluster("far", version, [node]), shop)
        stage.wait_phase("far", shop, "Ready")
        through, direct = _connect_through(stage, shop), _connect_directly(node)
        for number in range(OBJECTS):
            body = json.dumps({"metadata": {"name": f"c-{number}"}, "data": {"text": "x" * 500}})
            direct("POST", PATH, body)
        took: dict[str, list[float]] = {"get": [], "get direct": [], "list": [], "list direct": []}
        for _ in range(RUNS):
            for suffix, ask in (("", through), (" direct", direct)):
                took[f"get{suffix}"].append(_median_ms(ask, f"{PATH}/c-7", REQUESTS))
                took[f"list{suffix}"].append(_median_ms(ask, PATH, LISTS))
    note = f"{version}; controller, node and API server on one machine"
    return [
        median_result(
            f"k3s_proxy_{name}", "ms", "lower", took[name], peer="direct", peer_runs=took[f"{name} direct"], note=note
        )
        for name in ("get", "list")
    ]


Ask = Callable[[str, str, str | None], bytes]


def _connect_through(stage: ClusterStage, shop: str) -> Ask:
    config = yaml.safe_load(stage.controller.kubeconfig.read_text())
    authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    connection = http.client.HTTPSConnection("127.0.0.1", stage.controller.api_port, context=context, timeout=60)
    base = f"/apis/eaves.dev/v1alpha1/namespaces/{shop}/k3sclusters/far/proxy"
    headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
    return lambda method, path, body: _ask(connection, method, base + path, body, headers)


def _connect_directly(node: ClusterNode) -> Ask:
    tls = next(node.instance.data_dir.glob("k3s/*/data")) / "server" / "tls"
    context = ssl.create_default_context(cafile=str(tls / "server-ca.crt"))
    context.load_cert_chain(tls / "client-admin.crt", tls / "client-admin.key")
    connection = http.client.HTTPSConnection("127.0.0.1", 6443, context=context, timeout=60)
    with Namespace.at(f"/proc/{node.machine.pid}/ns/net") as inside, inside.entered():
        connection.connect()
    return lambda method, path, body: _ask(connection, method, path, body, {})


def _ask(
    connection: http.client.HTTPSConnection, method: str, path: str, body: str | None, headers: dict[str, str]
) -> bytes:
    sent = {**headers, "Content-Type": "application/json"} if body else headers
    connection.request(method, path, body, sent)
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status in (200, 201), content[:300]
    return content


def _median_ms(ask: Ask, path: str, times: int) -> float:
    took = []
    for _ in range(times):
        started = time.perf_counter()
        ask("GET", path, None)
        took.append((time.perf_counter() - started) * 1000)
    return statistics.median(took)


BENCHMARKS: dict[str, Callable[[], Sequence[Result]]] = {"authorise": bench_decisions, "k3s_proxy": bench_proxy}
