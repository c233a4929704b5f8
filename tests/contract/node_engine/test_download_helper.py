"""The helper process by itself: its end, and how it logs in to registries."""

from __future__ import annotations

import base64
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from msgspec.structs import replace

from eaves.node.images.download.errors import FetchError
from eaves.node.images.download.protocol import Setup
from eaves.node.images.download.registry import RegistrySource
from eaves.testing.file_server import FileServer

pytestmark = pytest.mark.contract

MANIFEST = '{"schemaVersion": 2}'


class TokenRegistry:
    """Answers manifests to whoever has a token, which ``user`` gets for her password; tokens last for ``uses`` requests."""

    def __init__(self) -> None:
        self.uses = 100
        self.tokens: dict[str, int] = {}
        self.asked: list[tuple[str, str]] = []
        self.realm = ""
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.answer(self)

            def log_message(self, *_: object) -> None:
                """Tests look at ``asked``."""

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        sent = handler.headers.get("Authorization", "")
        self.asked.append((handler.path, sent))
        if handler.path.startswith("/token"):
            is_user = sent == "Basic " + base64.b64encode(b"user:pass").decode()
            scope = parse_qs(urlsplit(handler.path).query).get("scope")
            token = f"t{len(self.tokens)}"
            if is_user and scope == ["repository:shop/web:pull"]:
                self.tokens[token] = self.uses
            self._send(handler, 200 if is_user else 401, json.dumps({"token": token}).encode(), {})
            return
        token = sent.removeprefix("Bearer ")
        if self.tokens.get(token, 0) > 0:
            self.tokens[token] -= 1
            self._send(handler, 200, MANIFEST.encode(), {})
            return
        challenge = f'Bearer realm="{self.realm or self.url}/token",service="reg",scope="repository:shop/web:pull"'
        self._send(handler, 401, b"", {"WWW-Authenticate": challenge})

    def _send(
        self, handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]
    ) -> None:
        handler.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)


@pytest.fixture
def registry() -> Iterator[TokenRegistry]:
    found = TokenRegistry()
    yield found
    found.http.shutdown()
    found.http.server_close()


def want_source(registry: TokenRegistry, folder: Path, password: str = "pass") -> RegistrySource:
    return RegistrySource(Setup("registry", registry.url, str(folder), username="user", password=password))


def test_a_registry_nearby_without_tls_is_asked_so_and_shown_no_password(
    registry: TokenRegistry, tmp_path: Path
) -> None:
    base = registry.url.replace("http:", "https:")
    nearby = Setup("registry", base, str(tmp_path), may_lack_tls=True)
    with pytest.raises(FetchError, match="access is denied"):
        RegistrySource(nearby).manifest("shop/web", "1")
    assert registry.asked
    registry.asked.clear()
    for setup in (Setup("registry", base, str(tmp_path)), replace(nearby, username="user", password="pass")):
        with pytest.raises(FetchError, match="speaks without TLS"):
            RegistrySource(setup).manifest("shop/web", "1")
    assert registry.asked == []
    allowed = replace(nearby, username="user", password="pass", allow_insecure_auth=True)
    assert RegistrySource(allowed).manifest("shop/web", "1") == MANIFEST


def test_a_token_is_fetched_kept_and_renewed(registry: TokenRegistry, tmp_path: Path) -> None:
    source = want_source(registry, tmp_path)
    assert source.manifest("shop/web", "1") == MANIFEST
    assert source.manifest("shop/web", "1") == MANIFEST
    assert len(registry.tokens) == 1
    registry.tokens.clear()
    assert source.manifest("shop/web", "1") == MANIFEST
    assert len(registry.tokens) == 1
    # The password goes to the realm alone, the token to the registry alone.
    kinds = {(path.startswith("/token"), sent.partition(" ")[0]) for path, sent in registry.asked}
    assert kinds == {(False, ""), (True, "Basic"), (False, "Bearer")}


def test_a_wrong_password_is_told(registry: TokenRegistry, tmp_path: Path) -> None:
    with pytest.raises(FetchError) as caught:
        want_source(registry, tmp_path, "wrong").manifest("shop/web", "1")
    assert caught.value.code == "AuthenticationFailed"
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("realm", ["ftp://x", "nonsense", "http://"])
def test_a_realm_that_is_none_is_told(registry: TokenRegistry, tmp_path: Path, realm: str) -> None:
    registry.realm = realm
    with pytest.raises(FetchError, match="log in"):
        want_source(registry, tmp_path).manifest("shop/web", "1")


def test_the_helper_ends_with_its_daemon(tmp_path: Path) -> None:
    """A daemon that is killed closes the pipe and can do nothing more."""
    for name in ("sha256", "partial"):
        (tmp_path / name).mkdir()
    with FileServer() as server:
        digest = server.add("/disk.raw", os.urandom(1 << 20))
        server.manners.stall_after_bytes = 1 << 18
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "eaves.node.images.download"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        setup = {"kind": "http", "base": server.url, "folder": str(tmp_path)}
        request = {"type": "blob", "id": 1, "path": "disk.raw", "digest": digest}
        process.stdin.write(f"{json.dumps(setup)}\n{json.dumps(request)}\n".encode())
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["have"] > 0
        process.stdin.close()
        assert process.wait(timeout=30) == 0
        process.stdout.close()
