"""A client of the Kubernetes API for the loops inside: JSON over one TLS connection a call, with a client certificate."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Object = dict[str, Any]


class ApiError(Exception):
    """``code`` is 0 when no answer came."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Api:
    """``server`` is ``host:port``."""

    def __init__(self, server: str, authority: Path, certificate: Path, key: Path) -> None:
        self._server = server
        self._files = (str(authority), str(certificate), str(key))
        self._resources: dict[str, dict[str, tuple[str, bool]]] = {}

    def get(self, path: str) -> Object:
        return self.call("GET", path)

    def find(self, path: str) -> Object | None:
        """The object, None when there is none."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def items(self, path: str) -> list[Object]:
        found: list[Object] = self.get(path).get("items") or []
        return found

    def merge(self, path: str, patch: Object) -> Object:
        return self.call("PATCH", path, patch, "application/merge-patch+json")

    def apply(self, obj: Object, manager: str) -> Object:
        """Server-side apply, of any kind that the server knows."""
        path = f"{self.path_of(obj)}?fieldManager={manager}&force=true"
        return self.call("PATCH", path, obj, "application/apply-patch+yaml")

    def delete(self, path: str) -> None:
        try:
            self.call("DELETE", path, {"propagationPolicy": "Background"})
        except ApiError as error:
            if error.code != 404:
                raise

    def is_ready(self) -> bool:
        try:
            self.call("GET", "/readyz")
        except ApiError:
            return False
        return True

    def path_of(self, obj: Mapping[str, Any]) -> str:
        """The path of an object. Raises ApiError 404 for a kind that is not there (yet)."""
        version, kind = str(obj["apiVersion"]), str(obj["kind"])
        if kind not in self._resources.get(version, {}):
            root = f"/apis/{version}" if "/" in version else f"/api/{version}"
            found = self.get(root).get("resources") or []
            self._resources[version] = {r["kind"]: (r["name"], r["namespaced"]) for r in found if "/" not in r["name"]}
        if kind not in self._resources[version]:
            raise ApiError(404, f"no kind {kind} in {version}")
        resource, is_namespaced = self._resources[version][kind]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        metadata = obj["metadata"]
        place = f"/namespaces/{metadata.get('namespace') or 'default'}" if is_namespaced else ""
        return f"{root}{place}/{resource}/{metadata['name']}"

    def call(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> Object:
        authority, certificate, key = self._files
        try:
            context = ssl.create_default_context(cafile=authority)
            context.load_cert_chain(certificate, key)
            connection = http.client.HTTPSConnection(self._server, context=context, timeout=30)
            try:
                text = None if body is None else json.dumps(body)
                connection.request(method, path, text, {"Content-Type": kind, "Accept": "application/json"})
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(0, f"{self._server}: {error}") from error
        if answer.status >= 300:
            raise ApiError(answer.status, content.decode(errors="replace")[:500])
        if not answer.headers.get("Content-Type", "").startswith("application/json"):
            return {}
        found: Object = json.loads(content)
        return found
