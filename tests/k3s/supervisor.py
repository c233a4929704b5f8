"""What K3s's supervisor answers: the cluster's authority to anybody, certificates and settings to nodes that know the token.

Listens on a unix socket; the program ``front`` in front of it ends TLS and says who showed a client certificate. Paths and headers are
those that K3s's agents use (its ``pkg/server`` and ``pkg/agent/config``).
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import secrets
import socketserver
import threading
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.k3s import log, pki
from tests.k3s.api import Api, ApiError
from tests.k3s.paths import DataDir

_PREFIX = "/v1-k3s/"
_FILES = {
    "client-ca.crt": ("client-ca.crt",),
    "server-ca.crt": ("server-ca.crt",),
    "client-kube-proxy.crt": ("client-kube-proxy.crt", "client-kube-proxy.key"),
    "client-k3s-controller.crt": ("client-k3s-controller.crt", "client-k3s-controller.key"),
}


class RefusedError(Exception):
    """The answer is a status with a text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class SupervisorState:
    """What the handlers share. ``passwords`` are by user, ``server`` and ``node``."""

    def __init__(self, data: DataDir, passwords: dict[str, str], settings: dict[str, Any], api: Api) -> None:
        self.data = data
        self.passwords = passwords
        self.settings = settings
        self.api = api
        self.is_ready = False
        self.load_bootstrap: Callable[[], dict[str, str]] = dict
        self.list_etcd: Callable[[], list[dict[str, Any]]] = list
        self.rotate: Callable[[str], None] = lambda _: None
        """Puts the cluster's keys under another token."""


def serve(state: SupervisorState, socket: Path) -> None:
    """In threads of its own, until the process ends."""
    socket.unlink(missing_ok=True)
    socket.parent.mkdir(parents=True, exist_ok=True)
    handler = type("Handler", (_Handler,), {"state": state})
    threading.Thread(target=_Server(str(socket), handler).serve_forever, name="supervisor", daemon=True).start()


def list_apiservers(api: Api) -> list[str]:
    """``address:6443`` of each server whose API server is up."""
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name%3Dkubernetes"
    slices = api.items(path)
    found = {address for one in slices for endpoint in one.get("endpoints") or [] for address in endpoint["addresses"]}
    return [f"{address}:6443" for address in sorted(found)]


def name_password_secret(node: str) -> str:
    return f"/api/v1/namespaces/kube-system/secrets/{node}.node-password.k3s"


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: SupervisorState

    def address_string(self) -> str:
        return "front"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve(self._answer)

    def do_PUT(self) -> None:
        self._serve(self._take)

    def _serve(self, answer: Callable[[str], tuple[bytes, str]]) -> None:
        try:
            content, kind = answer(urllib.parse.urlsplit(self.path).path)
            status = 200
        except RefusedError as error:
            content, kind, status = str(error).encode(), "text/plain", error.status
        except ApiError as error:
            content, kind, status = str(error).encode(), "text/plain", 503
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, path: str) -> tuple[bytes, str]:
        if path == "/cacerts":
            return (self.state.data.tls / "server-ca.crt").read_bytes(), "text/plain"
        if path == "/ping":
            return b"pong", "text/plain"
        if path in (f"{_PREFIX}server-bootstrap", "/db/info"):
            self._check("server")
            found: Any = self.state.load_bootstrap() if "bootstrap" in path else {"members": self.state.list_etcd()}
            return json.dumps(found).encode(), "application/json"
        if not path.startswith(_PREFIX):
            raise RefusedError(404, "404 page not found")
        self._check("server", "node")
        return self._answer_node(path.removeprefix(_PREFIX))

    def _take(self, path: str) -> tuple[bytes, str]:
        """K3s's one request that changes something of the cluster: a new token, by whom knows the present one."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path != f"{_PREFIX}token":
            raise RefusedError(405, "method not allowed")
        self._check("server")
        try:
            new = json.loads(body or b"{}").get("newToken") or secrets.token_hex(16)
        except (ValueError, AttributeError) as error:
            raise RefusedError(400, f"invalid body: {error}") from error
        try:
            self.state.rotate(str(new))
        except log.FatalError as error:
            raise RefusedError(500, str(error)) from error
        return b"", "text/plain"

    def _answer_node(self, name: str) -> tuple[bytes, str]:
        if name == "config":
            return json.dumps(self.state.settings).encode(), "application/json"
        if name == "apiservers":
            return json.dumps(list_apiservers(self.state.api)).encode(), "application/json"
        if name == "readyz":
            if not self.state.is_ready:
                raise RefusedError(503, "apiserver not ready")
            return b"ok", "text/plain"
        if name in _FILES:
            return b"".join((self.state.data.tls / file).read_bytes() for file in _FILES[name]), "text/plain"
        if name in ("client-kubelet.crt", "serving-kubelet.crt"):
            return self._issue(name), "text/plain"
        raise RefusedError(404, "404 page not found")

    def _issue(self, name: str) -> bytes:
        node, password = self.headers.get("K3s-Node-Name", "").lower(), self.headers.get("K3s-Node-Password", "")
        if not node or not password:
            raise RefusedError(500, "node name not set")
        self._check_node(node, password)
        if name == "client-kubelet.crt":
            leaf = pki.Leaf("", "client-ca", f"system:node:{node}", "kubelet", ("system:nodes",))
            return b"".join(pki.make(self.state.data, "client-ca", leaf, []))
        leaf = pki.Leaf("", "server-ca", node, "kubelet", is_server=True, is_client=False)
        addresses = [part for part in self.headers.get("K3s-Node-IP", "").split(",") if part]
        return b"".join(pki.make(self.state.data, "server-ca", leaf, [node, "localhost", "127.0.0.1", *addresses]))

    def _check_node(self, node: str, password: str) -> None:
        """A node's name belongs to whom came with it first, until the Node is deleted."""
        path = name_password_secret(node)
        found = self.state.api.find(path)
        if found is None:
            salt = secrets.token_hex(8)
            text = f"{salt}:{_hash(salt, password)}"
            body = {
                "metadata": {"name": path.rpartition("/")[2], "namespace": "kube-system"},
                "type": "Opaque",
                "immutable": True,
                "data": {"hash": base64.b64encode(text.encode()).decode()},
            }
            self.state.api.call("POST", path.rpartition("/")[0], body)
            return
        salt, _, hashed = base64.b64decode(found["data"]["hash"]).decode().partition(":")
        if not secrets.compare_digest(hashed, _hash(salt, password)):
            log.error(f"unable to verify password for node {node}: hash does not match")
            raise RefusedError(403, f"unable to verify hash for node '{node}': hash does not match")

    def _check(self, *users: str) -> None:
        """A client certificate of the cluster, or the token as one of ``users``."""
        kind, _, text = self.headers.get("Authorization", "").partition(" ")
        if kind == "Basic":
            user, _, password = base64.b64decode(text).decode(errors="replace").partition(":")
            wanted = self.state.passwords.get(user, "")
            if user in users and wanted and secrets.compare_digest(password.encode(), wanted.encode()):
                return
            if user == "node" and "node" in users and secrets.compare_digest(password, self.state.passwords["server"]):
                return
        if "system:masters" in (self.headers.get_all("X-Remote-Group") or []):
            return
        raise RefusedError(401, "Unauthorized")


def _hash(salt: str, password: str) -> str:
    return hashlib.scrypt(password.encode(), salt=salt.encode(), n=4096, r=8, p=1).hex()
