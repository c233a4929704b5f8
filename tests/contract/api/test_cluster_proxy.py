"""The API of a cluster through the controller: over TLS on both sides, the node's own handler between them, and real HTTP all the way."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import select
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from eaves.node.clusters.errors import ClusterError
from eaves.node.clusters.model import ClusterApi
from eaves.node.tunnel.clusterhttp import ClusterHttp
from eaves.testing.cluster_api import PIECE, ClusterApiServer
from eaves.testing.linked_tunnel import LinkedTunnel, LinkedTunnels
from eaves.testing.operator_api import ADMIN_TOKEN, USER_TOKEN, ServedApi
from eaves.wire.tunnel import StreamKind

pytestmark = pytest.mark.contract

MIB = 1 << 20
TIMEOUT_S = 60.0
NODES = ("alpha", "beta")


class Stage:
    """Two nodes, each with a server of every cluster that a test makes."""

    def __init__(self, folder: Path) -> None:
        self.servers = {name: ClusterApiServer(folder / name) for name in NODES}
        self.tunnels = {name: LinkedTunnel({StreamKind.HTTP: ClusterHttp(self._finder(name))}) for name in NODES}
        self.served = ServedApi(folder / "api", tunnel=LinkedTunnels({f"id-{n}": t for n, t in self.tunnels.items()}))
        self.folder = folder
        self.absent: set[str] = set()

    def _finder(self, node: str) -> Any:
        def find(cluster: str) -> ClusterApi:
            if node in self.absent:
                raise ClusterError("this node is no server of the cluster", element=cluster)
            return self.servers[node].api

        return find

    def start(self, name: str) -> None:
        self.served.call(self._start(name))

    async def _start(self, name: str) -> None:
        self.servers[name] = ClusterApiServer(self.folder / f"{name}-{uuid.uuid4().hex[:6]}")
        await self.servers[name].start()

    def stop(self, name: str) -> None:
        self.served.call(self.servers[name].stop())

    def add_cluster(self, *rules: Mapping[str, Any], **status: Any) -> Cluster:
        """A cluster of both nodes."""
        name = f"c-{uuid.uuid4().hex[:8]}"
        members = [
            {"nodeName": node, "id": f"id-{node}", "role": "Server", "apiReady": True, "want": "Ready"}
            for node in NODES
        ]
        uid = str(uuid.uuid4())
        meta = {"name": name, "namespace": "default", "uid": uid, "creationTimestamp": "2026-11-28T00:00:00Z"}
        spec = {"version": "v1.34.2+k3s1", "servers": {"nodeNames": list(NODES)}}
        kind = {"apiVersion": "eaves.dev/v1alpha1", "kind": "K3sCluster"}
        self._put({**kind, "metadata": meta, "spec": spec, "status": {"members": members, "leader": "alpha", **status}})
        if rules:
            meta = {**meta, "uid": str(uuid.uuid4())}
            access = {"clusterRef": {"name": name}, "rules": list(rules)}
            self._put({**kind, "kind": "K3sClusterAccess", "metadata": meta, "spec": access})
        return Cluster(self, name, uid)

    def _put(self, obj: Any) -> None:
        self.served.call(self.served.bench.put(obj))


class Cluster:
    """Where clients find it."""

    def __init__(self, stage: Stage, name: str, uid: str) -> None:
        self.name, self.uid, self._stage = name, uid, stage
        self.path = f"/apis/eaves.dev/v1alpha1/namespaces/default/k3sclusters/{name}/proxy"

    def connect(self) -> http.client.HTTPSConnection:
        host, port = self._stage.served.server.removeprefix("https://").split(":")
        context = ssl.create_default_context(cafile=str(self._stage.served.ca_file))
        return http.client.HTTPSConnection(host, int(port), context=context, timeout=TIMEOUT_S)

    def ask(
        self, path: str, method: str = "GET", body: Any = None, token: str = ADMIN_TOKEN, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = self.connect()
        try:
            connection.request(method, self.path + path, body, {"Authorization": f"Bearer {token}", **headers})
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def echo(self, path: str = "/echo", method: str = "GET", body: Any = None, **options: Any) -> Any:
        answer, text = self.ask(path, method, body, **options)
        assert answer.status == 200, text
        return json.loads(text)

    def raw(self, request: str) -> ssl.SSLSocket:
        """A connection after this head was sent."""
        host, port = self._stage.served.server.removeprefix("https://").split(":")
        context = ssl.create_default_context(cafile=str(self._stage.served.ca_file))
        made = context.wrap_socket(socket.create_connection((host, int(port)), TIMEOUT_S), server_hostname=host)
        lines = f"Host: controller\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n"
        made.sendall(request.replace("PATH", self.path).replace("\n", "\r\n").encode() + lines.encode() + b"\r\n")
        return made


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("proxy"))
    (stage.folder / "api").mkdir()
    with stage.served:
        for name in NODES:
            stage.start(name)
        yield stage
        for name in NODES:
            stage.stop(name)


@pytest.fixture(autouse=True)
def whole(stage: Stage) -> Iterator[None]:
    """Each test finds both nodes well."""
    yield
    stage.absent.clear()
    for tunnel in stage.tunnels.values():
        tunnel.is_online = True


def headers_of(echo: Any) -> dict[str, str]:
    return dict(echo["headers"])


def read_until(made: ssl.SSLSocket, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        data = made.recv(65536)
        assert data, received
        received += data
    return received


def exchange(made: ssl.SSLSocket, payload: bytes) -> bytes:
    """Send it and receive as much, at the same time but in one thread: Python's TLS is not safe for two on one connection."""
    made.setblocking(False)
    rest, received = memoryview(payload), bytearray()
    while len(received) < len(payload):
        if rest:
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                rest = rest[made.send(rest[:65536]) :]
        try:
            data = made.recv(65536)
        except ssl.SSLWantReadError:
            ready = select.select([made], [made] if rest else [], [], TIMEOUT_S)
            assert any(ready), "nothing comes back"
            continue
        assert data, "the connection ended"
        received += data
    made.settimeout(TIMEOUT_S)
    return bytes(received)


