"""Several machines, and what may befall them: joining, leaving, snapshots on blank disks, certificates, kills and power cuts."""

from __future__ import annotations

import datetime
import json
import shutil
import time
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from eaves.testing.daemons import wait_for
from eaves.testing.k3s import Release
from eaves.testing.k3s_host import K3sHost
from eaves.testing.k3s_images import BUSYBOX
from eaves.testing.k3s_machine import Machine
from tests.contract.k3s.conftest import MakeMachine

LIMIT_S = 240.0


def start_first(machine: Machine, release: Release, **options: object) -> K3sHost:
    host = K3sHost(machine, release, "server", cluster_init=True, **options)
    host.start()
    host.wait_ready()
    return host


def start_joining(machine: Machine, release: Release, first: K3sHost, role: str, **options: object) -> K3sHost:
    token = first.read("server/node-token").strip()
    host = K3sHost(machine, release, role, server=first.url(), token=token, **options)
    host.start()
    return host


def members(host: K3sHost) -> list[str]:
    """Nodes that are members of etcd, as the cluster's own API tells."""
    text = host.ask("/api/v1/nodes")
    nodes = json.loads(text)["items"] if text else []
    return sorted(n["metadata"]["name"] for n in nodes if n["metadata"]["labels"].get("node-role.kubernetes.io/etcd"))


def write_marker(host: K3sHost, name: str) -> None:
    host.kubectl("create", "configmap", name, "--from-literal=key=value")


def has_marker(host: K3sHost, name: str) -> bool:
    return bool(host.ask(f"/api/v1/namespaces/default/configmaps/{name}"))


def test_sqlite_without_options_survives_kill_and_stop(release: Release, make_machine: MakeMachine) -> None:
    machine = make_machine()
    host = K3sHost(machine, release, "server")
    host.start()
    host.wait_ready()
    assert (host.data / "server/db/state.db").exists()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "lasting"},
        "spec": {"containers": [{"name": "c", "image": BUSYBOX, "command": ["sleep", "1000000"]}]},
    }
    host.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    host.kubectl("wait", "--for=condition=Ready", "pod/lasting", "--timeout=180s")
    write_marker(host, "before-kill")
    host.daemon.kill()
    host.start()
    host.wait_ready()
    assert has_marker(host, "before-kill")
    # Pods go on while K3s is away, killed or stopped.
    restarts = host.kubectl("get", "pod", "lasting", "-o", "jsonpath={.status.containerStatuses[0].restartCount}")
    assert restarts == "0"
    started = time.monotonic()
    assert host.daemon.stop() == 0
    assert time.monotonic() - started < 20
    assert "sleep" in machine.run("sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '")
    machine.cut_power()
    host.start()
    host.wait_ready()
    host.kubectl("wait", "--for=condition=Ready", "pod/lasting", "--timeout=180s")
    host.daemon.stop()


def test_options_come_from_files_and_their_additions(release: Release, make_machine: MakeMachine) -> None:
    machine = make_machine()
    host = K3sHost(machine, release, "server", node_label=["from=file", "kept=yes"], write_kubeconfig_mode="0644")
    folder = host.config.with_name("config.yaml.d")
    folder.mkdir()
    (folder / "10-first.yaml").write_text(
        yaml.safe_dump({"node-label+": ["added=yes"], "write-kubeconfig-mode": "0600"})
    )
    (folder / "20-second.yaml").write_text(yaml.safe_dump({"write-kubeconfig-mode": "0640"}))
    host.start()
    host.wait_ready()
    labels = json.loads(host.kubectl("get", "node", machine.name, "-o", "json"))["metadata"]["labels"]
    assert (labels["from"], labels["kept"], labels["added"]) == ("file", "yes", "yes")
    assert machine.path("/etc/rancher/k3s/k3s.yaml").stat().st_mode & 0o777 == 0o640
    host.daemon.stop()


