"""A server of one node: what it writes, answers, deploys."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
from typing import Any

import pytest
import yaml

from eaves.testing import kubernetes
from eaves.testing.daemons import wait_for
from eaves.testing.k3s import Release
from eaves.testing.k3s_host import K3sHost
from eaves.testing.k3s_images import BUSYBOX

LIMIT_S = 120.0
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME, namespace: default}\ndata: {key: value}\n"


def get(server: K3sHost, path: str) -> Any:
    return json.loads(server.ask(path) or "{}")


def get_map(server: K3sHost, name: str) -> Any:
    """A ConfigMap of the default namespace; empty when there is none."""
    return get(server, f"/api/v1/namespaces/default/configmaps/{name}")


def test_the_token_names_the_authority(server: K3sHost) -> None:
    token = server.read("server/token").strip()
    authority = hashlib.sha256((server.data / "server/tls/server-ca.crt").read_bytes()).hexdigest()
    assert re.fullmatch(rf"K10{authority}::server:\S+", token)
    assert server.read("server/node-token").strip() == token
    assert (server.data / "server/token").stat().st_mode & 0o077 == 0


def test_anybody_is_told_the_authority_and_nothing_else(server: K3sHost) -> None:
    shown = server.machine.run("curl", "-sk", f"{server.url()}/cacerts")
    assert shown == server.read("server/tls/server-ca.crt")
    assert server.machine.run("curl", "-sk", f"{server.url()}/ping") == "pong"
    for path in ("/v1-k3s/config", "/v1-k3s/server-bootstrap", "/api/v1/nodes"):
        code = server.machine.run("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", f"{server.url()}{path}")
        assert code == "401", path


def test_the_kubeconfig_is_the_administrators(server: K3sHost) -> None:
    path = server.machine.path("/etc/rancher/k3s/k3s.yaml")
    assert path.stat().st_mode & 0o777 == 0o600
    document = yaml.safe_load(path.read_text())
    assert document["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    assert {"client-certificate-data", "client-key-data"} <= set(document["users"][0]["user"])
    assert (
        json.loads(server.kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"] == "system:admin"
    )


def test_the_server_certificate_bears_its_names(server: K3sHost) -> None:
    pem = server.machine.run(
        "sh", "-c", f"openssl s_client -connect {server.machine.address}:6443 </dev/null 2>/dev/null | openssl x509"
    )
    assert ssl.PEM_cert_to_DER_cert(pem)
    names = server.machine.run("sh", "-c", f"echo '{pem}' | openssl x509 -noout -ext subjectAltName")
    for name in ("DNS:kubernetes.default.svc", "IP Address:127.0.0.1", f"IP Address:{server.machine.address}"):
        assert name in names


def test_the_node_bears_role_label_address_and_version(server: K3sHost) -> None:
    wait_for("the role", lambda: "node-role.kubernetes.io/etcd" in server.ask("/api/v1/nodes"), LIMIT_S)
    node = get(server, f"/api/v1/nodes/{server.machine.name}")
    labels = node["metadata"]["labels"]
    assert labels["node-role.kubernetes.io/control-plane"] == "true"
    assert labels["tier"] == "edge"
    assert {"type": "InternalIP", "address": server.machine.address} in node["status"]["addresses"]
    assert node["status"]["nodeInfo"]["kubeletVersion"] == server.release.version
    assert node["spec"]["podCIDR"].startswith("10.42.")


def test_names_are_resolved_for_pods(server: K3sHost) -> None:
    server.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=180s")
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "asks", "namespace": "default"},
        "spec": {
            "restartPolicy": "OnFailure",
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {"name": "c", "image": BUSYBOX, "command": ["nslookup", "kubernetes.default.svc.cluster.local"]}
            ],
        },
    }
    server.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    server.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/asks", "--timeout=180s")
    assert "10.43.0.1" in server.kubectl("logs", "asks")
    server.kubectl("delete", "pod", "asks", "--wait=false")


def test_manifests_are_applied_changed_and_kept(server: K3sHost) -> None:
    file = server.data / "server/manifests/own.yaml"
    first, second = (CONFIG_MAP.replace("NAME", name) for name in ("own-first", "own-second"))
    file.write_text(f"{first}---\n{second}")
    wait_for(
        "both objects",
        lambda: get_map(server, "own-first") and get_map(server, "own-second"),
        LIMIT_S,
    )
    wait_for("the add-on", lambda: get(server, "/apis/k3s.cattle.io/v1/namespaces/kube-system/addons/own"), LIMIT_S)
    file.write_text(first.replace("value", "other"))
    wait_for("the changed object", lambda: get_map(server, "own-first")["data"] == {"key": "other"}, LIMIT_S)
    wait_for("the dropped object to go", lambda: not get_map(server, "own-second"), LIMIT_S)
    file.unlink()
    # K3s keeps what a removed file made; another file is applied meanwhile, so that the folder was looked at since.
    other = server.data / "server/manifests/later.yaml"
    other.write_text(CONFIG_MAP.replace("NAME", "later"))
    wait_for("the later object", lambda: get_map(server, "later"), LIMIT_S)
    assert get_map(server, "own-first")
    other.unlink()


def test_a_manifest_with_a_fault_is_told_of_and_stops_no_other(server: K3sHost) -> None:
    bad, good = server.data / "server/manifests/bad.yaml", server.data / "server/manifests/good.yaml"
    bad.write_text("apiVersion: v1\nkind: NoSuchKind\nmetadata: {name: x}\n")
    good.write_text(CONFIG_MAP.replace("NAME", "good"))
    wait_for("the good one", lambda: get_map(server, "good"), LIMIT_S)
    wait_for("word of the bad one", lambda: "NoSuchKind" in server.daemon.log.read_text(), LIMIT_S)
    for file in (bad, good):
        file.unlink()


def test_a_file_with_skip_is_not_applied(server: K3sHost) -> None:
    folder = server.data / "server/manifests"
    (folder / "never.yaml.skip").touch()
    (folder / "never.yaml").write_text(CONFIG_MAP.replace("NAME", "never"))
    (folder / "ever.yaml").write_text(CONFIG_MAP.replace("NAME", "ever"))
    wait_for("the other one", lambda: get_map(server, "ever"), LIMIT_S)
    assert not get_map(server, "never")
    for name in ("never.yaml", "never.yaml.skip", "ever.yaml"):
        (folder / name).unlink()


def test_secrets_are_encrypted_at_rest(server: K3sHost) -> None:
    server.kubectl("create", "secret", "generic", "hidden", "--from-literal=key=a-word-in-clear-text")
    server.k3s("etcd-snapshot", "save", "--name", "secrets")
    snapshot = next(
        path for path in (server.data / "server/db/snapshots").iterdir() if path.name.startswith("secrets-")
    )
    assert b"a-word-in-clear-text" not in snapshot.read_bytes()
    assert "Encryption Status: Enabled" in server.k3s("secrets-encrypt", "status")
    snapshot.unlink()


def test_snapshots_are_saved_listed_pruned_and_deleted(server: K3sHost) -> None:
    for _ in range(3):
        server.k3s("etcd-snapshot", "save", "--name", "mine")
    listed = json.loads(server.k3s("etcd-snapshot", "ls", "-o", "json"))
    names = [
        item["spec"]["snapshotName"] for item in listed["items"] if item["spec"]["snapshotName"].startswith("mine-")
    ]
    assert len(names) == 3
    assert all(re.fullmatch(rf"mine-{server.machine.name}-\d+", name) for name in names)
    server.k3s("etcd-snapshot", "prune", "--name", "mine", "--snapshot-retention", "1")
    left = [path.name for path in (server.data / "server/db/snapshots").iterdir() if path.name.startswith("mine-")]
    assert len(left) == 1
    server.k3s("etcd-snapshot", "delete", left[0])
    assert left[0] not in server.k3s("etcd-snapshot", "ls")


def test_certificates_are_checked(server: K3sHost) -> None:
    out = server.k3s("certificate", "check", "--output", "table")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0][:2] == ["FILENAME", "SUBJECT"]
    assert {"client-admin.crt", "serving-kube-apiserver.crt"} <= {words[0] for words in lines if words}
    assert "EXPIRED" not in out


def test_bootstrap_tokens_are_made_listed_and_deleted(server: K3sHost) -> None:
    token = server.k3s("token", "create", "--description", "for a test").strip()
    assert token.startswith("K10")
    name = token.rpartition("::")[2].partition(".")[0]
    assert name in server.k3s("token", "list")
    server.k3s("token", "delete", name)
    assert name not in server.k3s("token", "list")


@pytest.mark.parametrize("command", ["exec", "port"])
def test_streams_pass_the_server_port(server: K3sHost, command: str) -> None:
    name = f"stream-{command}"
    container = {
        "name": "c",
        "image": BUSYBOX,
        "command": ["sh", "-c", "echo hello > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"],
    }
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    server.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    server.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=180s")
    if command == "exec":
        assert server.kubectl("exec", "-i", name, "--", "sh", "-c", "cat", stdin="round trip") == "round trip"
    else:
        path = f"/api/v1/namespaces/default/pods/{name}:8080/proxy/"
        assert server.kubectl("get", "--raw", path) == "hello\n"
    server.kubectl("delete", "pod", name, "--wait=false")


def test_containers_are_seen_by_crictl(server: K3sHost, release: Release) -> None:
    if release.is_standin and kubernetes.find_module("crictl") is None:
        pytest.skip("crictl is not built: run tools/build_kubernetes.py")

    def find_pod() -> Any:
        pods = json.loads(server.k3s("crictl", "pods", "--output", "json"))["items"]
        return next((pod for pod in pods if pod["metadata"]["namespace"] == "kube-system"), None)

    pod = wait_for("a pod of its own", find_pod, LIMIT_S)
    assert pod["metadata"]["name"] in server.ask("/api/v1/namespaces/kube-system/pods")
    assert BUSYBOX in server.k3s("crictl", "images", "--output", "json")
