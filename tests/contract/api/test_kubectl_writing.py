"""The real kubectl writes: create, apply in both ways, edit, patch, label, annotate, diff, delete, wait, nodes, pods."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import pytest

from eaves.store.telemetry import LogLine
from eaves.testing.kubectl import Kubectl
from eaves.testing.objects import make_edgenode
from eaves.testing.operator_api import ServedApi

pytestmark = pytest.mark.contract

WEB = """
apiVersion: eaves.dev/v1alpha1
kind: App
metadata: {name: web}
spec:
  nodeName: n1
  image: registry.example/web:1
  env: [{name: A, value: "1"}]
  networks: [{name: default, ports: [{port: 80, protocol: TCP, nodePort: 8080}]}]
"""


def field(kubectl: Kubectl, space: str, what: str, path: str) -> str:
    return kubectl.ok("get", what, "-n", space, f"-o=jsonpath={{{path}}}").out


def test_create_replace_and_what_they_refuse(kubectl: Kubectl, space: str) -> None:
    kubectl.ok("create", "-n", space, "-f", "-", stdin=WEB)
    assert "AlreadyExists" in kubectl.fails("create", "-n", space, "-f", "-", stdin=WEB)
    kubectl.ok("replace", "-n", space, "-f", "-", stdin=kubectl.ok("get", "app", "web", "-n", space, "-o", "yaml").out)
    assert "NotFound" in kubectl.fails("create", "-n", "no-such-space", "-f", "-", stdin=WEB)
    generated = WEB.replace("name: web", "generateName: web-").replace("8080", "8081")
    out = kubectl.ok("create", "-n", space, "-f", "-", "-o", "name", stdin=generated).out
    assert out.startswith("app.eaves.dev/web-")
    dry = kubectl.ok(
        "create",
        "-n",
        space,
        "--dry-run=server",
        "-f",
        "-",
        stdin=WEB.replace("name: web", "name: dry", 1).replace("8080", "8082"),
    )
    assert "created (server dry run)" in dry.out
    assert "NotFound" in kubectl.fails("get", "app", "dry", "-n", space)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("image:", "imagee: x\n  image:", 'unknown field "spec.imagee"'),
        ("registry.example/web:1", "'not an image!'", "spec.image: Invalid value"),
        ("nodeName: n1", "nodeName: n1\n  resources: {memory: 1}", "spec.resources.memory"),
        ("port: 80,", "port: 99999,", "spec.networks[0].ports[0].port"),
        (
            "nodeName: n1",
            "nodeName: n1\n  volumes: [{name: d, mountPath: rel, size: 1Gi}]",
            "spec.volumes[0].mountPath",
        ),
    ],
)
def test_mistakes_name_the_field(kubectl: Kubectl, space: str, old: str, new: str, said: str) -> None:
    error = kubectl.fails("apply", "-n", space, "-f", "-", stdin=WEB.replace(old, new, 1))
    assert said in error


def test_clashing_node_ports_are_refused_across_namespaces(kubectl: Kubectl, space: str) -> None:
    taken = WEB.replace("8080", "18080").replace("nodeName: n1", "nodeName: clash")
    kubectl.ok("apply", "-n", space, "-f", "-", stdin=taken)
    error = kubectl.fails("apply", "-n", "default", "-f", "-", stdin=taken)
    assert f"taken by app {space}/web" in error
    assert "spec.networks[0].ports[0].nodePort" in error
    kubectl.ok("apply", "-n", "default", "--dry-run=server", "-f", "-", stdin=taken.replace("clash", "other"))


def test_memory_that_can_never_fit_is_refused(kubectl: Kubectl, served: ServedApi, space: str) -> None:
    node = make_edgenode("small", status={"allocatable": {"memory": "512Mi"}})
    node["metadata"]["uid"] = "00000000-0000-4000-8000-000000000001"
    served.call(served.bench.put(node))
    big = WEB.replace("nodeName: n1", "nodeName: small\n  resources: {memory: 1Gi}").replace("8080", "8090")
    assert "spec.resources.memory" in kubectl.fails("apply", "-n", space, "-f", "-", stdin=big)


def test_apply_client_side_changes_and_removes(kubectl: Kubectl, space: str) -> None:
    assert "created" in kubectl.ok("apply", "-n", space, "-f", "-", stdin=WEB).out
    assert "unchanged" in kubectl.ok("apply", "-n", space, "-f", "-", stdin=WEB).out
    changed = WEB.replace("web:1", "web:2").replace('  env: [{name: A, value: "1"}]\n', "")
    diff = kubectl.run("diff", "-n", space, "-f", "-", stdin=changed)
    assert diff.code == 1
    assert "+  image: registry.example/web:2" in diff.out
    assert "configured" in kubectl.ok("apply", "-n", space, "-f", "-", stdin=changed).out
    assert field(kubectl, space, "app/web", ".spec.image") == "registry.example/web:2"
    assert field(kubectl, space, "app/web", ".spec.env") == ""
    assert kubectl.run("diff", "-n", space, "-f", "-", stdin=changed).code == 0
    kubectl.ok("apply", "view-last-applied", "app/web", "-n", space)


def test_apply_of_core_kinds_merges_strategically(kubectl: Kubectl, space: str) -> None:
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '1', b: '2'}\n"
    kubectl.ok("apply", "-n", space, "-f", "-", stdin=config)
    kubectl.ok("patch", "cm", "c", "-n", space, "-p", '{"data":{"x":"9"}}')
    kubectl.ok("apply", "-n", space, "-f", "-", stdin=config.replace(", b: '2'", ""))
    assert kubectl.ok("get", "cm", "c", "-n", space, "-o", "json").json()["data"] == {"a": "1", "x": "9"}
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {token: hello}\n"
    kubectl.ok("apply", "-n", space, "-f", "-", stdin=secret)
    assert field(kubectl, space, "secret/s", ".data.token") == "aGVsbG8="
    kubectl.ok("create", "secret", "generic", "g", "-n", space, "--from-literal=a=b")
    kubectl.ok("create", "serviceaccount", "robot", "-n", space)


def test_apply_server_side_owns_conflicts_and_forces(kubectl: Kubectl, space: str) -> None:
    one = ("apply", "-n", space, "--server-side", "--field-manager=one", "-f", "-")
    two = ("apply", "-n", space, "--server-side", "--field-manager=two", "-f", "-")
    assert "serverside-applied" in kubectl.ok(*one, stdin=WEB).out
    version = field(kubectl, space, "app/web", ".metadata.resourceVersion")
    kubectl.ok(*one, stdin=WEB)
    assert field(kubectl, space, "app/web", ".metadata.resourceVersion") == version
    other = WEB.replace("web:1", "web:2")
    error = kubectl.fails(*two, stdin=other)
    assert 'conflict with "one": .spec.image' in error
    kubectl.ok(*two, "--force-conflicts", stdin=other)
    assert field(kubectl, space, "app/web", ".spec.image") == "registry.example/web:2"
    shared = WEB.replace('  env: [{name: A, value: "1"}]\n', "").replace("  image: registry.example/web:1\n", "")
    kubectl.ok(*one, stdin=shared)
    assert field(kubectl, space, "app/web", ".spec.env[0].name") == "A"
    kubectl.ok(*two, stdin=other.replace('  env: [{name: A, value: "1"}]\n', ""))
    assert field(kubectl, space, "app/web", ".spec.env") == ""
    owners = kubectl.ok("get", "app", "web", "-n", space, "-o", "json", "--show-managed-fields").json()
    managers = {entry["manager"] for entry in owners["metadata"]["managedFields"]}
    assert managers == {"one", "two"}


def test_apply_server_side_takes_over_from_client_side(kubectl: Kubectl, space: str) -> None:
    kubectl.ok("apply", "-n", space, "-f", "-", stdin=WEB)
    kubectl.ok("apply", "-n", space, "--server-side", "-f", "-", stdin=WEB.replace("web:1", "web:3"))
    assert field(kubectl, space, "app/web", ".spec.image") == "registry.example/web:3"
    kubectl.ok(
        "apply", "-n", space, "--server-side", "-f", "-", stdin=WEB.replace('  env: [{name: A, value: "1"}]\n', "")
    )
    assert field(kubectl, space, "app/web", ".spec.env") == ""


def test_edit_through_an_editor(kubectl: Kubectl, space: str, tmp_path: Path) -> None:
    kubectl.ok("apply", "-n", space, "-f", "-", stdin=WEB)
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s|web:1|web:7|" "$1"\n')
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    assert "edited" in kubectl.ok("edit", "app", "web", "-n", space, editor=str(editor)).out
    assert field(kubectl, space, "app/web", ".spec.image") == "registry.example/web:7"


def test_three_kinds_of_patch(kubectl: Kubectl, space: str) -> None:
    kubectl.ok("apply", "-n", space, "-f", "-", stdin=WEB)
    patch = ("patch", "app", "web", "-n", space)
    kubectl.ok(*patch, "--type=merge", "-p", '{"spec":{"running":false}}')
    kubectl.ok(*patch, "--type=json", "-p", '[{"op":"replace","path":"/spec/image","value":"registry.example/web:5"}]')
    assert field(kubectl, space, "app/web", ".spec.image") == "registry.example/web:5"
    assert "is not supported by" in kubectl.fails(*patch, "--type=strategic", "-p", '{"spec":{"running":true}}')
    kubectl.ok("create", "cm", "c", "-n", space, "--from-literal=a=1")
    kubectl.ok("patch", "cm", "c", "-n", space, "--type=strategic", "-p", '{"data":{"b":"2"}}')
    assert field(kubectl, space, "cm/c", ".data.b") == "2"
    assert "no change" in kubectl.ok(*patch, "--type=merge", "-p", '{"spec":{"running":false}}').out
    status = ("--subresource=status", "--type=merge", "-p", '{"status":{"phase":"Running"}}')
    kubectl.ok(*patch, *status)
    assert field(kubectl, space, "app/web", ".status.phase") == "Running"
    assert "the server rejected our request" in kubectl.fails(
        *patch, "--type=json", "-p", '[{"op":"test","path":"/spec/image","value":"x"}]'
    )


def test_label_and_annotate(kubectl: Kubectl, space: str) -> None:
    kubectl.ok("apply", "-n", space, "-f", "-", stdin=WEB)
    kubectl.ok("label", "app", "web", "-n", space, "tier=web")
    assert "already has a value" in kubectl.fails("label", "app", "web", "-n", space, "tier=db")
    kubectl.ok("label", "app", "web", "-n", space, "tier=db", "--overwrite")
    kubectl.ok("annotate", "apps", "--all", "-n", space, "note=hello")
    assert kubectl.ok("get", "apps", "-n", space, "-l", "tier=db", "-o", "name").out.strip() == "app.eaves.dev/web"
    kubectl.ok("label", "app", "web", "-n", space, "tier-")
    assert field(kubectl, space, "app/web", ".metadata.labels") == ""
    assert "invalid label value" in kubectl.fails("label", "app", "web", "-n", space, "tier=!!")


def test_delete_with_finalizers_waits_and_ends(kubectl: Kubectl, space: str) -> None:
    kubectl.ok("apply", "-n", space, "-f", "-", stdin=WEB)
    kubectl.ok(
        "patch", "app", "web", "-n", space, "--type=merge", "-p", '{"metadata":{"finalizers":["example.com/hold"]}}'
    )
    kubectl.ok("delete", "app", "web", "-n", space, "--wait=false")
    assert field(kubectl, space, "app/web", ".metadata.deletionTimestamp")
    # The second command may be through before the first has asked: then there is nothing to delete any more.
    with kubectl.start("delete", "app", "web", "-n", space, "--wait", "--ignore-not-found") as waiting:
        kubectl.ok("patch", "app", "web", "-n", space, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        assert waiting.wait() == 0
    assert "NotFound" in kubectl.fails("get", "app", "web", "-n", space)
    assert "NotFound" in kubectl.fails("delete", "app", "web", "-n", space)
    kubectl.ok("delete", "app", "web", "-n", space, "--ignore-not-found")


def test_owned_objects_go_by_the_asked_cascade(kubectl: Kubectl, space: str) -> None:
    def own(policy: str) -> str:
        kubectl.ok("create", "cm", "owner", "-n", space)
        uid = field(kubectl, space, "cm/owner", ".metadata.uid")
        owned = f"""
