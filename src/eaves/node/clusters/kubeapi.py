"""A client of this node's own API server, as the cluster's admin: the few verbs that the leader needs, by the node's HTTP client.

The admin's credential is read from the kubeconfig that K3s writes; it stays on this machine, in files that only root reads.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import yaml
from msgspec import Struct

from eaves.kit import files
from eaves.kit.errors import EavesError
from eaves.node.clusters.errors import ClusterError, KubeApiError
from eaves.node.clusters.model import ClusterApi, ClusterFolders
from eaves.node.link import tls
from eaves.node.link.client import HttpClient, Response, Server

MERGE_PATCH = "application/merge-patch+json"
PAGE = 200
_ANSWER_LIMIT_BYTES = 32 << 20
_TIMEOUT_S = 30.0

Object = dict[str, Any]


class AdminConfig(Struct, frozen=True):
    """What the admin's kubeconfig says."""

    host: str
    port: int
    ca_pem: bytes
    certificate_pem: bytes
    key_pem: bytes


class Resource(Struct, frozen=True):
    """How a kind is reached."""

    group_path: str
    plural: str
    is_namespaced: bool

    @property
    def collection(self) -> str:
        """Of all namespaces."""
        return f"{self.group_path}/{self.plural}"

    def want_path(self, namespace: str, name: str) -> str:
        inside = f"/namespaces/{quote(namespace)}" if self.is_namespaced else ""
        return f"{self.group_path}{inside}/{self.plural}/{quote(name)}"


def parse_kubeconfig(raw: bytes) -> AdminConfig:
    """The first cluster and user of a kubeconfig with embedded data. Raises ClusterError."""
    try:
        document = yaml.safe_load(raw)
        cluster = document["clusters"][0]["cluster"]
        user = document["users"][0]["user"]
        server = urlsplit(cluster["server"])
        return AdminConfig(
            server.hostname or "127.0.0.1",
            server.port or 443,
            base64.b64decode(cluster["certificate-authority-data"]),
            base64.b64decode(user["client-certificate-data"]),
            base64.b64decode(user["client-key-data"]),
        )
    except (yaml.YAMLError, KeyError, IndexError, TypeError, ValueError, binascii.Error) as error:
        raise ClusterError("the kubeconfig that K3s wrote cannot be read", code="KubeconfigUnreadable") from error


def load_api(folders: ClusterFolders) -> ClusterApi | None:
    """The admin's way to the API, with its files beside the other run-time ones; None while K3s has written none. Blocking."""
    raw = files.load_file(folders.kubeconfig)
    if not raw:
        return None
    config = parse_kubeconfig(raw)
    files.want_folder(folders.run)
    api = ClusterApi(
        config.host, config.port, folders.run / "ca.pem", folders.run / "admin.pem", folders.run / "admin.key"
    )
    for path, data in (
        (api.ca_file, config.ca_pem),
        (api.certificate_file, config.certificate_pem),
        (api.key_file, config.key_pem),
    ):
        if files.load_file(path) != data:
            files.save_file(path, data)
    return api