def test_the_caller_is_impersonated_and_his_credential_stays_here(stage: Stage) -> None:
    cluster = stage.add_cluster()
    claims = {"Impersonate-Group": "nothing", "X-Remote-User": "root", "Cookie": "secret", "X-Mine": "kept"}
    claims.pop("Impersonate-Group")
    echo = cluster.echo("/echo?a=%2F&b=c", **claims)
    headers = headers_of(echo)
    assert echo["target"] == "/echo?a=%2F&b=c"
    assert (headers["impersonate-user"], headers["impersonate-group"]) == ("admin", "system:masters")
    assert headers["x-mine"] == "kept"
    assert not headers.keys() & {"authorization", "cookie", "x-remote-user"}
    assert ADMIN_TOKEN not in json.dumps(echo)


def test_roles_open_the_way_and_access_rules_say_as_whom(stage: Stage) -> None:
    cluster = stage.add_cluster({"groups": ["staff"], "clusterGroups": ["eaves:view", "shop"]})
    answer, text = cluster.ask("/echo", token=USER_TOKEN)
    assert answer.status == 403
    assert 'cannot get resource "k3sclusters/proxy" in API group "eaves.dev"' in json.loads(text)["message"]
    bind(stage, cluster, ["get"])
    deadline = time.monotonic() + 60
    while cluster.ask("/echo", token=USER_TOKEN)[0].status != 200:
        assert time.monotonic() < deadline, "the binding does not count"
    echo = cluster.echo("/echo", token=USER_TOKEN)
    groups = [value for name, value in echo["headers"] if name == "impersonate-group"]
    assert (headers_of(echo)["impersonate-user"], groups) == ("jane", ["eaves:view", "shop"])
    assert cluster.ask("/echo", "DELETE", token=USER_TOKEN)[0].status == 403
    assert cluster.ask("/echo", "POST", b"{}", token=USER_TOKEN)[0].status == 403
    other = stage.add_cluster()
    assert other.ask("/echo", token=USER_TOKEN)[0].status == 403


def test_who_is_named_by_no_rule_is_told_so(stage: Stage) -> None:
    cluster = stage.add_cluster({"users": ["somebody"], "clusterGroups": ["x"]})
    bind(stage, cluster, ["get"])
    deadline = time.monotonic() + 60
    while "K3sClusterAccess" not in (text := cluster.ask("/echo", token=USER_TOKEN)[1].decode()):
        assert time.monotonic() < deadline, text
    assert json.loads(text)["code"] == 403


def bind(stage: Stage, cluster: Cluster, verbs: list[str]) -> None:
    rule = {
        "apiGroups": ["eaves.dev"],
        "resources": ["k3sclusters/proxy"],
        "verbs": verbs,
        "resourceNames": [cluster.name],
    }
    group = "rbac.authorization.k8s.io"
    for plural, body in (
        ("roles", {"rules": [rule]}),
        (
            "rolebindings",
            {"roleRef": {"kind": "Role", "name": cluster.name}, "subjects": [{"kind": "User", "name": "jane"}]},
        ),
    ):
        connection = cluster.connect()
        path = f"/apis/{group}/v1/namespaces/default/{plural}"
        text = json.dumps({"metadata": {"name": cluster.name}, **body})
        connection.request("POST", path, text, {"Authorization": f"Bearer {ADMIN_TOKEN}"})
        assert connection.getresponse().status == 201
        connection.close()


