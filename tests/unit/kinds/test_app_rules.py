"""What an App may ask for: every fault names the path of its field, all at once."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.kinds.app import RESOURCE
from eaves.kube.schema import apply_defaults, validate_schema
from eaves.testing.objects import make_app


def faults(new: dict[str, Any], old: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    assert list(validate_schema(RESOURCE.schema, new)) == []
    return [(fault.path, fault.type.name) for fault in RESOURCE.validate(new, old)]


def test_a_minimal_app_is_accepted() -> None:
    assert faults(make_app()) == []


def test_the_full_example_is_accepted() -> None:
    app = make_app(
        type="Container",
        resources={"cpus": 1, "memory": "256Mi"},
        env=[
            {"name": "GREETING", "value": "hello"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "web", "key": "token"}}},
        ],
        envFrom=[{"prefix": "DB_", "configMapRef": {"name": "db"}}],
        files=[{"path": "/etc/web.conf", "content": "a", "mode": "0600"}],
        volumes=[
            {"name": "data", "size": "1Gi", "mountPath": "/data"},
            {"name": "big", "volumeName": "big", "mountPath": "/big"},
        ],
        networks=[
            {
                "name": "default",
                "ports": [{"port": 80, "nodePort": 8080}, {"port": 53, "protocol": "UDP"}],
                "address": "10.160.1.7",
                "macAddress": "02:00:00:00:00:07",
                "acl": [
                    {"name": "out", "direction": "Egress", "ip": "0.0.0.0/0", "protocol": "tcp", "remotePort": "443"}
                ],
            }
        ],
    )
    assert faults(app) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"vm": {}}, [("spec.vm", "FORBIDDEN")]),
        ({"imageFormat": "Qcow2"}, [("spec.imageFormat", "INVALID")]),
        ({"rollback": {"snapshotName": "s", "counter": 1}}, []),
        ({"rollback": {"snapshotName": "a/b", "counter": 1}}, [("spec.rollback.snapshotName", "INVALID")]),
        ({"volumes": [{"name": "d"}]}, [("spec.volumes[0].mountPath", "REQUIRED")]),
        (
            {"volumes": [{"name": "d", "mountPath": "/d", "device": "Disk", "bootOrder": 1}]},
            [("spec.volumes[0].device", "FORBIDDEN"), ("spec.volumes[0].bootOrder", "FORBIDDEN")],
        ),
        ({"image": "Web"}, [("spec.image", "INVALID")]),
        ({"image": "https://registry.example/web"}, [("spec.image", "INVALID")]),
        ({"nodeName": "Store_17"}, [("spec.nodeName", "INVALID")]),
        ({"workingDir": "srv"}, [("spec.workingDir", "INVALID")]),
        ({"command": [""]}, [("spec.command[0]", "INVALID")]),
        ({"env": [{"name": "1A"}]}, [("spec.env[0].name", "INVALID")]),
        ({"env": [{"name": "A", "valueFrom": {}}]}, [("spec.env[0].valueFrom", "INVALID")]),
        (
            {"env": [{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
            [("spec.env[0].valueFrom", "INVALID")],
        ),
        ({"envFrom": [{}]}, [("spec.envFrom[0]", "INVALID")]),
        ({"envFrom": [{"prefix": "1", "secretRef": {"name": "s"}}]}, [("spec.envFrom[0].prefix", "INVALID")]),
        ({"files": [{"path": "etc/a", "content": "x"}]}, [("spec.files[0].path", "INVALID")]),
        ({"files": [{"path": "/etc/../a", "content": "x"}]}, [("spec.files[0].path", "INVALID")]),
        ({"files": [{"path": "/etc/a"}]}, [("spec.files[0]", "REQUIRED")]),
        (
            {"files": [{"path": "/a", "content": "", "secretKeyRef": {"name": "s", "key": "k"}}]},
            [("spec.files[0]", "FORBIDDEN")],
        ),
        ({"resources": {"memory": "1Mi"}}, [("spec.resources.memory", "INVALID")]),
        ({"resources": {"memory": "lots"}}, [("spec.resources.memory", "INVALID")]),
        ({"resources": {"cpus": "0"}}, [("spec.resources.cpus", "INVALID")]),
        ({"volumes": [{"name": "D", "mountPath": "/d"}]}, [("spec.volumes[0].name", "INVALID")]),
        ({"volumes": [{"name": "d", "mountPath": "d"}]}, [("spec.volumes[0].mountPath", "INVALID")]),
        ({"volumes": [{"name": "d", "mountPath": "/"}]}, [("spec.volumes[0].mountPath", "INVALID")]),
        ({"volumes": [{"name": "d", "mountPath": "/d", "size": "100Pi"}]}, [("spec.volumes[0].size", "INVALID")]),
        ({"volumes": [{"name": "d", "mountPath": "/d", "size": "0"}]}, [("spec.volumes[0].size", "INVALID")]),
        (
            {"volumes": [{"name": "d", "mountPath": "/d", "volumeName": "v", "size": "1Gi"}]},
            [("spec.volumes[0].size", "FORBIDDEN")],
        ),
        (
            {"volumes": [{"name": "a", "mountPath": "/d"}, {"name": "b", "mountPath": "/d/"}]},
            [("spec.volumes[1].mountPath", "DUPLICATE")],
        ),
        ({"networks": [{"name": "default", "address": "10.1.1"}]}, [("spec.networks[0].address", "INVALID")]),
        (
            {"networks": [{"name": "default", "macAddress": "01:00:00:00:00:00"}]},
            [("spec.networks[0].macAddress", "INVALID")],
        ),
        (
            {
                "networks": [
                    {"name": "a", "ports": [{"port": 80, "nodePort": 8080}]},
                    {"name": "b", "ports": [{"port": 1, "nodePort": 8080}]},
                ]
            },
            [("spec.networks[1].ports[0].nodePort", "DUPLICATE")],
        ),
        (
            {"networks": [{"name": "a", "ports": [{"port": 80, "name": "x"}, {"port": 81, "name": "x"}]}]},
            [("spec.networks[0].ports[1].name", "DUPLICATE")],
        ),
        (
            {"networks": [{"name": "a", "acl": [{"name": "r", "ip": "10.0.0.1/8"}]}]},
            [("spec.networks[0].acl[0].ip", "INVALID")],
        ),
        (
            {"networks": [{"name": "a", "acl": [{"name": "r", "localPort": "80"}]}]},
            [("spec.networks[0].acl[0].protocol", "REQUIRED")],
        ),
        (
            {"networks": [{"name": "a", "acl": [{"name": "r", "localPort": "90-80", "protocol": "tcp"}]}]},
            [("spec.networks[0].acl[0].localPort", "INVALID")],
        ),
        (
            {"networks": [{"name": "a", "acl": [{"name": "r", "action": "Limit"}]}]},
            [("spec.networks[0].acl[0].limit", "REQUIRED")],
        ),
        (
            {"networks": [{"name": "a", "acl": [{"name": "r", "ip": "10.0.0.1", "host": "example.com"}]}]},
            [("spec.networks[0].acl[0].host", "FORBIDDEN")],
        ),
    ],
)
def test_each_fault_is_told_with_the_path_of_its_field(spec: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert faults(make_app(**spec)) == expected


def test_same_port_number_is_free_for_each_protocol() -> None:
    ports = [{"port": 53, "nodePort": 53, "protocol": "TCP"}, {"port": 53, "nodePort": 53, "protocol": "UDP"}]
    assert faults(make_app(networks=[{"name": "default", "ports": ports}])) == []


def test_every_fault_is_told_at_once() -> None:
    app = make_app(image="Web", resources={"memory": "1Mi"}, env=[{"name": "1A"}])
    assert [path for path, _ in faults(app)] == ["spec.image", "spec.env[0].name", "spec.resources.memory"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"restartCounter": 3}, {"restartCounter": 4}, []),
        ({"restartCounter": 3}, {"restartCounter": 2}, ["spec.restartCounter"]),
        ({"purgeCounter": 1}, {}, ["spec.purgeCounter"]),
        (
            {"volumes": [{"name": "d", "mountPath": "/d", "size": "2Gi"}]},
            {"volumes": [{"name": "d", "mountPath": "/d", "size": "1Gi"}]},
            ["spec.volumes[0].size"],
        ),
        (
            {"volumes": [{"name": "d", "mountPath": "/d", "size": "1024Mi"}]},
            {"volumes": [{"name": "d", "mountPath": "/d", "size": "1Gi"}]},
            [],
        ),
        ({"nodeName": "a"}, {"nodeName": "b"}, []),
    ],
)
def test_changes_that_cannot_be_made_are_refused(old: dict[str, Any], new: dict[str, Any], expected: list[str]) -> None:
    assert [path for path, _ in faults(make_app(**new), make_app(**old))] == expected


def test_name_becomes_a_host_name_and_must_be_a_label() -> None:
    assert faults(make_app("web.shop")) == [("metadata.name", "INVALID")]


def test_defaults_of_the_schema_are_what_the_typed_app_has() -> None:
    app = make_app(networks=[{"name": "default", "ports": [{"port": 80}]}])
    apply_defaults(RESOURCE.schema, app)
    assert app["spec"]["running"] is True
    assert app["spec"]["restartPolicy"] == "Always"
    assert app["spec"]["networks"][0]["ports"][0]["protocol"] == "TCP"
