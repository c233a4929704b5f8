"""People and programs far away work in a K3s cluster by way of the controller."""

from __future__ import annotations

import json
import re
import secrets
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest

from eaves.testing.daemons import wait_for
from eaves.testing.k3s import Release
from eaves.testing.k3s_images import BUSYBOX
from eaves.testing.k3s_stage import ClusterNode, ClusterStage, want_cluster
from eaves.testing.kubectl import Kubectl
from eaves.testing.system import ControllerHost

pytestmark = [pytest.mark.xdist_group("k3s"), pytest.mark.timeout(2400)]

_SPEAK = "while true; do echo up; sleep 1; done"
QUIET_S = 3600.0
"""As long as a person is away from the keyboard, and longer than any box on the way remembers a connection that says nothing."""


def _want_way(stage: ClusterStage, shop: str, release: Release) -> tuple[ClusterNode, tuple[str, str]]:
    """A cluster ``far`` of one node, and kubectl's options that lead there."""
    node = stage.add_node()
    stage.apply(want_cluster("far", release.version, [node]), shop)
    stage.wait_phase("far", shop, "Ready")
    there = ("--context", f"far-{shop}")
    stage.controller.eaves_kubectl("kubeconfig", "far", "-n", shop, "--name", there[1])
    kubectl = stage.controller.kubectl
    wait_for("the way there", lambda: kubectl.run("get", "nodes", *there).code == 0, 120, node.explain)
    return node, there


def _run_shell(kubectl: Kubectl, there: Sequence[str], script: str) -> None:
    """A pod ``shell`` that runs this, ready."""
    kubectl.ok("run", "shell", f"--image={BUSYBOX}", "--restart=Never", *there, "--", "sh", "-c", script)
    kubectl.ok("wait", "--for=condition=Ready", "pod/shell", "--timeout=300s", *there)


def _audit(controller: ControllerHost, namespace: str, cluster: str) -> list[dict[str, str | int]]:
    """Who did what through the controller in a cluster, as far as it is written: streams when they have ended."""
    lines = (controller.data_dir / "audit" / "audit.log").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    place = f"/namespaces/{namespace}/k3sclusters/{cluster}/proxy/"
    return [
        {
            "verb": event["verb"],
            "user": event["user"]["username"],
            "as": event.get("impersonatedUser", {}).get("username", ""),
            "code": event["responseStatus"]["code"],
            "uri": event["requestURI"],
        }
        for event in events
        if place in event["requestURI"]
    ]


