"""What kinds of datastores there are for the helper: plain HTTP(S), S3, OCI registries."""

from __future__ import annotations

import http.client
from contextlib import AbstractContextManager
from typing import Protocol
from urllib.parse import quote

from eaves.node.images.download.errors import FetchError
from eaves.node.images.download.http import Anonymous, Authorizer, Basic, Client
from eaves.node.images.download.protocol import BlobRequest, Setup
from eaves.node.images.download.registry import RegistrySource
from eaves.node.images.download.s3 import S3Source

_SAFE = "/:@!$&'()*+,;=~?%"


class Source(Protocol):
    """One datastore."""

    def manifest(self, repository: str, reference: str) -> str:
        """Only registries have manifests. Raises FetchError."""

    def blob(self, request: BlobRequest, headers: dict[str, str]) -> AbstractContextManager[http.client.HTTPResponse]:
        """GET of the blob."""


def want_source(setup: Setup) -> Source:
    """The source of this kind. Raises FetchError."""
    _check_secrecy(setup)
    if setup.kind == "registry":
        return RegistrySource(setup)
    return S3Source(setup) if setup.kind == "s3" else HttpSource(setup)


class HttpSource:
    """Files of a web server."""

    def __init__(self, setup: Setup) -> None:
        self._base = setup.base
        self._client = Client(setup, "DatastoreUnreachable")
        self._authorizer: Authorizer = Basic(setup.username, setup.password) if setup.username else Anonymous()

    def manifest(self, repository: str, reference: str) -> str:
        raise FetchError(f"a web server has no manifest {repository}:{reference}", retryable=False)

    def blob(self, request: BlobRequest, headers: dict[str, str]) -> AbstractContextManager[http.client.HTTPResponse]:
        url = f"{self._base}/{quote(request.path.lstrip('/'), safe=_SAFE)}"
        return self._client.get(url, headers, self._authorizer)


def _check_secrecy(setup: Setup) -> None:
    """A password is sent without TLS to loopback, or where the operator says so (``datastore.http.security.allowinsecureauth``)."""
    host = setup.base.partition("://")[2]
    is_loopback = host.startswith(("127.", "localhost", "[::1]"))
    if setup.username and setup.base.startswith("http://") and not (setup.allow_insecure_auth or is_loopback):
        raise FetchError(
            "credentials are not sent without TLS",
            code="InsecureCredentials",
            retryable=False,
            resolution="use https, or set the node's property datastore.http.security.allowinsecureauth to true",
        )
