"""A web server for downloads that misbehaves on demand: it serves bytes with ranges and ETags, records what it was asked, and can be
slow, cut, lie, refuse, redirect, ask for a password or speak TLS with an authority of its own.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import trustme

_CHUNK = 64 << 10


@dataclass
class Asked:
    """One request that came in."""

    path: str
    headers: dict[str, str]


@dataclass
class Manners:
    """How to answer; may be changed while the server runs."""

    username: str = ""
    password: str = ""
    cut_after_bytes: int = 0
    """Close the connection after so many bytes of each body."""
    bytes_per_s: int = 0
    stall_after_bytes: int = 0
    """Say nothing more after so many bytes, until :attr:`FileServer.released`."""
    status: int = 0
    """Answer every request with this status."""
    retry_after: str = ""
    redirects: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    etag: str = ""
    """Instead of the content's own."""
    is_corrupt: bool = False


class FileServer:
    """Use as a context manager; ``files``: path (with its slash) → content."""

    def __init__(self, files: dict[str, bytes] | None = None, *, tls_folder: Path | None = None) -> None:
        self.files = files or {}
        self.manners = Manners()
        self.asked: list[Asked] = []
        self.served_bytes = 0
        self.pretended_bytes = 0
        """Say that everything has this size, when not 0."""
        self.released = threading.Event()
        self.ca_pem = ""
        self.on_bytes: Callable[[int], None] = lambda _: None
        """Called with the bytes of a body sent so far."""
        server = self
        class_ = type("_Bound", (_Handler,), {"owner": server})
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), class_)
        self._http.daemon_threads = True
        self._scheme = "http"
        if tls_folder is not None:
            self._wrap(tls_folder)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._http.server_port}"

    def add(self, path: str, content: bytes) -> str:
        """Serve ``content``; answers its digest."""
        self.files[path] = content
        return f"sha256:{hashlib.sha256(content).hexdigest()}"

    def __enter__(self) -> FileServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _wrap(self, folder: Path) -> None:
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self.ca_pem = authority.cert_pem.bytes().decode()
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self._scheme = "https"


class _Handler(http.server.BaseHTTPRequestHandler):
    owner: FileServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        owner, manners = self.owner, self.owner.manners
        owner.asked.append(Asked(self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.close_connection = True
        location = manners.redirects.get(self.path)
        if location is not None:
            self._head(302, {"Location": location})
            return
        if manners.status:
            self._head(manners.status, {"Retry-After": manners.retry_after} if manners.retry_after else {})
            return
        if manners.username and self.headers.get("Authorization") != _basic(manners):
            self._head(401, {"WWW-Authenticate": 'Basic realm="files"'})
            return
        content = owner.files.get(self.path)
        if content is None:
            self._head(404, {})
            return
        self._serve(content)

    def _serve(self, content: bytes) -> None:
        manners = self.owner.manners
        etag = manners.etag or f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        start = self._start(etag)
        if start >= len(content) and start:
            self._head(416, {"Content-Range": f"bytes */{len(content)}"})
            return
        headers = {"ETag": etag, "Accept-Ranges": "bytes"}
        body = content[start:]
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if manners.is_corrupt:
            body = body[:-1] + bytes([body[-1] ^ 1])
        self._head(206 if start else 200, headers, self.owner.pretended_bytes or len(body))
        self._send(body)

    def _start(self, etag: str) -> int:
        text = self.headers.get("Range", "")
        if not text or not self.owner.manners.ranges or self.headers.get("If-Range", etag) != etag:
            return 0
        return int(text.removeprefix("bytes=").rstrip("-"))

    def _send(self, body: bytes) -> None:
        manners = self.owner.manners
        sent = 0
        try:
            for offset in range(0, len(body), _CHUNK):
                chunk = body[offset : offset + _CHUNK]
                if manners.cut_after_bytes and sent >= manners.cut_after_bytes:
                    return
                if manners.stall_after_bytes and sent >= manners.stall_after_bytes:
                    self.owner.released.wait()
                    return
                if manners.bytes_per_s:
                    time.sleep(len(chunk) / manners.bytes_per_s)
                self.wfile.write(chunk)
                sent += len(chunk)
                self.owner.served_bytes += len(chunk)
                self.owner.on_bytes(sent)
        except OSError:
            return

    def _head(self, status: int, headers: dict[str, str], length: int = 0) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Tests look at :attr:`FileServer.asked`."""


def _basic(manners: Manners) -> str:
    return "Basic " + base64.b64encode(f"{manners.username}:{manners.password}".encode()).decode()