def _work_in_pod(kubectl: Kubectl, there: Sequence[str], is_websocket: str, folder: Path) -> None:
    """A terminal, files, the running output and a port, over kubectl's WebSockets or as older clients and k9s do it, over SPDY."""
    names = ("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "KUBECTL_PORT_FORWARD_WEBSOCKETS")
    way = dict.fromkeys(names, is_websocket)
    terminal = kubectl.open_terminal("exec", "-it", "shell", *there, "--", "sh", environment=way)
    terminal.write("stty size; echo a$((1+1))b\n")
    terminal.read_until("a2b")
    terminal.write("exit 3\n")
    assert "30 100" in terminal.read_end()
    assert terminal.code == 3

    file, back = folder / "file", folder / f"back-{is_websocket}"
    file.write_bytes(secrets.token_bytes(1 << 20))
    for arguments in (("cp", str(file), "shell:/file"), ("cp", "shell:/file", str(back))):
        copied = kubectl.run(*arguments, *there, environment=way)
        assert copied.code == 0, copied
    assert back.read_bytes() == file.read_bytes()

    with kubectl.start("attach", "shell", *there, environment=way) as attached:
        attached.wait_line("up")
    with kubectl.start("logs", "-f", "--tail=1", "shell", *there) as logs:
        logs.wait_line("up")
    with kubectl.start("port-forward", "pod/shell", ":8080", *there, environment=way) as forward:
        found = re.search(r"127\.0\.0\.1:(\d+) ->", forward.wait_line("Forwarding from 127.0.0.1"))
        assert found is not None
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/file", timeout=60) as answer:
                assert answer.read() == file.read_bytes()


def test_an_engineer_far_away_works_in_the_cluster(
    stage: ClusterStage, shop: str, releases: list[Release], tmp_path: Path
) -> None:
    node, there = _want_way(stage, shop, releases[0])
    controller, kubectl = stage.controller, stage.controller.kubectl
    assert len(kubectl.ok("get", "nodes", "-o", "name", *there).out.split()) == 1

    # Pods, their input and output, logs and ports: upgrades of every kind, through two API servers and a kubelet.
    _run_shell(kubectl, there, f"httpd -h / -p 8080; {_SPEAK}")
    assert "up" in kubectl.ok("logs", "shell", *there).out
    assert (
        kubectl.ok("exec", "-i", "shell", *there, "--", "cat", stdin="over hill and dale").out == "over hill and dale"
    )
    assert kubectl.run("exec", "shell", *there, "--", "sh", "-c", "exit 7").code == 7
    for is_websocket in ("true", "false"):
        _work_in_pod(kubectl, there, is_websocket, tmp_path)
    manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: note}\ndata: {a: b}\n"
    kubectl.ok("apply", "--server-side", "-f", "-", *there, stdin=manifest)

    # Others come as what a K3sClusterAccess makes of them, and the cluster's own RBAC holds them to it.
    rules = [{"users": ["ann"], "clusterGroups": ["readers"]}]
    access = {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "K3sClusterAccess",
        "metadata": {"name": "far", "namespace": shop},
    }
    spec = {"clusterRef": {"name": "far"}, "rules": rules}
    kubectl.ok("create", "-f", "-", stdin=json.dumps({**access, "spec": spec}))
    kubectl.ok("create", "role", "far", "-n", shop, "--verb=get,create", "--resource=k3sclusters.eaves.dev/proxy")
    kubectl.ok("create", "rolebinding", "far", "-n", shop, "--role=far", "--user=ann")
    kubectl.ok("create", "clusterrolebinding", "readers", "--clusterrole=view", "--group=readers", *there)
    as_ann = (*there, "--as", "ann")
    wait_for("ann to read", lambda: kubectl.run("get", "configmap", "note", *as_ann).code == 0, 120, node.explain)
    assert "Forbidden" in kubectl.fails("get", "secrets", *as_ann)
    assert "Forbidden" in kubectl.fails("delete", "configmap", "note", *as_ann)

    seen = {(event["verb"], event["user"], event["as"], event["code"]) for event in _audit(controller, shop, "far")}
    assert {("get", "admin", "", 101), ("delete", "admin", "ann", 403)} <= seen

    # A controller that starts again costs a retry; a client-go informer, as in this wait, begins its watch anew.
    condition = ("configmap/note", "--for=jsonpath={.data.a}=c", "--timeout=300s")
    with kubectl.start("wait", *condition, "-v=6", *there) as waiting:
        waiting.wait_line("watch=true")
        controller.daemon.kill()
        controller.start()
        wait_for("the way there", lambda: kubectl.run("get", "nodes", *there).code == 0, 120, node.explain)
        kubectl.ok("patch", "configmap", "note", "-p", '{"data": {"a": "c"}}', *there)
        assert waiting.wait(300) == 0

    assert stage.find_leaks(node) == []


@pytest.mark.soak
@pytest.mark.timeout(QUIET_S + 2400)
def test_streams_on_which_nothing_travels_for_an_hour_go_on(
    stage: ClusterStage, shop: str, releases: list[Release]
) -> None:
    node, there = _want_way(stage, shop, releases[0])
    kubectl = stage.controller.kubectl
    _run_shell(kubectl, there, "touch /lines; httpd -h / -p 8080; tail -f /lines")
    kubectl.ok("create", "configmap", "note", "--from-literal=a=b", *there)
    # A kube-apiserver ends a watch after half an hour by itself, unless it is asked not to.
    query = f"watch=true&timeoutSeconds={4 * QUIET_S:.0f}&fieldSelector=metadata.name%3Dnote"
    terminal = kubectl.open_terminal("exec", "-it", "shell", *there, "--", "cat")
    with (
        kubectl.start("get", "--raw", f"/api/v1/namespaces/default/configmaps?{query}", *there) as watch,
        kubectl.start("logs", "-f", "shell", *there) as logs,
        kubectl.start("port-forward", "pod/shell", ":8080", *there) as forward,
    ):
        watch.wait_line('"ADDED"')
        terminal.write("before\n")
        terminal.read_until("before\r\nbefore\r\n")
        found = re.search(r"127\.0\.0\.1:(\d+) ->", forward.wait_line("Forwarding from 127.0.0.1"))
        assert found is not None
        time.sleep(QUIET_S)
        kubectl.ok("patch", "configmap", "note", "-p", '{"data": {"a": "c"}}', *there)
        assert json.loads(watch.wait_line('"MODIFIED"'))["object"]["data"] == {"a": "c"}
        terminal.write("after\n")
        terminal.read_until("after\r\nafter\r\n")
        kubectl.ok("exec", "shell", *there, "--", "sh", "-c", "echo new >> /lines")
        logs.wait_line("new")
        with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/lines", timeout=60) as answer:
            assert answer.read() == b"new\n"
        terminal.write("\x04")
        terminal.read_end()
    assert node.daemon.is_running
