"""Rules of the kinds of K3s clusters: what is refused, with which path, and what is warned of."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from eaves.kinds import k3scluster, k3sclusteraccess, k3srelease
from eaves.kinds.durations import parse_duration_s
from eaves.kinds.k3s_options import MANAGED, OPTIONS
from eaves.kube import schema
from eaves.kube.errors import FieldError
from eaves.kube.resource import Object, Resource

ISSUE: Object = {
    "apiVersion": "eaves.dev/v1alpha1",
    "kind": "K3sCluster",
    "metadata": {"name": "shop-17", "namespace": "default"},
    "spec": {
        "version": "v1.34.2+k3s1",
        "servers": {"nodeNames": ["shop-17-a", "shop-17-b", "shop-17-c"]},
        "agents": {"selector": {"matchLabels": {"site": "shop-17", "role": "worker"}}},
        "apiAddress": "10.17.0.10",
        "datastore": "EmbeddedEtcd",
        "disable": ["traefik"],
        "config": {"node-label": ["tier=edge"]},
        "addOns": [
            {"name": "metrics", "manifest": "apiVersion: v1\nkind: Namespace\nmetadata: {name: metrics}\n"},
            {"name": "shop", "helm": {"chart": "oci://registry.example/shop", "values": {"tier": {"replicas": 2}}}},
        ],
        "upgrade": {"drain": True, "maxUnavailable": 1, "healthTimeout": "10m"},
        "backup": {"schedule": "0 2 * * *", "keep": 7, "datastoreRef": {"name": "backups"}},
    },
}


def change(obj: Object, path: str, value: Any) -> Object:
    """A copy with one field set, or taken out when the value is None."""
    new = copy.deepcopy(obj)
    *parents, last = path.split(".")
    inner = new
    for key in parents:
        inner = inner.setdefault(key, {})
    if value is None:
        inner.pop(last, None)
    else:
        inner[last] = value
    return new


def find_faults(resource: Resource, obj: Object, old: Object | None = None) -> list[FieldError]:
    new = copy.deepcopy(obj)
    schema.apply_defaults(resource.schema, new)
    assert list(schema.find_unknown(resource.schema, new)) == []
    return [*schema.validate_schema(resource.schema, new)] or list(resource.validate(new, old))


def test_the_cluster_of_the_documentation_is_good() -> None:
    assert find_faults(k3scluster.RESOURCE, ISSUE) == []
    assert list(k3scluster.RESOURCE.warn(ISSUE)) == []


@pytest.mark.parametrize(
    ("field", "value", "path", "words"),
    [
        ("version", "1.34.2", "spec.version", "vX.Y.Z+k3sN"),
        ("servers", {}, "spec.servers", "nodeNames"),
        ("servers", {"selector": {"matchLabels": {"a": "b"}}}, "spec.servers.count", "how many"),
        ("servers", {"nodeNames": ["a"], "selector": {}, "count": 1}, "spec.servers.nodeNames", "not both"),
        ("servers", {"nodeNames": ["a"], "count": 1}, "spec.servers.count", "goes with selector"),
        ("servers", {"nodeNames": ["A_"]}, "spec.servers.nodeNames[0]", ""),
        ("servers", {"selector": {"matchLabels": {"-": "x"}}, "count": 1}, "spec.servers.selector.matchLabels[-]", ""),
        (
            "servers",
            {"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}, "count": 1},
            "spec.servers.selector.matchExpressions[0].values",
            "In and NotIn",
        ),
        ("agents", {"nodeNames": ["shop-17-a"]}, "spec.agents.nodeNames[0]", "server already"),
        ("replace", ["shop-17-a"], "spec.replace[0]", "nodeNames"),
        ("datastore", "SQLite", "spec.datastore", "one server"),
        ("datastore", "External", "spec.datastoreSecretRef", "endpoint"),
        ("datastoreSecretRef", {"name": "db"}, "spec.datastoreSecretRef", "External"),
        ("apiAddress", "10.17.0", "spec.apiAddress", "IPv4"),
        ("addresses", [{"nodeName": "shop-17-a", "address": "10.17.0.11"}], "spec.addresses[0].address", "prefix"),
        ("addresses", [{"nodeName": "shop-17-a", "address": "10.18.0.11/24"}], "spec.apiAddress", "10.18.0.0/24"),
        ("addresses", [{"nodeName": "shop-17-a", "address": "10.17.0.10/24"}], "spec.apiAddress", "nobody has"),
        ("disable", ["traefic"], "spec.disable[0]", "traefik"),
        ("config", {"node-labels": ["a=b"]}, "spec.config[node-labels]", "no such option"),
        ("config", {"nodelabel": ["a=b"]}, "spec.config[nodelabel]", "did you mean node-label"),
        ("config", {"node_label": ["a=b"]}, "spec.config[node_label]", "did you mean node-label"),
        ("config", {"kubelet-args": ["a=b"]}, "spec.config[kubelet-args]", "did you mean kubelet-arg"),
        ("config", {"flanel-backend": "none"}, "spec.config[flanel-backend]", "did you mean flannel-backend"),
        ("config", {"data_dir": "/x"}, "spec.config[data_dir]", "data-dir, which is like it, is managed by Eaves"),
        ("config", {"colour": "red"}, "spec.config[colour]", "names are those of its config file"),
        ("config", {"data-dir": "/x"}, "spec.config[data-dir]", "from the EdgeNode"),
        ("config", {"node-ip": "10.0.0.1"}, "spec.config[node-ip]", "from the EdgeNode"),
        ("config", {"server": "https://x"}, "spec.config[server]", "whom the others join"),
        ("config", {"datastore-endpoint": "x"}, "spec.config[datastore-endpoint]", "spec.datastoreSecretRef"),
        ("config", {"token": "x"}, "spec.config[token]", "Eaves manages"),
        ("config", {"cluster-init": True}, "spec.config[cluster-init]", "Eaves decides"),
        ("config", {"disable": ["traefik"]}, "spec.config[disable]", "spec.disable"),
        (
            "config",
            {"etcd-snapshot-schedule-cron": "* * * * *"},
            "spec.config[etcd-snapshot-schedule-cron]",
            "spec.backup",
        ),
        ("config", {"helm-controller-arg": ["x"]}, "spec.config[helm-controller-arg]", "came with v1.35"),
        ("config", {"flannel-backend": ["host-gw"]}, "spec.config[flannel-backend]", "single value"),
        ("config", {"node-label": {"a": "b"}}, "spec.config[node-label]", "list of such"),
        ("config", {"node-label": [{"a": "b"}]}, "spec.config[node-label]", "list of texts"),
        ("addOns", [{"name": "A", "manifest": "apiVersion: v1\nkind: X"}], "spec.addOns[0].name", ""),
        ("addOns", [{"name": "a"}], "spec.addOns[0]", "exactly one"),
        ("addOns", [{"name": "a", "manifest": "a: [", "helm": {"chart": "oci://x"}}], "spec.addOns[0]", "exactly one"),
        ("addOns", [{"name": "a", "manifest": "a: ["}], "spec.addOns[0].manifest", "YAML"),
        ("addOns", [{"name": "a", "manifest": "# nothing"}], "spec.addOns[0].manifest", "at least one"),
        ("addOns", [{"name": "a", "manifest": "a: b"}], "spec.addOns[0].manifest", "apiVersion"),
        ("addOns", [{"name": "a", "helm": {"chart": "shop"}}], "spec.addOns[0].helm.repo", "repository"),
        ("addOns", [{"name": "a", "helm": {"chart": "shop", "repo": "oci://x"}}], "spec.addOns[0].helm.repo", "oci://"),
        (
            "addOns",
            [{"name": "a", "helm": {"chart": "oci://x/y", "repo": "https://x"}}],
            "spec.addOns[0].helm.repo",
            "says already",
        ),
        (
            "addOns",
            [{"name": "a", "helm": {"chart": "y", "repo": "https://x", "plainHTTP": True}}],
            "spec.addOns[0].helm.plainHTTP",
            "oci://",
        ),
        ("addOns", [{"name": "a" * 51, "helm": {"chart": "oci://x/y"}}], "spec.addOns[0].name", "no more than 50"),
        (
            "addOns",
            [{"name": "a", "helm": {"chart": "oci://x/y", "timeout": "soon"}}],
            "spec.addOns[0].helm.timeout",
            "duration",
        ),
        (
            "addOns",
            [{"name": "a", "helm": {"chart": "oci://x/y", "caCertificates": "none"}}],
            "spec.addOns[0].helm.caCertificates",
            "",
        ),
        ("addOns", [{"name": "a", "helm": {"chart": "file:///x"}}], "spec.addOns[0].helm.chart", "oci://"),
        ("resources", {"memory": "1Ki"}, "spec.resources.memory", "256Mi"),
        ("resources", {"cpus": "many"}, "spec.resources.cpus", ""),
        ("upgrade", {"healthTimeout": "soon"}, "spec.upgrade.healthTimeout", "10m"),
        ("upgrade", {"drainTimeout": "1s"}, "spec.upgrade.drainTimeout", "between"),
        ("upgrade", {"maxUnavailable": 0}, "spec.upgrade.maxUnavailable", ""),
        ("backup", {"schedule": "0 25 * * *"}, "spec.backup.schedule", "the hour is not possible"),
        ("backup", {"schedule": "daily"}, "spec.backup.schedule", "five fields"),
        ("backup", {"path": "../x"}, "spec.backup.path", "relative"),
        ("backup", {"keep": 0}, "spec.backup.keep", ""),
    ],
)
def test_what_cannot_be_is_refused_with_the_path_of_the_field(field: str, value: Any, path: str, words: str) -> None:
    faults = find_faults(k3scluster.RESOURCE, change(ISSUE, f"spec.{field}", value))
    assert path in [fault.path for fault in faults]
    assert any(words in fault.detail for fault in faults if fault.path == path)


def test_an_external_datastore_is_backed_up_where_it_is() -> None:
    external = change(change(ISSUE, "spec.datastore", "External"), "spec.datastoreSecretRef", {"name": "db"})
    (fault,) = find_faults(k3scluster.RESOURCE, external)
    assert fault.path == "spec.backup"
    sqlite = change(change(ISSUE, "spec.servers", {"nodeNames": ["a"]}), "spec.datastore", "SQLite")
    assert find_faults(k3scluster.RESOURCE, sqlite) == []


@pytest.mark.parametrize(("count", "warns"), [(1, False), (2, True), (3, False), (4, True), (5, False)])
def test_an_even_number_of_servers_is_warned_of(count: int, warns: bool) -> None:
    names = [f"n{number}" for number in range(count)]
    by_name = change(ISSUE, "spec.servers", {"nodeNames": names})
    by_selector = change(ISSUE, "spec.servers", {"selector": {"matchLabels": {"a": "b"}}, "count": count})
    for obj in (by_name, by_selector):
        assert any("odd number" in text for text in k3scluster.RESOURCE.warn(obj)) is warns


def test_a_chart_of_k3s_itself_is_not_taken_over_while_k3s_installs_it() -> None:
    add_ons = [{"name": "traefik", "helm": {"chart": "oci://x/y"}}]
    disabled = change(ISSUE, "spec.addOns", add_ons)
    assert not find_faults(k3scluster.RESOURCE, disabled)
    (fault,) = find_faults(k3scluster.RESOURCE, change(disabled, "spec.disable", []))
    assert fault.path == "spec.addOns[0].name"
    assert "name traefik in spec.disable" in str(fault)


def test_no_chart_is_installed_without_the_helm_controller() -> None:
    obj = change(ISSUE, "spec.config", {"disable-helm-controller": True})
    assert [fault.path for fault in find_faults(k3scluster.RESOURCE, obj)] == ["spec.addOns[1].helm"]


def test_a_cluster_without_backup_is_warned_of() -> None:
    assert any("no snapshots" in text for text in k3scluster.RESOURCE.warn(change(ISSUE, "spec.backup", None)))


@pytest.mark.parametrize(
    ("field", "old", "new", "path"),
    [
        ("datastore", "EmbeddedEtcd", "External", "spec.datastore"),
        ("tokenSecretRef", {"name": "a"}, {"name": "b"}, "spec.tokenSecretRef"),
        ("operations", {"snapshot": 2}, {"snapshot": 1}, "spec.operations.snapshot"),
        ("operations", {"rotateToken": 2}, {"rotateToken": 1}, "spec.operations.rotateToken"),
        ("operations", {"rotateCertificates": 2}, {}, "spec.operations.rotateCertificates"),
        ("operations", {"restore": {"snapshot": "a", "counter": 2}}, {}, "spec.operations.restore.counter"),
    ],
)
def test_what_stays_stays(field: str, old: Any, new: Any, path: str) -> None:
    before, after = change(ISSUE, f"spec.{field}", old), change(ISSUE, f"spec.{field}", new)
    schema.apply_defaults(k3scluster.RESOURCE.schema, before)
    assert path in [fault.path for fault in find_faults(k3scluster.RESOURCE, after, before)]


@pytest.mark.parametrize(
    ("running", "wanted", "words"),
    [
        (["v1.34.2+k3s1"], "v1.34.3+k3s1", ""),
        (["v1.34.2+k3s1"], "v1.35.0+k3s1", ""),
        (["v1.34.2+k3s1", ""], "v1.36.0+k3s1", "v1.35 first"),
        (["v1.34.2+k3s1"], "v1.33.9+k3s1", "cannot go back"),
        (["v1.34.1+k3s1", "v1.34.2+k3s1"], "v1.34.1+k3s1", "cannot go back"),
        ([], "v1.30.0+k3s1", ""),
    ],
)
def test_the_version_goes_up_one_minor_at_a_time(running: list[str], wanted: str, words: str) -> None:
    members = [{"nodeName": f"n{i}", "runningVersion": v, "joined": True} for i, v in enumerate(running)]
    old = {**ISSUE, "status": {"members": members}}
    faults = find_faults(k3scluster.RESOURCE, change(ISSUE, "spec.version", wanted), old)
    assert [fault.path for fault in faults] == (["spec.version"] if words else [])
    assert all(words in fault.detail for fault in faults)


def test_members_that_are_down_count_by_what_they_come_back_with() -> None:
    down = {"nodeName": "a", "version": "v1.33.4+k3s1", "joined": True}
    up = {"nodeName": "b", "version": "v1.34.2+k3s1", "runningVersion": "v1.34.2+k3s1", "joined": True}
    old = {**ISSUE, "status": {"members": [down, up, {"nodeName": "c", "version": "v1.30.0+k3s1"}]}}
    (fault,) = find_faults(k3scluster.RESOURCE, change(ISSUE, "spec.version", "v1.35.0+k3s1"), old)
    assert "the cluster has v1.33.4+k3s1" in fault.detail


def test_no_option_is_both_offered_and_managed() -> None:
    assert OPTIONS.keys().isdisjoint(MANAGED)


def test_printed_columns_tell_of_members_api_and_version() -> None:
    obj = {
        **ISSUE,
        "status": {
            "phase": "Upgrading",
            "version": "v1.34.1+k3s1",
            "servers": {"wanted": 3, "ready": 2},
            "agents": {"wanted": 1},
            "conditions": [{"type": "APIAvailable", "status": "True"}],
        },
    }
    shown = {column.name: column.value(obj, 0.0) for column in k3scluster.RESOURCE.columns if column.priority == 0}
    assert {name: shown[name] for name in ("Phase", "Version", "Servers", "Agents", "API")} == {
        "Phase": "Upgrading",
        "Version": "v1.34.1+k3s1",
        "Servers": "2/3",
        "Agents": "0/1",
        "API": "True",
    }
    assert [column.value(ISSUE, 0.0) for column in k3scluster.RESOURCE.columns if column.name == "Servers"] == [""]


def test_nodes_that_a_spec_names_are_known_with_their_paths() -> None:
    spec = {"servers": {"nodeNames": ["a"]}, "agents": {"nodeNames": ["b", "c"]}}
    assert k3scluster.named_nodes(spec) == {
        "a": "spec.servers.nodeNames[0]",
        "b": "spec.agents.nodeNames[0]",
        "c": "spec.agents.nodeNames[1]",
    }


RELEASE: Object = {
    "apiVersion": "eaves.dev/v1alpha1",
    "kind": "K3sRelease",
    "metadata": {"name": "v1.34.2", "namespace": "default"},
    "spec": {
        "version": "v1.34.2+k3s1",
        "architectures": [
            {
                "architecture": "amd64",
                "binary": {"datastoreRef": {"name": "k3s"}, "path": "v1.34.2/k3s", "sha256": "a" * 64, "size": "75Mi"},
                "images": [{"datastoreRef": {"name": "k3s"}, "path": "v1.34.2/images.tar.zst", "sha256": "b" * 64}],
            }
        ],
    },
}


def test_a_release_is_good_or_says_what_is_not() -> None:
    assert find_faults(k3srelease.RESOURCE, RELEASE) == []
    shown = {column.name: column.value(RELEASE, 0.0) for column in k3srelease.RESOURCE.columns}
    assert (shown["Version"], shown["Architectures"]) == ("v1.34.2+k3s1", "amd64")
    build = "spec.architectures[0]"
    for field, value, path in [
        ("sha256", "A" * 64, f"{build}.binary.sha256"),
        ("path", "/k3s", f"{build}.binary.path"),
        ("path", "a/../k3s", f"{build}.binary.path"),
        ("path", "k3s@x", f"{build}.binary.path"),
        ("size", "0", f"{build}.binary.size"),
    ]:
        broken = copy.deepcopy(RELEASE)
        broken["spec"]["architectures"][0]["binary"][field] = value
        assert [fault.path for fault in find_faults(k3srelease.RESOURCE, broken)] == [path]
    assert [f.path for f in find_faults(k3srelease.RESOURCE, change(RELEASE, "spec.architectures", []))] == [
        "spec.architectures"
    ]
    assert [
        f.path for f in find_faults(k3srelease.RESOURCE, change(RELEASE, "spec.version", "v1.35.0+k3s1"), RELEASE)
    ] == ["spec.version"]


def test_an_access_needs_somebody_and_a_group() -> None:
    good: Object = {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "K3sClusterAccess",
        "metadata": {"name": "shop", "namespace": "default"},
        "spec": {
            "clusterRef": {"name": "shop-17"},
            "rules": [{"groups": ["ops"], "clusterGroups": ["system:masters"]}],
        },
    }
    assert find_faults(k3sclusteraccess.RESOURCE, good) == []
    for rule, path in [
        ({"clusterGroups": ["x"]}, "spec.rules[0]"),
        ({"groups": ["ops"], "clusterGroups": []}, "spec.rules[0].clusterGroups"),
        ({"users": ["a\r\nb"], "clusterGroups": ["x"]}, "spec.rules[0].users[0]"),
        ({"serviceAccounts": [{"name": "A"}], "clusterGroups": ["x"]}, "spec.rules[0].serviceAccounts[0].name"),
    ]:
        faults = find_faults(k3sclusteraccess.RESOURCE, change(good, "spec.rules", [rule]))
        assert [fault.path for fault in faults] == [path]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2h", 7200), ("", None), ("10", None), ("m", None), ("1d", None)],
)
def test_durations(text: str, seconds: int | None) -> None:
    assert parse_duration_s(text) == seconds