class KubeApi:
    """One API server. Every call raises KubeApiError."""

    def __init__(self, api: ClusterApi) -> None:
        try:
            context = tls.want_context(api.ca_file.read_bytes(), use_system=False)
            context.load_cert_chain(api.certificate_file, api.key_file)
        except (OSError, ssl.SSLError, EavesError) as error:
            raise KubeApiError("the cluster's admin credential cannot be read") from error
        self._client = HttpClient(
            Server(api.host, api.port), context, send_timeout_s=_TIMEOUT_S, answer_limit_bytes=_ANSWER_LIMIT_BYTES
        )
        self._resources: dict[str, dict[str, Resource]] = {}

    @classmethod
    async def open(cls, api: ClusterApi) -> KubeApi:
        return await asyncio.to_thread(cls, api)

    async def close(self) -> None:
        await self._client.close()

    async def is_ready(self) -> bool:
        """Whether the API server and its datastore say that they are ready."""
        try:
            return (await self._call("GET", "/readyz")).status == 200
        except KubeApiError:
            return False

    async def ask_health(self, path: str) -> tuple[bool, str]:
        """A health endpoint's verdict and its text."""
        answer = await self._call("GET", path)
        return answer.status == 200, answer.body.decode(errors="replace")

    async def get(self, path: str) -> Object:
        return _decode(_check(await self._call("GET", path), path))

    async def find(self, path: str) -> Object | None:
        """None when there is no such object."""
        answer = await self._call("GET", path)
        return None if answer.status == 404 else _decode(_check(answer, path))

    async def list(self, path: str, **query: str) -> AsyncIterator[Object]:
        """Objects of a collection, fetched by pages so that a large cluster fits into a small daemon."""
        token = ""
        while True:
            asked = {**query, "limit": str(PAGE), **({"continue": token} if token else {})}
            page = await self.get(f"{path}?{urlencode(asked)}")
            for item in page.get("items") or ():
                yield item
            token = page.get("metadata", {}).get("continue", "")
            if not token:
                return

    async def create(self, path: str, body: Object) -> Object:
        return _decode(_check(await self._call("POST", path, body), path))

    async def replace(self, path: str, body: Object) -> Object:
        return _decode(_check(await self._call("PUT", path, body), path))

    async def patch(self, path: str, body: Object) -> Object:
        """Merge patch."""
        return _decode(_check(await self._call("PATCH", path, body, MERGE_PATCH), path))

    async def delete(self, path: str) -> bool:
        """False when there was none."""
        answer = await self._call("DELETE", path)
        if answer.status == 404:
            return False
        _check(answer, path)
        return True

    async def find_resource(self, api_version: str, kind: str) -> Resource | None:
        """How ``kind`` is reached; None while the cluster does not serve it."""
        known = self._resources.get(api_version)
        if known is None or kind not in known:
            base = _want_base(api_version)
            answer = await self.find(base)
            if answer is None:
                return None
            known = {
                entry["kind"]: Resource(base, entry["name"], entry["namespaced"])
                for entry in answer.get("resources", ())
                if "/" not in entry["name"]
            }
            self._resources[api_version] = known
        return known.get(kind)

    async def list_resources(self, verbs: Collection[str]) -> AsyncIterator[tuple[str, str, Resource]]:
        """API version, kind and way of all that the cluster serves now and that can be asked for all of ``verbs``.

        Each group in the version that it prefers. A group that a server behind the API serves which is away is left out.
        """
        groups = (await self.get("/apis")).get("groups", ())
        for version in ("v1", *(group["preferredVersion"]["groupVersion"] for group in groups)):
            base = _want_base(version)
            answer = await self._call("GET", base)
            if answer.status in (404, 503):
                continue
            for entry in _decode(_check(answer, base)).get("resources", ()):
                if "/" not in entry["name"] and set(verbs) <= set(entry.get("verbs", ())):
                    yield version, entry["kind"], Resource(base, entry["name"], entry["namespaced"])

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, content_type: str = "application/json"
    ) -> Response:
        headers = [("accept", "application/json")]
        raw = b""
        if body is not None:
            headers.append(("content-type", content_type))
            raw = msgspec.json.encode(body)
        try:
            return await self._client.request(method, path, headers=headers, body=raw)
        except EavesError as error:
            raise KubeApiError(
                f"the cluster's API does not answer: {error.message}", element=path.partition("?")[0]
            ) from error


def _want_base(api_version: str) -> str:
    return f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"


def _check(answer: Response, path: str) -> Response:
    if answer.status < 400:
        return answer
    try:
        message = str(msgspec.json.decode(answer.body).get("message", ""))
    except (msgspec.DecodeError, AttributeError):
        message = answer.body[:200].decode(errors="replace")
    wait = answer.header("retry-after")
    raise KubeApiError(
        f"the cluster's API answers {answer.status}: {message[:400]}",
        status=answer.status,
        element=path.partition("?")[0],
        retry_after_s=float(wait) if wait.isdigit() else 0.0,
    )


def _decode(answer: Response) -> Object:
    try:
        value = msgspec.json.decode(answer.body) if answer.body else {}
    except msgspec.DecodeError as error:
        raise KubeApiError("the cluster's API answers no JSON") from error
    return value if isinstance(value, dict) else {}


def want_path(*parts: str) -> str:
    """``/``-joined and quoted."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def load_kubeconfig(path: Path) -> bytes:
    """Raises ClusterError while there is none. Blocking."""
    raw = files.load_file(path)
    if not raw:
        raise ClusterError(
            "K3s has not written its kubeconfig yet",
            code="KubeconfigMissing",
            resolution="wait until eaves node status shows the cluster as Ready; agents have none",
        )
    return raw
