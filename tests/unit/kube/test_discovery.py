"""Discovery documents say the same in the old and in the aggregated form."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from eaves.kinds.registry import RESOURCES
from eaves.kube import discovery
from eaves.kube.resource import Gvr, Object, Resource, Subresource, Verb


def one(items: list[Any], key: str, value: str) -> Any:
    (found,) = [item for item in items if item[key] == value]
    return found


def test_core_versions_name_the_address_of_the_server() -> None:
    document = discovery.render_api_versions("10.0.0.1:6443")
    assert document["versions"] == ["v1"]
    assert document["serverAddressByClientCIDRs"] == [{"clientCIDR": "0.0.0.0/0", "serverAddress": "10.0.0.1:6443"}]


def test_groups_leave_out_core_and_prefer_a_served_version() -> None:
    groups = discovery.render_groups(RESOURCES)["groups"]
    assert {group["name"] for group in groups} == {
        "eaves.dev",
        "coordination.k8s.io",
        "metrics.k8s.io",
        "rbac.authorization.k8s.io",
    }
    eaves = one(groups, "name", "eaves.dev")
    assert eaves["preferredVersion"] == {"groupVersion": "eaves.dev/v1alpha1", "version": "v1alpha1"}


def test_one_group_is_served_by_name_and_others_are_not() -> None:
    group = discovery.render_group(RESOURCES, "eaves.dev")
    assert group is not None
    assert (group["kind"], group["name"]) == ("APIGroup", "eaves.dev")
    assert discovery.render_group(RESOURCES, "apps") is None
    assert discovery.render_group(RESOURCES, "") is None


def test_list_of_a_version_has_subresources_after_their_resource() -> None:
    document = discovery.render_resources(RESOURCES, "", "v1")
    assert document is not None
    assert document["groupVersion"] == "v1"
    names = [item["name"] for item in document["resources"]]
    assert names == sorted(names)
    assert {"pods", "pods/log", "namespaces/finalize", "secrets"} <= set(names)
    pods = one(document["resources"], "name", "pods")
    assert pods["shortNames"] == ["po"]
    assert pods["categories"] == ["all"]
    assert "update" not in pods["verbs"]


def test_unknown_version_is_not_served() -> None:
    assert discovery.render_resources(RESOURCES, "eaves.dev", "v1") is None


def test_subresource_of_another_group_says_so() -> None:
    eviction = Subresource("eviction", frozenset({"create"}), "Eviction", "policy", "v1")
    pods = msgspec.structs.replace(one_resource("pods"), subresources=(eviction,))
    listed = discovery.render_resources([pods], "", "v1")
    assert listed is not None
    item = one(listed["resources"], "name", "pods/eviction")
    assert (item["group"], item["version"], item["kind"]) == ("policy", "v1", "Eviction")
    served = discovery.render_aggregated([pods], core=True)["items"][0]["versions"][0]["resources"][0]
    assert served["subresources"][0]["responseKind"] == {"group": "policy", "version": "v1", "kind": "Eviction"}


@pytest.mark.parametrize("version", discovery.AGGREGATED_VERSIONS)
def test_aggregated_discovery_says_what_the_lists_say(version: str) -> None:
    for is_core in (True, False):
        document = discovery.render_aggregated(RESOURCES, core=is_core, version=version)
        assert document["apiVersion"] == f"apidiscovery.k8s.io/{version}"
        for item in document["items"]:
            group = item["metadata"].get("name", "")
            assert bool(group) is not is_core
            for served in item["versions"]:
                listed = discovery.render_resources(RESOURCES, group, served["version"])
                assert listed is not None
                assert flatten(served["resources"]) == {i["name"]: i["verbs"] for i in listed["resources"]}


def flatten(resources: list[Object]) -> dict[str, list[str]]:
    found = {}
    for resource in resources:
        found[resource["resource"]] = resource["verbs"]
        for sub in resource.get("subresources", ()):
            found[f"{resource['resource']}/{sub['subresource']}"] = sub["verbs"]
    return found


def test_scope_is_named() -> None:
    document = discovery.render_aggregated(RESOURCES, core=False)
    (item,) = [item for item in document["items"] if item["metadata"]["name"] == "eaves.dev"]
    resources = item["versions"][0]["resources"]
    scopes = {resource["resource"]: resource["scope"] for resource in resources}
    assert scopes["apps"] == "Namespaced"
    assert scopes["edgenodes"] == "Cluster"


def test_resource_that_is_only_created_is_listed_with_that_verb() -> None:
    review = msgspec.structs.replace(
        one_resource("secrets"),
        gvr=Gvr("authentication.k8s.io", "v1", "selfsubjectreviews"),
        kind="SelfSubjectReview",
        verbs=frozenset({Verb.CREATE}),
    )
    listed = discovery.render_resources([review], "authentication.k8s.io", "v1")
    assert listed is not None
    assert listed["resources"][0]["verbs"] == ["create"]


def test_etag_follows_content() -> None:
    assert discovery.make_etag(b"a") == discovery.make_etag(b"a") != discovery.make_etag(b"b")
    assert discovery.make_etag(b"a").startswith('"')


def one_resource(plural: str) -> Resource:
    (found,) = [resource for resource in RESOURCES if resource.gvr == Gvr("", "v1", plural)]
    return found
