"""The plain paths: discovery, OpenAPI, version, health, metrics.

Discovery and OpenAPI documents don't change while the controller runs; each is rendered at the first request for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate

from prometheus_client import CollectorRegistry

from eaves.controller.api.forms import render_yaml
from eaves.controller.api.health import Health, render_metrics, render_version
from eaves.controller.api.http import JSON, Request, Response
from eaves.kube import discovery, negotiate, openapi, status, swagger, swagger_protobuf
from eaves.kube.encode import encode_json
from eaves.kube.negotiate import As
from eaves.kube.resource import Object, Resource

_OPENAPI_V3 = "/openapi/v3"
_HEALTH = ("livez", "readyz", "healthz")
_FOREVER_S = 365 * 24 * 3600


class Pages:
    """Serves everything that is no resource path."""

    def __init__(
        self,
        resources: Sequence[Resource],
        health: Health,
        registry: CollectorRegistry,
        version: str,
        more: Mapping[str, Callable[[], Response]] | None = None,
    ) -> None:
        """``more`` are further pages by their paths."""
        self._resources = tuple(resources)
        self._health = health
        self._registry = registry
        self._version = version
        self._more = more or {}
        self._rendered: dict[str, bytes] = {}
        self._hashes: dict[str, str] = {}

    async def answer(self, request: Request) -> Response | None:
        """None = there is no such page. Raises ApiError 406."""
        path = request.path.rstrip("/") or "/"
        root = path.split("/", 2)[1]
        if root in _HEALTH:
            # Load balancers ask by any method.
            return await self._health.answer(request)
        if request.method not in ("GET", "HEAD"):
            if self._is_document(path):
                raise status.path_not_allowed()
            return None
        if (page := self._more.get(path)) is not None:
            return page()
        if root in ("api", "apis"):
            return self._answer_discovery(request, path)
        if root == "openapi":
            return self._answer_openapi(request, path)
        if root == "version" and path != "/version":
            raise status.unknown_resource()
        match path:
            case "/version":
                negotiate.negotiate(request.header(b"accept"), media_types=(JSON,))
                return Response(render_version())
            case "/metrics":
                return render_metrics(self._registry)
            case "/":
                return Response(encode_json({"paths": self._paths()}))
        return None

    def _is_document(self, path: str) -> bool:
        parts = path.strip("/").split("/")
        return path in ("/api", "/version") or self._render_discovery(parts) is not None

    def _answer_discovery(self, request: Request, path: str) -> Response | None:
        parts = path.strip("/").split("/")
        shapes = (As.OBJECT, As.DISCOVERY) if len(parts) == 1 else (As.OBJECT,)
        if path == "/api":
            # It names the address by which the client came, so it is made anew.
            body: bytes | None = encode_json(discovery.render_api_versions(request.header(b"host")))
        else:
            body = self._want(path, lambda: self._render_discovery(parts))
        if body is None:
            if parts[0] == "api":
                raise status.unknown_resource()
            return None
        wanted = negotiate.negotiate(request.header(b"accept"), shapes)
        if wanted.shape is As.DISCOVERY:
            return self._answer_aggregated(request, path, wanted)
        if wanted.media_type == negotiate.YAML:
            body = render_yaml(body)
        return Response(body, content_type=wanted.media_type)

    def _answer_aggregated(self, request: Request, path: str, wanted: negotiate.Representation) -> Response:
        name = f"{path} {wanted.version}"
        body = self._want(
            name,
            lambda: discovery.render_aggregated(self._resources, core=path == "/api", version=wanted.version),
        )
        assert body is not None
        headers = {"Vary": "Accept", "Cache-Control": "public"}
        return _tagged(request, body, self._hash(name, body), wanted.content_type, headers)

    def _render_discovery(self, parts: list[str]) -> Object | None:
        match parts:
            case ["apis"]:
                return discovery.render_groups(self._resources)
            case ["apis", group]:
                return discovery.render_group(self._resources, group)
            case ["api", version]:
                return discovery.render_resources(self._resources, "", version)
            case ["apis", group, version]:
                return discovery.render_resources(self._resources, group, version)
        return None

    def _answer_openapi(self, request: Request, path: str) -> Response | None:
        if path == "/openapi/v2":
            return self._answer_swagger(request)
        if path == _OPENAPI_V3:
            body = self._want(path, self._render_index)
            assert body is not None
            # Whatever is asked for, there is one form of it.
            return _tagged(request, body, self._hash(path, body), JSON, {"Vary": "Accept"})
        name = path.removeprefix(f"{_OPENAPI_V3}/")
        if not path.startswith(f"{_OPENAPI_V3}/") or name not in self._documents():
            return None
        if not negotiate.accepts(request.header(b"accept"), JSON):
            return Response(b"", 406, headers={"Vary": "Accept"})
        return self._answer_document(request, name)

    def _answer_swagger(self, request: Request) -> Response:
        """OpenAPI v2: client-go and helm take it in protobuf alone."""
        accept = request.header(b"accept")
        is_protobuf = swagger_protobuf.MEDIA_TYPE in accept
        if not is_protobuf and not negotiate.accepts(accept, JSON):
            return Response(b"", 406, headers={"Vary": "Accept"})
        name, content_type = ("v2 protobuf", swagger_protobuf.ANSWER_TYPE) if is_protobuf else ("v2", JSON)
        body = self._rendered.get(name)
        if body is None:
            document = swagger.render_document(self._resources, self._version)
            body = swagger_protobuf.encode_document(document) if is_protobuf else encode_json(document)
            self._rendered[name] = body
        return _tagged(request, body, self._hash(name, body), content_type, {"Vary": "Accept"})

    def _answer_document(self, request: Request, name: str) -> Response:
        """With the right hash in the address the document never changes; a wrong one leads to the right address."""
        body = self._rendered[f"v3 {name}"]
        digest = self._hash(f"v3 {name}", body)
        asked = request.query.get("hash")
        if not asked:
            return _tagged(request, body, digest, JSON, {"Vary": "Accept"})
        if asked != digest:
            return Response(b"", 301, headers={"Location": f"{_OPENAPI_V3}/{name}?hash={digest}"})
        headers = {
            "Cache-Control": "public, immutable",
            "Expires": formatdate(time.time() + _FOREVER_S, usegmt=True),
            "Vary": "Accept",
        }
        return _tagged(request, body, digest, JSON, headers)

    def _documents(self) -> dict[str, str]:
        """Names of the OpenAPI v3 documents and their hashes."""
        if not self._hashes.keys() & {"v3 api/v1"}:
            for name, document in openapi.render_documents(self._resources, self._version).items():
                body = self._rendered[f"v3 {name}"] = encode_json(document)
                self._hash(f"v3 {name}", body)
        return {name[3:]: digest for name, digest in self._hashes.items() if name.startswith("v3 ")}

    def _render_index(self) -> Object:
        return openapi.render_index(self._documents())

    def _want(self, name: str, render: Callable[[], Object | None]) -> bytes | None:
        """A rendered document, kept from the first time on. What is not served is not kept: its names are without end."""
        body = self._rendered.get(name)
        if body is None:
            document = render()
            if document is None:
                return None
            body = self._rendered[name] = encode_json(document)
        return body

    def _hash(self, name: str, body: bytes) -> str:
        digest = self._hashes.get(name)
        if digest is None:
            digest = self._hashes[name] = discovery.hash_body(body)
        return digest

    def _paths(self) -> list[str]:
        versions = discovery.group_versions(self._resources)
        groups = [f"/apis/{group}/{version}" if group else f"/api/{version}" for group, version in versions]
        fixed = ["/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", _OPENAPI_V3, "/readyz", "/version"]
        return sorted({*groups, *(f"/apis/{group}" for group, _ in versions if group), *fixed})


def _tagged(request: Request, body: bytes, digest: str, content_type: str, headers: Mapping[str, str]) -> Response:
    """An answer with an entity tag, or 304 for a client that has it."""
    tag = f'"{digest}"'
    headers = {**headers, "ETag": tag}
    known = {each.strip().removeprefix("W/") for each in request.header(b"if-none-match").split(",")}
    if tag in known:
        return Response(b"", 304, content_type, headers)
    return Response(body, content_type=content_type, headers=headers)