def test_an_agent_joins_and_pods_reach_each_other(release: Release, make_machine: MakeMachine) -> None:
    server = start_first(make_machine(), release)
    machine = make_machine()
    agent = start_joining(
        machine, release, server, "agent", node_label=["role=worker"], node_taint=["spare=yes:PreferNoSchedule"]
    )
    agent.daemon.wait("the agent's node", lambda: server.is_node_ready(machine.name), LIMIT_S)
    node = json.loads(server.kubectl("get", "node", machine.name, "-o", "json"))
    assert node["metadata"]["labels"]["role"] == "worker"
    assert "node-role.kubernetes.io/control-plane" not in node["metadata"]["labels"]
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {
                "nodeName": host.machine.name,
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "c",
                        "image": BUSYBOX,
                        "command": ["sh", "-c", f"echo {name} > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"],
                    }
                ],
            },
        }
        for name, host in (("on-server", server), ("on-agent", agent))
    ]
    server.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))
    server.kubectl("wait", "--for=condition=Ready", "pod/on-server", "pod/on-agent", "--timeout=180s")
    address = server.kubectl("get", "pod", "on-agent", "-o", "jsonpath={.status.podIP}")
    # A static busybox cannot resolve names for its wget, and crashes.
    ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {address} 8080"
    wait_for(
        "an answer over the pods' network",
        lambda: "on-agent" in server.kubectl("exec", "on-server", "--", "sh", "-c", ask, check=False),
        60,
    )
    assert server.kubectl("logs", "on-agent") == ""
    agent.daemon.kill()
    agent.start()
    # The Node is called ready for a while longer: only its kubelet can run a command in a pod.
    run = ("exec", "on-agent", "--", "echo", "back")
    agent.daemon.wait("the agent's kubelet", lambda: "back" in server.kubectl(*run, check=False), LIMIT_S)
    assert agent.daemon.stop() == 0
    server.daemon.stop()


def test_a_wrong_token_and_a_foreign_authority_are_refused(release: Release, make_machine: MakeMachine) -> None:
    server = start_first(make_machine(), release)
    token = server.read("server/node-token").strip()
    machine = make_machine()
    for wrong, word in ((token[:-4] + "0000", "not authorized"), ("K10" + "0" * 64 + token[67:], "CA hash")):
        host = K3sHost(machine, release, "server", server=server.url(), token=wrong)
        host.start()
        wait_for("K3s to refuse", lambda host=host: not host.daemon.is_running, 120, host.daemon.tail)  # type: ignore[misc]
        assert word in host.daemon.log.read_text()
    assert server.nodes() == [server.machine.name]
    server.daemon.stop()


@pytest.mark.soak
def test_three_servers_lose_one_and_take_another(release: Release, make_machine: MakeMachine) -> None:
    first = start_first(make_machine(), release)
    others = []
    for _ in range(2):
        host = start_joining(make_machine(), release, first, "server")
        host.wait_ready()
        others.append(host)
    wait_for("three members", lambda: len(members(first)) == 3, LIMIT_S)
    write_marker(first, "of-three")

    # Two of three go on without the first, and it comes back.
    first.daemon.kill()
    second, third = others
    second.daemon.wait("the API of the second", second.is_api_ready, LIMIT_S)
    wait_for("a write without the first", lambda: _try_marker(second, "of-two"), LIMIT_S)
    first.machine.cut_power()
    first.start()
    first.wait_ready()
    assert has_marker(first, "of-two")

    # A node that is deleted is a member no more, and a machine of the same name with an empty disk takes its place.
    third.daemon.stop()
    third.machine.cut_power()
    first.kubectl("delete", "node", third.machine.name)
    wait_for("two members", lambda: third.machine.name not in members(first), LIMIT_S)
    shutil.rmtree(third.data / "server")
    shutil.rmtree(third.data / "agent" / "containerd")
    third.start()
    third.wait_ready()
    wait_for("three members again", lambda: len(members(first)) == 3, LIMIT_S)
    assert has_marker(third, "of-three")
    # The last of them has no quorum left, and ends as slowly as etcd gives up: that is not what is shown here.
    for host in (first, second, third):
        host.daemon.kill()