def test_bodies_pass_both_ways_whole(stage: Stage) -> None:
    cluster = stage.add_cluster()
    payload = PIECE * 64
    said = cluster.echo("/echo", "POST", payload)
    assert (said["length"], said["sha256"]) == (len(payload), hashlib.sha256(payload).hexdigest())
    said = cluster.echo("/echo", "PUT", iter([payload[:MIB], payload[MIB:]]))
    assert (said["length"], said["sha256"]) == (len(payload), hashlib.sha256(payload).hexdigest())
    assert headers_of(said)["transfer-encoding"] == "chunked"
    for path in ("/chunks", "/length"):
        answer, content = cluster.ask(f"{path}?bytes={30 * MIB + 77}")
        assert answer.status == 200
        whole = PIECE * (30 * MIB // len(PIECE)) + PIECE[:77]
        assert hashlib.sha256(content).digest() == hashlib.sha256(whole).digest()
        assert answer.headers["X-Cluster"] == "yes"
        assert answer.headers.get_all("Date") != ["then"]


def test_heads_alone_and_odd_paths(stage: Stage) -> None:
    cluster = stage.add_cluster()
    answer, content = cluster.ask("/length?bytes=1000", "HEAD")
    assert (answer.status, answer.headers["Content-Length"], content) == (200, "1000", b"")
    for path in ("/a//b/", "/api/v1/namespaces/x%2Fy/pods/%25", "", "/", "/watch-me?watch=true"):
        assert cluster.echo(path)["target"] == (path or "/")
    for method in ("PATCH", "PUT", "DELETE"):
        assert cluster.echo("/echo", method, b"x")["method"] == method


def test_a_client_that_asks_first_is_told_to_go_on(stage: Stage) -> None:
    cluster = stage.add_cluster()
    with cluster.raw("POST PATH/echo HTTP/1.1\nExpect: 100-continue\nContent-Length: 4\n") as made:
        assert read_until(made, b"\r\n\r\n").startswith(b"HTTP/1.1 100 Continue")
        made.sendall(b"body")
        assert b" 200 " in read_until(made, b"}")


def test_connections_are_kept_for_the_same_caller(stage: Stage) -> None:
    cluster = stage.add_cluster()
    cluster.echo()
    before = sum(server.connections for server in stage.servers.values())
    for _ in range(20):
        cluster.echo()
    assert sum(server.connections for server in stage.servers.values()) == before
    cluster.echo("/echo", **{"Impersonate-User": "bob", "Impersonate-Group": "system:masters"})
    assert sum(server.connections for server in stage.servers.values()) == before + 1


def test_a_watch_tells_as_things_happen_and_ends_with_its_client(stage: Stage) -> None:
    cluster = stage.add_cluster()
    connection = cluster.connect()
    connection.request("GET", f"{cluster.path}/watch?watch=1", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
    answer = connection.getresponse()
    server = next(server for server in stage.servers.values() if server.watchers)
    for number in range(5):
        stage.served.call(server.tell(f"event {number}"))
        assert answer.readline() == f"event {number}\n".encode()
    connection.close()
    deadline = time.monotonic() + 60
    while server.watchers:
        assert time.monotonic() < deadline, "the watch outlives its client"


@pytest.mark.parametrize("upgrade", ["websocket", "SPDY/3.1"])
def test_upgrades_become_raw_bytes(stage: Stage, upgrade: str) -> None:
    cluster = stage.add_cluster()
    token = base64.urlsafe_b64encode(b"not for the cluster").decode().rstrip("=")
    head = (
        f"GET PATH/upgrade?of={cluster.name} HTTP/1.1\nConnection: Upgrade\nUpgrade: {upgrade}\nSec-WebSocket-Key: abc\n"
        f"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.{token}, v5.channel.k8s.io\n"
    )
    with cluster.raw(head) as made:
        answer = read_until(made, b"\r\n\r\n").decode()
        assert answer.startswith("HTTP/1.1 101 ")
        assert f"Upgrade: {upgrade}" in answer
        assert "X-Chosen: v4" in answer
        payload = PIECE * 32
        assert exchange(made, payload) == payload
    came = [
        head
        for server in stage.servers.values()
        for head in server.heads
        if head.target == f"/upgrade?of={cluster.name}"
    ]
    assert len(came) == 1
    headers = {name.lower(): value for name, value in came[0].headers}
    assert (headers["upgrade"].lower(), headers["sec-websocket-key"]) == (upgrade.lower(), "abc")
    assert headers["sec-websocket-protocol"] == "v5.channel.k8s.io"
    assert headers["impersonate-user"] == "admin"


def test_an_upgrade_that_the_cluster_refuses_is_refused_in_its_words(stage: Stage) -> None:
    cluster = stage.add_cluster()
    with cluster.raw("POST PATH/refuse HTTP/1.1\nConnection: Upgrade\nUpgrade: SPDY/3.1\nContent-Length: 0\n") as made:
        answer = read_until(made, b"forbidden").decode()
        assert answer.startswith("HTTP/1.1 403 ")
        assert "X-Why: rules" in answer or "x-why: rules" in answer


def test_another_server_is_taken_when_one_cannot_be_reached(stage: Stage) -> None:
    cluster = stage.add_cluster()
    cluster.echo()
    seen = len(stage.servers["beta"].heads)
    stage.tunnels["alpha"].is_online = False
    cluster.echo("/echo", "POST", b"x")
    stage.tunnels["alpha"].is_online = True
    stage.absent.add("alpha")
    other = stage.add_cluster()
    other.echo("/echo", "POST", b"x")
    assert len(stage.servers["beta"].heads) == seen + 2


def test_another_server_is_taken_when_one_dies(stage: Stage) -> None:
    cluster = stage.add_cluster()
    cluster.echo()
    seen = len(stage.servers["beta"].heads)
    stage.stop("alpha")
    try:
        for method, body in (("GET", None), ("POST", b"x"), ("DELETE", None)):
            cluster.echo("/echo", method, body)
        assert len(stage.servers["beta"].heads) == seen + 3
    finally:
        stage.start("alpha")


def test_no_server_is_503_with_the_reasons(stage: Stage) -> None:
    cluster = stage.add_cluster()
    stage.tunnels["alpha"].is_online = False
    stage.absent.add("beta")
    answer, text = cluster.ask("/echo")
    status = json.loads(text)
    assert (answer.status, status["reason"], answer.headers["Retry-After"]) == (503, "ServiceUnavailable", "1")
    assert "node alpha is not connected" in status["message"]
    assert "node beta: this node is no server of the cluster" in status["message"]
    young = stage.add_cluster(members=[], message="waits for node alpha")
    answer, text = young.ask("/echo")
    assert (answer.status, answer.headers["Retry-After"]) == (503, None), "nobody waits for what was never there"
    assert "waits for node alpha" in json.loads(text)["message"]
    answer, text = young.ask("/echo", Connection="Upgrade", Upgrade="websocket")
    assert (answer.status, json.loads(text)["kind"]) == (503, "Status")


def test_servers_of_eve_are_passed_over(stage: Stage) -> None:
    entry = {"role": "Server", "apiReady": True, "want": "Ready"}
    eve = {**entry, "nodeName": "alpha", "id": "id-alpha", "runsEVE": True}
    answer, text = stage.add_cluster(members=[eve]).ask("/echo")
    assert (answer.status, answer.headers["Retry-After"]) == (503, None)
    assert "its servers run EVE, which lets no requests in" in json.loads(text)["message"]
    stage.add_cluster(members=[eve, {**entry, "nodeName": "beta", "id": "id-beta"}]).echo()


def test_an_answer_that_breaks_looks_broken(stage: Stage) -> None:
    cluster = stage.add_cluster()
    with pytest.raises((http.client.IncompleteRead, ConnectionError, ssl.SSLError)):
        cluster.ask("/cut")
    answer, text = cluster.ask("/vanish", "POST", b"x")
    assert answer.status == 502
    assert "look whether the request was done" in json.loads(text)["message"]
    assert "Retry-After" not in answer.headers
    assert cluster.ask("/vanish")[0].status == 503
    cluster.echo()


def test_unknown_clusters_and_methods(stage: Stage) -> None:
    cluster = stage.add_cluster()
    assert cluster.ask("/echo", "OPTIONS")[0].status == 405
    cluster.path = cluster.path.replace(cluster.name, "nowhere")
    answer, text = cluster.ask("/echo")
    assert (answer.status, json.loads(text)["details"]["name"]) == (404, "nowhere")


def test_nothing_of_the_clusters_credential_is_on_the_wire_or_in_the_store(stage: Stage) -> None:
    cluster = stage.add_cluster()
    # It keeps the first of what it carries, which the bodies of other tests may have filled.
    for tunnel in stage.tunnels.values():
        tunnel.carried.clear()
    for method, body in (("GET", None), ("POST", b"x")):
        cluster.echo("/echo", method, body)
    seen = b"".join(tunnel.carried for tunnel in stage.tunnels.values())
    assert b"GET /echo HTTP/1.1" in seen
    stored = [path.read_bytes() for path in (stage.folder / "api").glob("*.db*")]
    assert stored
    for server in stage.servers.values():
        for line in server.credential.splitlines():
            assert line.encode() not in seen
            assert all(line.encode() not in content for content in stored)


def test_many_callers_at_once(stage: Stage) -> None:
    cluster = stage.add_cluster()
    failures: list[object] = []

    def work() -> None:
        try:
            for _ in range(5):
                cluster.echo("/echo", "POST", PIECE)
        except BaseException as error:  # noqa: BLE001 - told by the test's thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
