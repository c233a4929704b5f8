"""``kubectl eaves kubeconfig``, and stock kubectl through it to a whole Kubernetes-style API behind the proxy."""

from __future__ import annotations

import datetime
import os
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from eaves.controller.api.http import Request
from eaves.controller.api.identity import Identity
from eaves.node.clusters.model import ClusterApi
from eaves.node.tunnel.clusterhttp import ClusterHttp
from eaves.testing.kubectl import Kubectl
from eaves.testing.linked_tunnel import LinkedTunnel
from eaves.testing.operator_api import ADMIN_TOKEN, ServedApi
from eaves.wire.tunnel import StreamKind

pytestmark = pytest.mark.contract


class Trusting:
    """As K3s trusts its admin certificate: whoever comes may impersonate anybody."""

    async def authenticate(self, request: Request) -> Identity:
        assert not request.header(b"authorization")
        return Identity("system:admin", ("system:masters",))


class Site:
    """A controller, and another API in the place of a cluster's."""

    def __init__(self, folder: Path) -> None:
        for name in ("inner", "outer", "home", "certs"):
            (folder / name).mkdir()
        self.folder = folder
        self.inner = ServedApi(folder / "inner", authenticator=Trusting())
        tunnel = LinkedTunnel({StreamKind.HTTP: ClusterHttp(self._find_api)})
        self.outer = ServedApi(folder / "outer", tunnel=tunnel)
        issued = trustme.CA().issue_cert(common_name="system:admin")
        issued.private_key_pem.write_to_path(folder / "certs/admin.key")
        issued.cert_chain_pems[0].write_to_path(folder / "certs/admin.crt")
        self.kubectl = Kubectl(self.outer.kubeconfig, folder / "home")

    def _find_api(self, _cluster: str) -> ClusterApi:
        port = int(self.inner.server.rpartition(":")[2])
        certs = self.folder / "certs"
        return ClusterApi("127.0.0.1", port, self.inner.ca_file, certs / "admin.crt", certs / "admin.key")

    def add_cluster(self) -> str:
        name = f"shop-{uuid.uuid4().hex[:6]}"
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        meta = {"name": name, "namespace": "default", "uid": str(uuid.uuid4()), "creationTimestamp": now}
        members = [{"nodeName": "n1", "id": "id-n1", "role": "Server", "apiReady": True, "want": "Ready"}]
        spec = {"version": "v1.34.2+k3s1", "servers": {"nodeNames": ["n1"]}}
        obj: Any = {"apiVersion": "eaves.dev/v1alpha1", "kind": "K3sCluster", "metadata": meta, "spec": spec}
        self.outer.call(self.outer.bench.put({**obj, "status": {"members": members}}))
        return name

    def eaves(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name("kubectl-eaves")
        environment = {**os.environ, "KUBECONFIG": str(self.outer.kubeconfig), "HOME": str(self.folder / "home")}
        return subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    with site.inner, site.outer:
        yield site


def test_a_context_is_written_beside_the_others_and_again(site: Site) -> None:
    name = site.add_cluster()
    for _ in range(2):
        done = site.eaves("kubeconfig", name)
        assert done.returncode == 0, done.stderr
        assert f"kubectl --context {name} get nodes" in done.stderr
    config = yaml.safe_load(site.outer.kubeconfig.read_text())
    assert config["current-context"] == "eaves"
    assert [each["name"] for each in config["users"]] == ["admin"]
    entry = next(each["cluster"] for each in config["clusters"] if each["name"] == name)
    assert entry["server"] == f"{site.outer.server}/apis/eaves.dev/v1alpha1/namespaces/default/k3sclusters/{name}/proxy"
    assert stat.S_IMODE(site.outer.kubeconfig.stat().st_mode) == 0o600


def test_kubectl_works_through_it(site: Site) -> None:
    name = site.add_cluster()
    assert site.eaves("kubeconfig", name).returncode == 0
    there = ("--context", name)
    site.kubectl.ok("create", "namespace", name, *there)
    site.kubectl.ok("create", "configmap", "greeting", "--from-literal=a=b", "-n", name, *there)
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: greeting}\ndata: {c: d}\n"
    site.kubectl.ok("apply", "--server-side", "-n", name, "-f", "-", *there, stdin=text)
    assert site.kubectl.ok("get", "configmap", "greeting", "-n", name, "-o", "json", *there).json()["data"] == {
        "a": "b",
        "c": "d",
    }
    assert "greeting" in site.kubectl.ok("describe", "configmap", "greeting", "-n", name, *there).out
    assert "NotFound" in site.kubectl.fails("get", "namespace", name)
    with site.kubectl.start("get", "configmaps", "-n", name, "-w", "-o", "name", *there) as watch:
        watch.wait_line("configmap/greeting")
        site.kubectl.ok("create", "configmap", "later", "-n", name, *there)
        watch.wait_line("configmap/later")
    who = site.kubectl.ok("auth", "whoami", "-o", "json", *there).json()["status"]["userInfo"]
    assert (who["username"], "system:masters" in who["groups"]) == ("admin", True)


def test_a_file_of_its_own_is_private(site: Site) -> None:
    name = site.add_cluster()
    path = site.folder / f"{name}.yaml"
    path.touch(mode=0o644)
    assert site.eaves("kubeconfig", name, "--output", str(path), "--name", "mine").returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    config = yaml.safe_load(path.read_text())
    assert config["current-context"] == "mine"
    assert config["users"][0]["user"] == {"token": ADMIN_TOKEN}
    assert yaml.safe_load(site.eaves("kubeconfig", name, "--stdout", "--name", "mine").stdout) == config
    assert Kubectl(path, site.folder / "home").ok("get", "namespaces", "-o", "name").out


def test_what_it_refuses(site: Site) -> None:
    name = site.add_cluster()
    missing = site.eaves("kubeconfig", "nowhere")
    assert missing.returncode != 0
    assert "not found" in missing.stderr
    taken = site.eaves("kubeconfig", name, "--name", "eaves")
    assert taken.returncode != 0
    assert "--name" in taken.stderr
    assert site.eaves("kubeconfig", name).returncode == 0
    through = site.eaves("kubeconfig", name, "--context", name)
    assert through.returncode != 0
    assert "not to the controller" in through.stderr
