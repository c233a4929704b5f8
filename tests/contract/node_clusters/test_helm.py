"""Add-ons that are Helm charts, from a registry: installed, changed, failed, removed, by a real Helm controller and a real Helm."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from eaves.controller.compile.clusteraddons import want_add_on
from eaves.kinds.k3scluster_spec import AddOn
from eaves.node.observed_cluster import AddOnState, ClusterState
from eaves.testing.chart_registry import ChartRegistry, find_helm_images
from eaves.testing.cluster_member import ClusterMember
from eaves.testing.k3s import NoK3sError, Release
from eaves.wire.pb.eaves import cluster_pb2

from .conftest import MakeMember
from .test_membership import as_member

pytestmark = [pytest.mark.contract, pytest.mark.soak]

LIMIT_S = 300.0


@pytest.fixture
def bundles(releases: list[Release]) -> list[Path]:
    """Images for the Helm controller's jobs, which an official K3s has among its own."""
    try:
        return find_helm_images(releases[0])
    except NoK3sError as error:
        pytest.skip(str(error))


class Site:
    """A server with a registry beside it on the same machine, and its add-ons."""

    def __init__(self, node: ClusterMember, bundles: list[Path]) -> None:
        self.node = node
        self._bundles = bundles
        self.registry = ChartRegistry(node.machine)

    def chart(self, version: str, **values: object) -> cluster_pb2.ClusterAddOn:
        """As the controller makes it of a K3sCluster's spec."""
        helm = {
            "chart": self.registry.chart,
            "plainHTTP": True,
            "version": version,
            "targetNamespace": "shop",
            "values": values,
        }
        return want_add_on(msgspec.convert({"name": "shop", "helm": helm}, AddOn))

    def tell(self, *add_ons: cluster_pb2.ClusterAddOn) -> None:
        members = [as_member(self.node)]
        self.node.tell(is_leader=True, members=members, add_ons=add_ons, bundles=self._bundles)

    def wait(self, state: AddOnState, add_on: cluster_pb2.ClusterAddOn) -> str:
        """Until the add-on is told to be so, in this form of it; answers what is told with it."""
        told: list[str] = []

        def check() -> bool:
            status = self.node.status()
            found = [one for one in (status.add_ons if status else ()) if one.name == add_on.name]
            if not found or (found[0].state, found[0].digest) != (state, add_on.digest):
                return False
            told.append(found[0].message)
            return True

        self.node.daemon.wait(f"{add_on.name} to be {state} ({self.node.describe})", check, LIMIT_S)
        return told[-1]

    def greeting(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.node.get("configmap", "greeting", "-n", "shop", "-o", "json"))["data"]
        return found


def test_a_chart_is_installed_changed_and_removed_and_its_failure_has_a_reason(
    make_member: MakeMember, bundles: list[Path]
) -> None:
    site = Site(make_member(), bundles)
    node = site.node
    for version in ("1.0.0", "1.1.0"):
        site.registry.push(version)
    first = site.chart("1.0.0", greeting="hello")
    site.tell(first)
    node.start()
    node.wait_state(ClusterState.READY)
    site.wait(AddOnState.READY, first)
    assert site.greeting() == {"greeting": "hello", "version": "1.0.0"}
    assert "1/1" in node.get("deployment", "web", "-n", "shop")

    # Another version with other values.
    second = site.chart("1.1.0", greeting="again", replicas=2)
    site.tell(second)
    site.wait(AddOnState.READY, second)
    assert site.greeting() == {"greeting": "again", "version": "1.1.0"}
    assert "2/2" in node.get("deployment", "web", "-n", "shop")

    # What K3s documents for charts of others: a HelmChartConfig, here an add-on of its own.
    text = json.dumps(
        {
            "apiVersion": "helm.cattle.io/v1",
            "kind": "HelmChartConfig",
            "metadata": {"name": "shop", "namespace": "kube-system"},
            "spec": {"valuesContent": "greeting: tuned\n"},
        }
    )
    config = cluster_pb2.ClusterAddOn(name="tuning", manifest=text, digest=hashlib.sha256(text.encode()).hexdigest())
    site.tell(second, config)
    node.daemon.wait("the tuned value", lambda: site.greeting()["greeting"] == "tuned", LIMIT_S)

    # A version that is not there: the reason is told, and what runs goes on.
    third = site.chart("9.9.9")
    site.tell(third, config)
    assert "9.9.9" in site.wait(AddOnState.FAILED, third)
    assert "2/2" in node.get("deployment", "web", "-n", "shop")
    site.tell(second, config)
    site.wait(AddOnState.READY, second)

    # It goes with the spec, and everything that it made.
    site.tell(cluster_pb2.ClusterAddOn(name=second.name), config)
    node.daemon.wait(
        "the chart to be gone", lambda: "shop" not in node.get("helmcharts", "-n", "kube-system", "-o", "name"), LIMIT_S
    )
    assert node.get("deployments,configmaps,secrets", "-n", "shop", "-o", "name").split() == [
        "configmap/kube-root-ca.crt"
    ]