@pytest.mark.soak
def test_a_member_that_is_taken_out_joins_anew_when_it_is_started(release: Release, make_machine: MakeMachine) -> None:
    first = start_first(make_machine(), release)
    second = start_joining(make_machine(), release, first, "server")
    second.wait_ready()
    wait_for("two members", lambda: len(members(first)) == 2, LIMIT_S)
    write_marker(first, "of-two")
    name = second.machine.name

    def annotations() -> dict[str, str]:
        found: dict[str, str] = json.loads(first.kubectl("get", "node", name, "-o", "json"))["metadata"]["annotations"]
        return found

    former = annotations()["etcd.k3s.cattle.io/node-name"]
    first.kubectl("annotate", "node", name, "etcd.k3s.cattle.io/remove=true")
    tombstone = second.data / "server/db/etcd/tombstone"
    wait_for("word on its own disk", tombstone.exists, LIMIT_S, second.daemon.tail)
    assert annotations()["etcd.k3s.cattle.io/removed-node-name"] == former
    second.daemon.kill()
    second.start()
    second.wait_ready()
    assert not tombstone.exists()
    assert has_marker(second, "of-two")
    wait_for("another member", lambda: annotations().get("etcd.k3s.cattle.io/node-name", former) != former, LIMIT_S)
    for host in (first, second):
        host.daemon.kill()


def test_a_snapshot_comes_back_on_blank_hardware(release: Release, make_machine: MakeMachine, tmp_path: Path) -> None:
    first = start_first(make_machine(), release, token="a-token-of-the-test")
    write_marker(first, "before")
    first.k3s("etcd-snapshot", "save", "--name", "kept")
    write_marker(first, "after")
    snapshot = next(path for path in (first.data / "server/db/snapshots").iterdir() if path.name.startswith("kept-"))
    kept = Path(shutil.copy(snapshot, tmp_path))
    authority = first.read("server/tls/server-ca.crt")
    name = first.machine.name
    first.daemon.kill()
    first.machine.close()

    machine = make_machine()
    blank = K3sHost(machine, release, "server", cluster_init=True, token="a-token-of-the-test")
    reset = ("server", "--cluster-reset", f"--cluster-reset-restore-path={kept}")
    assert "membership has been reset" in _run_all(blank, *reset)
    assert (blank.data / "server/db/reset-flag").exists()
    blank.start()
    blank.wait_ready()
    assert not (blank.data / "server/db/reset-flag").exists()
    assert has_marker(blank, "before")
    assert not has_marker(blank, "after")
    assert blank.read("server/tls/server-ca.crt") == authority
    assert set(blank.nodes()) == {name, machine.name}
    blank.daemon.stop()


def test_a_snapshot_is_of_no_use_without_its_token(release: Release, make_machine: MakeMachine, tmp_path: Path) -> None:
    first = start_first(make_machine(), release, token="the-right-one")
    first.k3s("etcd-snapshot", "save", "--name", "kept")
    snapshot = next((first.data / "server/db/snapshots").iterdir())
    kept = Path(shutil.copy(snapshot, tmp_path))
    first.daemon.stop()
    blank = K3sHost(make_machine(), release, "server", cluster_init=True, token="a-wrong-one")
    out = _run_all(blank, "server", "--cluster-reset", f"--cluster-reset-restore-path={kept}", check=False)
    assert "token" in out
    assert "membership has been reset" not in out


def test_certificates_are_renewed_when_they_have_ended_and_rotated_when_asked(
    release: Release, make_machine: MakeMachine
) -> None:
    host = start_first(make_machine(), release)
    host.daemon.stop()
    before = {name: _serial(host, name) for name in ("client-admin", "serving-kube-apiserver", "client-scheduler")}
    _age(host, "client-admin", "serving-kube-apiserver", "client-scheduler")
    assert "EXPIRED" in host.k3s("certificate", "check", "--output", "table")
    host.start()
    host.wait_ready()
    assert "EXPIRED" not in host.k3s("certificate", "check", "--output", "table")
    host.daemon.stop()
    renewed = {name: _serial(host, name) for name in before}
    assert all(renewed[name] != before[name] for name in before)
    host.k3s("certificate", "rotate")
    host.start()
    host.wait_ready()
    assert all(_serial(host, name) != renewed[name] for name in before)
    host.daemon.stop()


def test_the_token_is_rotated(release: Release, make_machine: MakeMachine) -> None:
    host = start_first(make_machine(), release, token="the-former-one")
    # As a request to the supervisor, by whom knows the present token alone.
    ask = ("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "-X", "PUT", "-d", '{"newToken": "one-between"}')
    place = ("-H", "Content-Type: application/json", "https://127.0.0.1:6443/v1-k3s/token")
    assert host.machine.run(*ask, "-u", "server:a-wrong-one", *place).strip() == "401"
    assert host.machine.run(*ask, "-u", "server:the-former-one", *place).strip() == "200"
    host.daemon.stop()
    host.config.write_text(yaml.safe_dump({**yaml.safe_load(host.config.read_text()), "token": "one-between"}))
    host.start()
    host.wait_ready()
    host.k3s("token", "rotate", "--token", "one-between", "--new-token", "the-new-one")
    host.daemon.stop()
    config = yaml.safe_load(host.config.read_text())
    host.config.write_text(yaml.safe_dump({**config, "token": "the-new-one"}))
    host.start()
    host.wait_ready()
    assert host.read("server/token").strip().endswith("::server:the-new-one")
    host.daemon.stop()


@pytest.mark.soak
def test_a_server_is_upgraded_in_place(releases: list[Release], make_machine: MakeMachine) -> None:
    if len(releases) < 2:
        pytest.skip("one version of K3s alone: set EAVES_K3S_BINARY=NEW:OLD, or run tools/build_kubernetes.py")
    new, old = releases[:2]
    machine = make_machine()
    host = start_first(machine, old)
    assert _kubelet_version(host) == old.version
    write_marker(host, "of-the-old")
    host.daemon.stop()
    upgraded = K3sHost(machine, new, "server", cluster_init=True)
    upgraded.start()
    upgraded.wait_ready()
    wait_for("the new version", lambda: _kubelet_version(upgraded) == new.version, LIMIT_S)
    assert has_marker(upgraded, "of-the-old")
    upgraded.daemon.stop()


def _kubelet_version(host: K3sHost) -> str:
    return host.kubectl("get", "node", host.machine.name, "-o", "jsonpath={.status.nodeInfo.kubeletVersion}")


def _try_marker(host: K3sHost, name: str) -> bool:
    host.kubectl("create", "configmap", name, "--from-literal=key=value", check=False)
    return has_marker(host, name)


def _run_all(host: K3sHost, *arguments: str, check: bool = True) -> str:
    """Output and messages of a command on the machine together."""
    command = " ".join([str(host.release.program), *arguments])
    return host.machine.run("sh", "-c", f"{command} 2>&1", check=check, limit_s=LIMIT_S)


def _serial(host: K3sHost, name: str) -> str:
    path = host.data / f"server/tls/{name}.crt"
    return host.machine.run("openssl", "x509", "-in", str(path), "-noout", "-serial")


def _age(host: K3sHost, *names: str) -> None:
    """Let certificates have ended: made anew by the cluster's own authority for a time that is over, as after months without power."""
    tls = host.data / "server/tls"
    now = datetime.datetime.now(datetime.UTC)
    for name in names:
        authority = "server-ca" if name.startswith("serving") else "client-ca"
        key = serialization.load_pem_private_key((tls / f"{authority}.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        chain = (tls / f"{name}.crt").read_bytes()
        leaf, *others = x509.load_pem_x509_certificates(chain)
        builder = (
            x509.CertificateBuilder(leaf.issuer, leaf.subject, leaf.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=400))
            .not_valid_after(now - datetime.timedelta(days=35))
        )
        for extension in leaf.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        made = [builder.sign(key, hashes.SHA256()), *others]
        (tls / f"{name}.crt").write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in made))