apiVersion: v1
kind: ConfigMap
metadata:
  name: owned
  ownerReferences: [{{apiVersion: v1, kind: ConfigMap, name: owner, uid: {uid}, blockOwnerDeletion: true}}]
"""
        kubectl.ok("create", "-n", space, "-f", "-", stdin=owned)
        kubectl.ok("delete", "cm", "owner", "-n", space, f"--cascade={policy}")
        return uid

    own("background")
    kubectl.ok("wait", "--for=delete", "cm/owned", "-n", space, "--timeout=20s")
    own("foreground")
    assert "NotFound" in kubectl.fails("get", "cm", "owned", "-n", space)
    own("orphan")
    kubectl.ok("wait", "--for=jsonpath={.metadata.name}=owned", "cm/owned", "-n", space, "--timeout=5s")
    assert field(kubectl, space, "cm/owned", ".metadata.ownerReferences") == ""


def test_delete_many_at_once(kubectl: Kubectl, space: str) -> None:
    for n in range(3):
        kubectl.ok("create", "cm", f"c{n}", "-n", space)
    kubectl.ok("label", "cm", "c0", "-n", space, "x=y")
    kubectl.ok("delete", "cm", "-n", space, "-l", "x=y")
    kubectl.ok("delete", "cm", "--all", "-n", space)
    # Beside those of users there is the one that every namespace has, if it is back already.
    assert set(kubectl.ok("get", "cm", "-n", space, "-o", "name").out.split()) <= {"configmap/kube-root-ca.crt"}


def test_events_of_the_newer_group_are_applied(kubectl: Kubectl, space: str) -> None:
    event = f"""
