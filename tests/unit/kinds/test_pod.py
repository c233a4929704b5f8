"""Pod as a view of App: phases, owner, and no value of a secret."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.kinds.pod import RESOURCE
from eaves.kinds.pod_projection import pod_uid, project_pod
from eaves.kube.schema import validate_schema
from eaves.testing.objects import make_app, make_edgenode, make_vm

NOW = 1795543200.0 + 600

READY = {
    "type": "Ready",
    "status": "True",
    "reason": "Running",
    "message": "",
    "lastTransitionTime": "2026-11-24T18:01:00Z",
}
NOT_READY = {**READY, "status": "False", "reason": "BackOff"}


def cells(pod: dict[str, Any]) -> dict[str, Any]:
    assert list(validate_schema(RESOURCE.schema, pod)) == []
    return {column.name: column.value(pod, NOW) for column in RESOURCE.columns}


def terminated(code: int, reason: str) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": "2026-11-24T18:09:00Z"}}


def test_a_running_app_prints_as_a_running_pod() -> None:
    status = {
        "phase": "Running",
        "nodeName": "store-17",
        "conditions": [READY],
        "state": {"running": {"startedAt": "2026-11-24T18:01:00Z"}},
        "lastState": terminated(1, "Error"),
        "restarts": 3,
        "addresses": [
            {"network": "a", "addresses": ["10.9.0.2"]},
            {"network": "default", "addresses": ["10.160.1.64"]},
        ],
        "image": {"reference": "x", "digest": "sha256:ab"},
        "containerID": "c0ffee",
    }
    node = make_edgenode(status={"addresses": [{"type": "InternalIP", "address": "192.0.2.7"}]})
    app = make_app(
        networks=[{"name": "default", "ports": [{"port": 80, "nodePort": 8080}]}], resources={"cpus": 1}, status=status
    )
    pod = project_pod(app, node)
    assert cells(pod) == {
        "Name": "web",
        "Ready": "1/1",
        "Status": "Running",
        "Restarts": "3 (60s ago)",
        "Age": "10m",
        "IP": "10.160.1.64",
        "Node": "store-17",
        "Nominated Node": "<none>",
        "Readiness Gates": "<none>",
    }
    assert pod["status"]["hostIP"] == "192.0.2.7"
    assert pod["status"]["podIPs"] == [{"ip": "10.160.1.64"}, {"ip": "10.9.0.2"}]
    assert pod["status"]["qosClass"] == "Guaranteed"
    assert pod["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP", "hostPort": 8080}]
    assert pod["status"]["containerStatuses"][0]["imageID"] == "sha256:ab"


@pytest.mark.parametrize(
    ("status", "phase", "text"),
    [
        ({}, "Pending", "ContainerCreating"),
        ({"phase": "Downloading", "state": {"waiting": {"reason": "ErrImagePull"}}}, "Pending", "ErrImagePull"),
        ({"phase": "BackOff", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}, "Running", "CrashLoopBackOff"),
        ({"phase": "Completed", "state": terminated(0, "Completed")}, "Succeeded", "Completed"),
        ({"phase": "Failed", "state": terminated(137, "OOMKilled")}, "Failed", "OOMKilled"),
        ({"phase": "Failed", "state": terminated(3, "")}, "Failed", "ExitCode:3"),
        ({"phase": "Failed", "state": {"waiting": {"reason": "SecretNotFound"}}}, "Pending", "SecretNotFound"),
    ],
)
def test_phases_and_the_status_cell(status: dict[str, Any], phase: str, text: str) -> None:
    pod = project_pod(make_app(status=status))
    assert pod["status"]["phase"] == phase
    assert cells(pod)["Status"] == text
    assert cells(pod)["Ready"] == "0/1"


def test_an_app_being_deleted_is_terminating() -> None:
    pod = project_pod(make_app(metadata={"deletionTimestamp": "2026-11-24T18:05:00Z"}))
    assert cells(pod)["Status"] == "Terminating"


def test_a_pod_is_owned_by_its_app_and_has_a_uid_of_its_own() -> None:
    app = make_app(metadata={"labels": {"tier": "front"}})
    pod = project_pod(app)
    owner = pod["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("App", app["metadata"]["uid"], True)
    assert pod["metadata"]["uid"] == pod_uid(app["metadata"]["uid"]) != app["metadata"]["uid"]
    assert pod["metadata"]["labels"] == {"tier": "front", "eaves.dev/app": "web"}


def test_an_app_without_a_node_says_what_to_do() -> None:
    pod = project_pod(make_app(nodeName=""))
    scheduled = next(condition for condition in pod["status"]["conditions"] if condition["type"] == "PodScheduled")
    assert scheduled["status"] == "False"
    assert "name an EdgeNode" in scheduled["message"]
    assert cells(pod)["Node"] == "<none>"


def test_values_of_secrets_are_not_in_a_pod() -> None:
    env = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    pod = project_pod(
        make_app(
            env=env,
            volumes=[
                {"name": "d", "mountPath": "/d", "readOnly": True},
                {"name": "v", "mountPath": "/v", "volumeName": "big"},
            ],
        )
    )
    assert cells(pod)["Name"] == "web"
    assert pod["spec"]["containers"][0]["env"] == env
    assert pod["spec"]["volumes"] == [
        {"name": "d", "emptyDir": {"sizeLimit": "1Gi"}},
        {"name": "v", "persistentVolumeClaim": {"claimName": "big"}},
    ]


def test_a_machine_with_a_serial_console_has_a_terminal() -> None:
    def container(**spec: Any) -> dict[str, Any]:
        pod = project_pod(make_vm(**spec))
        assert list(validate_schema(RESOURCE.schema, pod)) == []
        found: dict[str, Any] = pod["spec"]["containers"][0]
        return found

    assert (container()["stdin"], container()["tty"]) == (True, True)
    assert "tty" not in container(vm={"serialConsole": False})
    assert "tty" not in project_pod(make_app())["spec"]["containers"][0]
