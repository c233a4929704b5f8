"""How a node gets to know its cluster: it checks the authority that the token names, then asks the supervisor with the token."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import urllib.parse
from typing import Any

from tests.k3s import log, tokens

_LIMIT_S = 20.0


class JoinError(Exception):
    """The server does not answer, or not as wished. A retry may help."""


class Supervisor:
    """The supervisor of a server, as a joining node sees it. ``user`` is ``server`` or ``node``."""

    def __init__(self, url: str, token: str, user: str) -> None:
        self._url = urllib.parse.urlsplit(url)
        if self._url.scheme != "https" or not self._url.hostname:
            log.fatal(f"Invalid server url, failed to parse: {url}: only https:// is supported")
        self._token = tokens.parse(token)
        self._user = self._token.user or user
        self._context: ssl.SSLContext | None = None

    @property
    def address(self) -> str:
        return f"{self._url.hostname}:{self._url.port or 443}"

    def get(self, path: str, headers: dict[str, str] | None = None) -> bytes:
        """Raises JoinError; fatal for a token that names another cluster."""
        credentials = base64.b64encode(f"{self._user}:{self._token.password}".encode()).decode()
        return self._call(path, {"Authorization": f"Basic {credentials}", **(headers or {})}, self._trust())

    def put_json(self, path: str, document: Any) -> None:
        """Raises JoinError as :meth:`get`."""
        credentials = base64.b64encode(f"{self._user}:{self._token.password}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
        self._call(path, headers, self._trust(), json.dumps(document))

    def get_json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def _trust(self) -> ssl.SSLContext:
        if self._context is None:
            blind = ssl.create_default_context()
            blind.check_hostname = False
            blind.verify_mode = ssl.CERT_NONE
            authority = self._call("/cacerts", {}, blind)
            if self._token.authority and tokens.hash_authority(authority) != self._token.authority:
                raise JoinError(
                    "token CA hash does not match the Cluster CA certificate hash: "
                    f"{self._token.authority} != {tokens.hash_authority(authority)}"
                )
            self._context = ssl.create_default_context(cadata=authority.decode())
        return self._context

    def _call(self, path: str, headers: dict[str, str], context: ssl.SSLContext, body: str | None = None) -> bytes:
        try:
            connection = http.client.HTTPSConnection(self.address, context=context, timeout=_LIMIT_S)
            try:
                connection.request("GET" if body is None else "PUT", path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise JoinError(f"https://{self.address}{path}: {error}") from error
        if answer.status == 401:
            raise JoinError(f"not authorized: https://{self.address}{path}: 401 Unauthorized")
        if answer.status == 403 and "Node-Password" in " ".join(headers):
            raise JoinError(
                "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match "
                "server node-passwd entry, try enabling a unique node name with the --with-node-id flag"
            )
        if answer.status != 200:
            raise JoinError(f"https://{self.address}{path}: {answer.status}: {content.decode(errors='replace')[:200]}")
        return content