apiVersion: events.k8s.io/v1
kind: Event
metadata: {{name: scaled, namespace: {space}}}
eventTime: "2026-11-28T12:00:00.000000Z"
reportingController: shop.example/operator
reportingInstance: operator-1
action: Scaling
reason: Scaled
regarding: {{kind: App, namespace: {space}, name: web, apiVersion: eaves.dev/v1alpha1}}
note: two of it
type: Normal
"""
    assert "serverside-applied" in kubectl.ok("apply", "--server-side", "-f", "-", stdin=event).out
    series = 'series: {count: 2, lastObservedTime: "2026-11-28T12:00:09.000000Z"}\n'
    kubectl.ok("apply", "--server-side", "-f", "-", stdin=event + series)
    core = kubectl.ok("get", "events.v1.", "scaled", "-n", space, "-o", "json").json()
    assert (core["message"], core["series"]["count"]) == ("two of it", 2)
    refused = kubectl.fails("apply", "--server-side", "-f", "-", stdin=event.replace("two of it", "three of it"))
    assert "field is immutable" in refused


def test_a_namespace_has_an_account_and_the_authorities_to_trust(
    kubectl: Kubectl, served: ServedApi, space: str
) -> None:
    for what in ("sa/default", "cm/kube-root-ca.crt"):
        kubectl.ok("wait", "--for=create", what, "-n", space, "--timeout=30s")
    token = kubectl.ok("create", "token", "default", "-n", space).out.strip()
    assert f"system:serviceaccount:{space}:default" in kubectl.ok("auth", "whoami", "--token", token).out
    bundle = kubectl.ok("get", "cm", "kube-root-ca.crt", "-n", space, "-o", "jsonpath={.data.ca\\.crt}").out
    assert bundle == served.ca_file.read_text()
    for what in ("sa/default", "cm/kube-root-ca.crt"):
        uid = kubectl.ok("get", what, "-n", space, "-o", "jsonpath={.metadata.uid}").out
        kubectl.ok("delete", what, "-n", space)
        kubectl.ok("wait", "--for=create", what, "-n", space, "--timeout=30s")
        assert kubectl.ok("get", what, "-n", space, "-o", "jsonpath={.metadata.uid}").out != uid


def test_a_namespace_takes_its_contents_along(kubectl: Kubectl) -> None:
    kubectl.ok("create", "ns", "going")
    kubectl.ok("apply", "-n", "going", "-f", "-", stdin=WEB.replace("8080", "8099"))
    held = '{"metadata":{"finalizers":["example.com/hold"]}}'
    kubectl.ok("patch", "app", "web", "-n", "going", "--type=merge", "-p", held)
    kubectl.ok("delete", "ns", "going", "--wait=false")
    assert "being terminated" in kubectl.fails("create", "cm", "late", "-n", "going")
    kubectl.ok("wait", "--for=condition=NamespaceContentRemaining", "ns/going", "--timeout=20s")
    assert "Terminating" in kubectl.ok("get", "ns", "going").out
    kubectl.ok("patch", "app", "web", "-n", "going", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    kubectl.ok("wait", "--for=delete", "ns/going", "--timeout=20s")


def test_wait_for_conditions_and_values(kubectl: Kubectl, served: ServedApi, space: str) -> None:
    kubectl.ok("apply", "-n", space, "-f", "-", stdin=WEB)
    with kubectl.start("wait", "--for=condition=Ready", "app/web", "-n", space, "--timeout=30s") as waiting:
        ready = {"type": "Ready", "status": "True", "reason": "Running", "lastTransitionTime": "2026-11-24T18:00:00Z"}
        status = {"phase": "Running", "conditions": [ready]}
        served.call(served.bench.set_status("App", space, "web", status))
        waiting.wait_line("condition met")
    kubectl.ok("wait", "--for=jsonpath={.status.phase}=Running", "app/web", "-n", space, "--timeout=5s")
    assert "timed out" in kubectl.fails("wait", "--for=condition=Nope", "app/web", "-n", space, "--timeout=1s")


def test_nodes_are_views_of_edgenodes(kubectl: Kubectl, served: ServedApi) -> None:
    ready = {"type": "Ready", "status": "True", "reason": "Ready", "lastTransitionTime": "2026-11-24T18:00:00Z"}
    status = {
        "phase": "Ready",
        "conditions": [ready],
        "capacity": {"cpu": "4", "memory": "4Gi", "pods": "50"},
        "allocatable": {"cpu": "4", "memory": "3Gi", "pods": "50"},
        "addresses": [{"type": "InternalIP", "address": "192.0.2.7"}, {"type": "Hostname", "address": "store-17"}],
        "versions": {"daemon": "0.1.0", "os": "Debian 12", "kernel": "6.1", "containerRuntime": "podman://4.3.1"},
        "inventory": {"architecture": "amd64"},
    }
    served.call(served.bench.put(make_edgenode("store-17", status=status)))
    served.bench.contacts.seen["11111111-2222-4333-8444-555555555555"] = time.time()
    wide = kubectl.ok("get", "nodes", "-o", "wide").out
    assert "192.0.2.7" in wide
    assert "podman://4.3.1" in wide
    kubectl.ok("label", "node", "store-17", "zone=north")
    kubectl.ok("annotate", "node", "store-17", "note=x")
    kubectl.ok("taint", "node", "store-17", "gpu=yes:NoSchedule")
    kubectl.ok("cordon", "store-17")
    assert "SchedulingDisabled" in kubectl.ok("get", "node", "store-17").out
    edge = kubectl.ok("get", "edgenode", "store-17", "-o", "json").json()
    assert edge["spec"]["unschedulable"] is True
    assert edge["metadata"]["labels"] == {"zone": "north"}
    assert [taint["key"] for taint in edge["spec"]["taints"]] == ["gpu"]
    kubectl.ok("uncordon", "store-17")
    kubectl.ok("taint", "node", "store-17", "gpu-")
    described = kubectl.ok("describe", "node", "store-17").out
    assert "HolderIdentity:  store-17" in described
    assert "Non-terminated Pods" in described
    assert kubectl.ok("get", "nodes", "-l", "zone=north", "-o", "name").out.strip() == "node/store-17"
    patch = '{"metadata":{"labels":{"a":"b"}},"spec":{"unschedulable":true}}'
    kubectl.ok("patch", "node", "store-17", "-p", patch)
    applied = "apiVersion: v1\nkind: Node\nmetadata: {name: store-17, labels: {applied: 'yes'}}\n"
    kubectl.ok("apply", "--server-side", "-f", "-", stdin=applied)
    assert "applied" in kubectl.ok("get", "edgenode", "store-17", "--show-labels").out
    kubectl.ok("wait", "--for=condition=Ready", "node/store-17", "--timeout=5s")
    kubectl.ok("delete", "node", "store-17")
    assert "NotFound" in kubectl.fails("get", "edgenode", "store-17")


def test_pods_are_views_of_apps(kubectl: Kubectl, served: ServedApi, space: str) -> None:
    kubectl.ok("apply", "-n", space, "-f", "-", stdin=WEB)
    status = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-24T18:00:00Z"}],
        "nodeName": "n1",
        "state": {"running": {"startedAt": "2026-11-24T18:00:00Z"}},
        "restarts": 2,
        "addresses": [{"network": "default", "addresses": ["10.160.1.5"]}],
    }
    served.call(served.bench.set_status("App", space, "web", status))
    out = kubectl.ok("get", "pods", "-n", space, "-o", "wide").out
    assert "1/1" in out
    assert "10.160.1.5" in out
    assert "Running" in kubectl.ok("get", "pod", "web", "-n", space).out
    assert "web" in kubectl.ok("get", "pods", "-A", "--field-selector", "spec.nodeName=n1,status.phase=Running").out
    described = kubectl.ok("describe", "pod", "web", "-n", space).out
    assert "Controlled By:  App/web" in described
    deleted = kubectl.ok("delete", "pod", "web", "-n", space, "--timeout=20s").out
    assert "deleted" in deleted
    assert field(kubectl, space, "app/web", ".spec.restartCounter") == "1"
    error = kubectl.fails("run", "nginx", "--image=nginx", "-n", space)
    assert '"kind": "App"' in error
    assert '"image": "nginx"' in error
    assert "web" in kubectl.ok("get", "all", "-n", space).out


def test_drain_tells_what_to_do_instead(kubectl: Kubectl, served: ServedApi, space: str) -> None:
    node = make_edgenode("drained")
    node["metadata"]["uid"] = "00000000-0000-4000-8000-000000000002"
    served.call(served.bench.put(node))
    kubectl.ok("apply", "-n", space, "-f", "-", stdin=WEB.replace("nodeName: n1", "nodeName: drained"))
    error = kubectl.fails("drain", "drained", "--timeout=20s")
    assert "spec.maintenance" in error
    assert field(kubectl, space, "app/web", ".spec.restartCounter") == ""


def test_logs_with_every_flag(kubectl: Kubectl, served: ServedApi, space: str) -> None:
    kubectl.ok("apply", "-n", space, "-f", "-", stdin=WEB)
    assert "waiting to start" in kubectl.fails("logs", "web", "-n", space)
    uid = field(kubectl, space, "app/web", ".metadata.uid")
    now = time.time_ns()

    def write(run: str, texts: list[str], first: int) -> None:
        lines = [
            LogLine(now + (first + n) * 1000, "stdout", "app", text, first + n, run) for n, text in enumerate(texts)
        ]
        served.call(served.bench.telemetry.append_logs("device", uid, lines))

    write("r1", ["old one", "old two"], 1)
    write("r2", ["new one", "new two", "new three"], 10)
    assert kubectl.ok("logs", "web", "-n", space).out == "new one\nnew two\nnew three\n"
    assert kubectl.ok("logs", "web", "-n", space, "--previous").out == "old one\nold two\n"
    assert kubectl.ok("logs", "web", "-n", space, "--tail=1").out == "new three\n"
    assert kubectl.ok("logs", "web", "-n", space, "--since=1h", "-c", "app").out.startswith("new one")
    assert kubectl.ok("logs", "web", "-n", space, "--limit-bytes=9").out == "new one\nn"
    stamped = kubectl.ok("logs", "web", "-n", space, "--timestamps", "--tail=1").out
    assert stamped.endswith("Z new three\n")
    assert "is not valid for pod" in kubectl.fails("logs", "web", "-n", space, "-c", "other")
    with kubectl.start("logs", "web", "-n", space, "-f", "--tail=1") as following:
        following.wait_line("new three")
        write("r2", ["later"], 20)
        following.wait_line("later")
        write("r3", ["after a restart"], 30)
        following.wait_line("after a restart")
        kubectl.ok("delete", "app", "web", "-n", space)
