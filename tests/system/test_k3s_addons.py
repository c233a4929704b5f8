"""A chart in a K3sCluster's spec, as who applied it sees it come, fail and go."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from eaves.kube.resource import Object
from eaves.testing.chart_registry import ChartRegistry, find_helm, find_helm_images
from eaves.testing.daemons import run_program, wait_for
from eaves.testing.k3s import NoK3sError, Release
from eaves.testing.k3s_stage import READY_LIMIT_S, ClusterNode, ClusterStage, want_cluster
from eaves.testing.system import ControllerHost

pytestmark = [pytest.mark.xdist_group("k3s"), pytest.mark.timeout(2400), pytest.mark.soak]


@pytest.fixture
def stage(folder: Path, controller: ControllerHost, releases: list[Release]) -> Iterator[ClusterStage]:
    with ClusterStage(folder, controller, releases[:1]) as found:
        yield found


@pytest.fixture
def shop(controller: ControllerHost, stage: ClusterStage, releases: list[Release]) -> Iterator[str]:
    """A namespace with the release, and what its Helm controller needs."""
    try:
        bundles = find_helm_images(releases[0])
    except NoK3sError as error:
        pytest.skip(str(error))
    name = f"shop-{secrets.token_hex(3)}"
    controller.operator.create("namespaces", {"metadata": {"name": name}})
    stage.want_releases(name, bundles)
    yield name
    with contextlib.suppress(Exception):
        controller.operator.delete("namespaces", name)


def test_a_chart_comes_changes_fails_with_its_reason_and_goes(
    stage: ClusterStage, shop: str, releases: list[Release]
) -> None:
    node = stage.add_node()
    charts = ChartRegistry(node.machine)
    folders = [charts.push(version) for version in ("1.0.0", "1.1.0")]

    def want(version: str, **values: object) -> list[Object]:
        helm = {"chart": charts.chart, "version": version, "plainHTTP": True, "targetNamespace": "shop"}
        return [{"name": "shop", "helm": {**helm, "values": values}}]

    stage.apply(want_cluster("till", releases[0].version, [node], addOns=want("1.0.0", greeting="hello")), shop)
    wait_condition(stage, shop, node, "True", "AllReady")
    assert read_greeting(stage, node) == {"greeting": "hello", "version": "1.0.0"}
    kubectl = stage.controller.kubectl
    assert " 1/1 " in kubectl.ok("get", "k3sclusters", "till", "-n", shop, "-o", "wide").out

    work_with_helm(stage, shop, node, folders)
    edit(stage, shop, want("1.1.0", greeting="again"))
    wait_for(
        "the upgrade",
        lambda: read_greeting(stage, node) == {"greeting": "again", "version": "1.1.0"},
        READY_LIMIT_S,
        node.explain,
    )
    wait_condition(stage, shop, node, "True", "AllReady")

    edit(stage, shop, want("9.9.9"))
    assert "9.9.9" in wait_condition(stage, shop, node, "False", "AddOnFailed")
    described = kubectl.ok("describe", "k3scluster", "till", "-n", shop).out
    assert "AddOnFailed" in described
    # The cluster is well, and so is what ran before.
    assert stage.get("till", shop)["status"]["phase"] == "Ready"
    assert read_greeting(stage, node)["version"] == "1.1.0"

    edit(stage, shop, [])
    wait_condition(stage, shop, node, "True", "NoAddOns")
    assert stage.ask(node, "/api/v1/namespaces/shop/configmaps/greeting") == ""
    assert "AddOnRemoved" in kubectl.ok("describe", "k3scluster", "till", "-n", shop).out


def work_with_helm(stage: ClusterStage, shop: str, node: ClusterNode, folders: Sequence[Path]) -> None:
    """An engineer far away, by way of the controller: sees the add-on's release, and keeps one of his own with stock Helm."""
    controller = stage.controller
    context = f"till-{shop}"
    controller.eaves_kubectl("kubeconfig", "till", "-n", shop, "--name", context)
    ready = ("get", "--raw", "/readyz", "--context", context)
    wait_for("the way there", lambda: controller.kubectl.run(*ready).code == 0, 120, node.explain)
    environment = {"KUBECONFIG": str(controller.kubeconfig), "HOME": str(controller.folder)}

    def helm(*arguments: str) -> str:
        return run_program([find_helm(), *arguments, "--kube-context", context], environment=environment)

    assert [(one["name"], one["status"]) for one in json.loads(helm("list", "-n", "shop", "-o", "json"))] == [
        ("shop", "deployed")
    ]
    own = ("own", "-n", "own")
    values = ("--set", "replicas=1", "--set", "greeting=mine", "--wait", "--timeout", "5m")
    helm("install", *own, str(folders[0]), "--create-namespace", *values)
    helm("upgrade", *own, str(folders[1]), *values)
    assert [one["chart"] for one in json.loads(helm("history", *own, "-o", "json"))] == ["shop-1.0.0", "shop-1.1.0"]
    helm("rollback", *own, "1", "--wait", "--timeout", "5m")
    greeting = json.loads(stage.ask(node, "/api/v1/namespaces/own/configmaps/greeting"))["data"]
    assert greeting == {"greeting": "mine", "version": "1.0.0"}
    helm("uninstall", *own, "--wait")
    assert stage.ask(node, "/api/v1/namespaces/own/configmaps/greeting") == ""


def edit(stage: ClusterStage, shop: str, add_ons: list[Object]) -> None:
    stage.controller.operator.patch("k3sclusters", "till", {"spec": {"addOns": add_ons}}, shop)


def wait_condition(stage: ClusterStage, shop: str, node: ClusterNode, status: str, reason: str) -> str:
    """Until AddOnsReady is so, as of the present spec; answers its message."""

    def find() -> str:
        found = stage.get("till", shop)
        told = found.get("status") or {}
        if told.get("observedGeneration") != found["metadata"]["generation"]:
            return ""
        conditions = {entry["type"]: entry for entry in told.get("conditions", [])}
        condition = conditions.get("AddOnsReady", {})
        return (
            str(condition["message"]) if (condition.get("status"), condition.get("reason")) == (status, reason) else ""
        )

    return str(wait_for(f"AddOnsReady to be {status} by {reason}", find, READY_LIMIT_S, node.explain))


def read_greeting(stage: ClusterStage, node: ClusterNode) -> dict[str, str]:
    found: dict[str, str] = json.loads(stage.ask(node, "/api/v1/namespaces/shop/configmaps/greeting") or "{}").get(
        "data", {}
    )
    return found
