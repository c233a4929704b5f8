"""Snapshots at a web server that takes PUT and DELETE, with its password."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from eaves.node.clusters.errors import BackupError
from eaves.node.clusters.shipping import Shipper, want_target
from eaves.node.desired.model import DatastoreKind, DesiredDatastore
from eaves.node.desired.secret import Secret
from eaves.node.images.ways import Way, WebProxy

pytestmark = pytest.mark.contract

PASSWORD = "Basic " + base64.b64encode(b"shop:secret").decode()


class Handler(http.server.BaseHTTPRequestHandler):
    kept: dict[str, bytes]

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self._may():
            self.kept[self.path] = content
            self._say(201)

    def do_DELETE(self) -> None:
        if self._may():
            self._say(204 if self.kept.pop(self.path, None) is not None else 404)

    def do_GET(self) -> None:
        if self._may():
            content = self.kept.get(self.path)
            self._say(404 if content is None else 200, content or b"")

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _may(self) -> bool:
        if self.headers.get("Authorization") == PASSWORD:
            return True
        self._say(401)
        return False

    def _say(self, status: int, content: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def url() -> Iterator[str]:
    handler = type("Kept", (Handler,), {"kept": {}})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def want_store(url: str, password: str = "secret", kind: DatastoreKind = DatastoreKind.HTTP) -> DesiredDatastore:
    return DesiredDatastore("s", kind, url, "files", username="shop", password=Secret(password))


def test_a_snapshot_goes_there_and_comes_back(url: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"snapshot")
    shipper = Shipper(want_target(want_store(url), "shop 17", {}))
    shipper.put(tmp_path / "a", "ordered-1-a-5")
    assert shipper.list_names() is None
    shipper.fetch("ordered-1-a-5", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"snapshot"
    shipper.remove("ordered-1-a-5")
    shipper.remove("ordered-1-a-5")


def test_a_wrong_password_is_told_with_the_remedy(url: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"snapshot")
    with pytest.raises(BackupError, match="401") as raised:
        Shipper(want_target(want_store(url, "wrong"), "p", {})).put(tmp_path / "a", "a")
    assert "password" in raised.value.resolution
    assert "wrong" not in str(raised.value)


def test_a_snapshot_leaves_by_the_uplinks_way_and_through_its_proxy(url: str) -> None:
    way = Way("127.0.0.1", "lo", WebProxy((("HTTP_PROXY", "http://own:2"),)))
    setup = want_target(want_store(url), "p", {"HTTP_PROXY": "http://node:1"}, way).setup
    assert (setup.address, setup.interface, setup.proxies) == ("127.0.0.1", "lo", {"HTTP_PROXY": "http://own:2"})
    plain = want_target(want_store(url), "p", {"HTTP_PROXY": "http://node:1"}, Way("127.0.0.1")).setup
    assert plain.proxies == {"HTTP_PROXY": "http://node:1"}


def test_a_registry_takes_no_snapshots(url: str) -> None:
    with pytest.raises(BackupError, match="cannot be shipped"):
        want_target(want_store(url, kind=DatastoreKind.REGISTRY), "p", {})
