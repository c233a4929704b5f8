"""A real OCI registry on loopback with small images made on the spot, for tests and the demo.

Debian's ``docker-registry`` serves, ``umoci`` makes images out of the static busybox, ``skopeo`` pushes. With ``is_private`` it
speaks TLS with a CA of its own and asks for a password.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import msgspec
import trustme

from eaves.node.desired.model import DatastoreKind, DesiredDatastore, Secret

USERNAME = "eaves"
PASSWORD = "secret"
_PASSWORD_HASH = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
_START_LIMIT_S = 60.0
_APPLETS = (
    *("sh", "httpd", "sleep", "cat", "echo", "nslookup", "nc", "ls", "env", "id", "dd", "kill", "touch", "stat"),
    *("timeout", "ip", "mkdir", "rm", "tar", "stty", "sha256sum", "seq", "head", "ps", "tty", "grep"),
)


class Registry:
    """Use as a context manager; ``folder`` is empty and ours."""

    def __init__(self, folder: Path, *, is_private: bool = False) -> None:
        self._folder = folder
        self._is_private = is_private
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _find_port()
        self.ca_pem = ""

    @property
    def server(self) -> str:
        return f"127.0.0.1:{self.port}"

    def datastore(self, server: str = "") -> DesiredDatastore:
        """As a config names it; ``server`` for a proxy in front of it."""
        return DesiredDatastore(
            id="datastore",
            kind=DatastoreKind.REGISTRY,
            server=server or self.server,
            username=USERNAME if self._is_private else "",
            password=Secret(PASSWORD if self._is_private else ""),
            ca_pems=(self.ca_pem,) if self._is_private else (),
            plain_http=not self._is_private,
        )

    def __enter__(self) -> Registry:
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "registry.yml"
        config.write_text(self._render())
        log = (self._folder / "registry.log").open("wb")
        self._process = subprocess.Popen(
            ["docker-registry", "serve", str(config)],
            stdout=log,
            stderr=log,
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        )
        log.close()
        self._wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop serving; what was pushed is kept and served again by :meth:`start`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def start(self) -> None:
        self.__enter__()

    def push(
        self,
        name: str,
        command: Sequence[str] = (),
        *,
        padding_bytes: int = 0,
        entrypoint: Sequence[str] = (),
        manifest: str = "oci",
    ) -> str:
        """Make and push ``NAME:TAG``; answers the manifest's digest. ``padding_bytes`` of noise make it big.

        ``manifest``: its kind, as skopeo names them: oci or v2s2 (Docker's own).
        """
        layout = self._folder / f"image-{secrets.token_hex(4)}"
        make_image(layout, command, entrypoint=entrypoint, padding_bytes=padding_bytes)
        self._copy(f"oci:{layout}:image", name, f"--format={manifest}")
        shutil.rmtree(layout)
        return self.digest(name)

    def push_artifact(
        self, name: str, layers: Sequence[tuple[bytes, str, dict[str, str]]], labels: dict[str, str] | None = None
    ) -> str:
        """Push ``layers`` (content, media type, annotations) as they are, with an image config that has ``labels``; answers the digest."""
        layout = self._folder / f"artifact-{secrets.token_hex(4)}"
        (layout / "blobs" / "sha256").mkdir(parents=True)

        def add(content: bytes, media_type: str, annotations: dict[str, str] | None = None) -> dict[str, object]:
            digest = hashlib.sha256(content).hexdigest()
            (layout / "blobs" / "sha256" / digest).write_bytes(content)
            found: dict[str, object] = {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}
            return found | ({"annotations": annotations} if annotations else {})

        image = {
            "os": "linux",
            "architecture": "amd64",
            "config": {"Labels": labels or {}},
            "rootfs": {"type": "layers"},
        }
        config = add(msgspec.json.encode(image), "application/vnd.oci.image.config.v1+json")
        manifest = {"schemaVersion": 2, "config": config, "layers": [add(*layer) for layer in layers]}
        top = add(msgspec.json.encode(manifest), "application/vnd.oci.image.manifest.v1+json")
        top["annotations"] = {"org.opencontainers.image.ref.name": "image"}
        (layout / "index.json").write_bytes(msgspec.json.encode({"schemaVersion": 2, "manifests": [top]}))
        (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self._copy(f"oci:{layout}:image", name, "--preserve-digests")
        shutil.rmtree(layout)
        return str(top["digest"])

    def digest(self, name: str) -> str:
        done = _run(
            ["skopeo", "inspect", "--format", "{{.Digest}}", *self._options(""), f"docker://{self.server}/{name}"]
        )
        return done.decode().strip()

    def _copy(self, source: str, name: str, *options: str) -> None:
        argv = ["skopeo", "copy", "--quiet", *options, *self._options("dest-")]
        _run([*argv, source, f"docker://{self.server}/{name}"])

    def _options(self, prefix: str) -> list[str]:
        if not self._is_private:
            return [f"--{prefix}tls-verify=false"]
        return [f"--{prefix}creds={USERNAME}:{PASSWORD}", f"--{prefix}cert-dir={self._folder / 'certs'}"]

    def _render(self) -> str:
        storage = {"filesystem": {"rootdirectory": str(self._folder / "data")}, "delete": {"enabled": True}}
        http: dict[str, object] = {"addr": self.server, "secret": "of-no-use"}
        config: dict[str, object] = {"version": "0.1", "storage": storage, "http": http, "log": {"level": "error"}}
        if self._is_private:
            http["tls"] = self._make_certificates()
            htpasswd = self._folder / "htpasswd"
            htpasswd.write_text(f"{USERNAME}:{_PASSWORD_HASH}\n")
            config["auth"] = {"htpasswd": {"realm": "registry", "path": str(htpasswd)}}
        # JSON is YAML.
        return msgspec.json.encode(config).decode()

    def _make_certificates(self) -> dict[str, str]:
        folder = self._folder / "certs"
        if not folder.exists():
            folder.mkdir()
            authority = trustme.CA()
            server = authority.issue_cert("127.0.0.1")
            authority.cert_pem.write_to_path(folder / "ca.crt")
            server.private_key_and_cert_chain_pem.write_to_path(self._folder / "server.pem")
        self.ca_pem = (folder / "ca.crt").read_text()
        pem = str(self._folder / "server.pem")
        return {"certificate": pem, "key": pem}

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError(f"the registry does not start: {(self._folder / 'registry.log').read_text()[-2000:]}")


def make_image(layout: Path, command: Sequence[str], *, entrypoint: Sequence[str] = (), padding_bytes: int = 0) -> None:
    """An OCI layout with one image named ``image``: busybox, bash, ``/www/index.html``; it runs ``command``."""
    _run(["umoci", "init", "--layout", str(layout)])
    _run(["umoci", "new", "--image", f"{layout}:image"])
    root = layout.with_name(f"{layout.name}-root")
    (root / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    for applet in _APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    for name in ("www", "etc", "tmp", "data"):
        (root / name).mkdir()
    (root / "www" / "index.html").write_text("hello from eaves\n")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    (root / "etc" / "nsswitch.conf").write_text("hosts: files dns\n")
    _copy_bash(root)
    if padding_bytes:
        (root / "padding").write_bytes(os.urandom(padding_bytes))
    _run(["umoci", "insert", "--image", f"{layout}:image", str(root), "/"])
    config = ["umoci", "config", "--image", f"{layout}:image"]
    config += [f"--config.entrypoint={word}" for word in entrypoint] + [f"--config.cmd={word}" for word in command]
    _run(config)
    shutil.rmtree(root)


def _copy_bash(root: Path) -> None:
    """A static program cannot look names up; bash with its libraries can, and connects by ``/dev/tcp/HOST/PORT``."""
    shutil.copy("/bin/bash", root / "bin" / "bash")
    for word in _run(["ldd", "/bin/bash"]).decode().split():
        if word.startswith("/"):
            target = root / word.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(word, target)


def _find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(argv: Sequence[str]) -> bytes:
    done = subprocess.run(argv, capture_output=True, check=False, timeout=120)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout
