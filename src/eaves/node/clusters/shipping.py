"""Takes snapshots to a datastore and brings them back: S3, or any web server that takes PUT and DELETE. Blocking.

By the HTTP client and the signer that downloads use. A backup leaves the node only over what the datastore says; credentials reach no
other host, since requests that write follow no redirect.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit

from msgspec import Struct

from eaves.node.clusters.errors import BackupError
from eaves.node.desired.model import DatastoreKind, DesiredDatastore
from eaves.node.images.access import FetchOptions, is_virtual_host, want_setup
from eaves.node.images.download.errors import FetchError
from eaves.node.images.download.http import Client, want_basic
from eaves.node.images.download.protocol import Setup
from eaves.node.images.download.s3 import Signer, want_object_path
from eaves.node.images.ways import DIRECT, Way, WebProxy

_NO_BODY = hashlib.sha256(b"").hexdigest()
_STALLED_AFTER_S = 120.0
_LIST_LIMIT_BYTES = 4 << 20
_KEY = re.compile(r"<Key>([^<]{1,1024})</Key>")
_NEXT = re.compile(r"<NextContinuationToken>([^<]{1,4096})</NextContinuationToken>")


class Target(Struct, frozen=True):
    """``folder``: path below the server, with the bucket where it belongs there."""

    setup: Setup
    folder: str
    bucket_path: str
    """Path that lists the bucket; empty for web servers."""
    key_prefix: str
    """Of the objects in the bucket."""


def want_target(store: DesiredDatastore, prefix: str, proxies: Mapping[str, str], way: Way = DIRECT) -> Target:
    """``proxies``: of a ``way`` that has none of its own. Raises BackupError for a datastore that nothing can be written to."""
    if store.kind not in (DatastoreKind.S3, DatastoreKind.HTTP, DatastoreKind.HTTPS):
        raise BackupError(
            f"snapshots cannot be shipped to a datastore of kind {store.kind}",
            code="DatastoreUnsuitable",
            retryable=False,
            resolution="name a datastore of kind S3 or HTTP in the cluster's backup",
        )
    options = FetchOptions(proxy=WebProxy(tuple(proxies.items())), stalled_after_s=_STALLED_AFTER_S)
    setup = want_setup(store, way, Path("/"), options, "backup")
    if store.kind is not DatastoreKind.S3:
        return Target(setup, _join(store.path, prefix), "", "")
    bucket, _, below = store.path.partition("/")
    key_prefix = _join(below, prefix)
    if is_virtual_host(store):
        return Target(setup, key_prefix, "/", key_prefix)
    return Target(setup, _join(bucket, key_prefix), f"/{bucket}", key_prefix)


class Shipper:
    """One backup folder. Every method raises BackupError."""

    def __init__(self, target: Target) -> None:
        self._target = target
        setup = target.setup
        try:
            self._client = Client(setup, "DatastoreUnreachable")
        except FetchError as error:
            raise _as_backup_error(error) from error
        is_signed = setup.kind == "s3" and setup.username
        self._signer = Signer(setup.username, setup.password, setup.region) if is_signed else None

    def put(self, path: Path, name: str) -> None:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            headers = {"Content-Length": str(path.stat().st_size), "Content-Type": "application/octet-stream"}
            self._change("PUT", name, headers, digest, file)

    def remove(self, name: str) -> None:
        """One that is not there is removed already."""
        self._change("DELETE", name, {}, _NO_BODY, None)

    def fetch(self, name: str, target: Path) -> None:
        """Bring ``name`` back, whole or not at all."""
        new = target.with_name(f".{target.name}.new")
        try:
            with self._send("GET", self._url(name), {}, _NO_BODY, None) as answer, new.open("wb") as file:
                _check(answer, name)
                shutil.copyfileobj(answer, file, 1 << 20)
                if answer.length:
                    raise BackupError(f"the snapshot {name} came to its end too early")
            new.replace(target)
        except (FetchError, http.client.HTTPException) as error:
            raise _as_backup_error(error) from error
        finally:
            new.unlink(missing_ok=True)

    def list_names(self) -> list[str] | None:
        """Names in the folder; None for a server that has no way to ask."""
        if not self._target.bucket_path:
            return None
        prefix = f"{self._target.key_prefix}/" if self._target.key_prefix else ""
        names: list[str] = []
        token = ""
        while True:
            query = f"list-type=2&prefix={quote(prefix, safe='')}"
            query += f"&continuation-token={quote(token, safe='')}" if token else ""
            url = f"{self._target.setup.base}{self._target.bucket_path}?{query}"
            try:
                with self._send("GET", url, {}, _NO_BODY, None) as answer:
                    _check(answer, "list of snapshots")
                    text = answer.read(_LIST_LIMIT_BYTES).decode(errors="replace")
            except (FetchError, http.client.HTTPException, OSError) as error:
                raise _as_backup_error(error) from error
            names += [key.removeprefix(prefix) for key in _KEY.findall(text)]
            following = _NEXT.search(text)
            if following is None:
                return [name for name in names if "/" not in name]
            token = following[1]

    def _change(self, method: str, name: str, headers: Mapping[str, str], digest: str, body: BinaryIO | None) -> None:
        try:
            with self._send(method, self._url(name), headers, digest, body) as answer:
                if not (method == "DELETE" and answer.status == 404):
                    _check(answer, name)
                answer.read(_LIST_LIMIT_BYTES)
        except (FetchError, http.client.HTTPException) as error:
            raise _as_backup_error(error) from error

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], digest: str, body: BinaryIO | None
    ) -> AbstractContextManager[http.client.HTTPResponse]:
        setup = self._target.setup
        if self._signer is not None:
            headers = self._signer.sign(method, urlsplit(url), headers, digest)
        elif setup.username:
            headers = {**headers, "Authorization": want_basic(setup.username, setup.password)}
        return self._client.send(method, url, headers, body)

    def _url(self, name: str) -> str:
        return f"{self._target.setup.base}/{want_object_path(_join(self._target.folder, name))}"


def _check(answer: http.client.HTTPResponse, what: str) -> None:
    if answer.status < 300:
        return
    detail = answer.read(2000).decode(errors="replace")
    code = re.search(r"<Code>([^<]{1,100})</Code>", detail)
    said = f" ({code[1]})" if code else ""
    resolution = {
        401: "check user name and password of the datastore",
        403: "check the datastore's credentials, and that they may write there",
        404: "check the datastore's path",
        405: "the server takes no PUT; use a datastore of kind S3",
        507: "make room in the datastore",
    }.get(answer.status, "it is tried again; ask who runs the server if this persists")
    raise BackupError(f"the datastore answers {answer.status}{said} for {what}", resolution=resolution)


def _as_backup_error(error: BaseException) -> BackupError:
    if isinstance(error, FetchError):
        return BackupError(f"the datastore cannot be used: {error.message}", resolution=error.resolution)
    return BackupError(f"the datastore cannot be used: {error}")


def _join(*parts: str) -> str:
    return "/".join(part.strip("/") for part in parts if part.strip("/"))
