"""What access rules cost: decisions of the index that is kept in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from eaves.controller.access.defaults import default_roles
from eaves.controller.access.index import AccessIndex, Verdict
from eaves.controller.access.wanting import plan_access
from eaves.kinds import rbac as kinds
from eaves.kube.rbac import GROUP, Action
from tests.bench.results import Result, median_result

RUNS = 5
DECISIONS = 20_000
BATCH = 100
BINDINGS = 10_000


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


BENCHMARKS: dict[str, Callable[[], Sequence[Result]]] = {"authorise": bench_decisions}
