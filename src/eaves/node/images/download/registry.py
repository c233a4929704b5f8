"""OCI registries: manifests and blobs by the distribution API, with the token flow that registries share.

Sources: the OCI distribution specification 1.1, and Docker's "Token Authentication Specification", to which every public registry
holds: a 401 names a realm, which gives a token for the repository, with the user's password or without.
"""

from __future__ import annotations

import contextlib
import http.client
import re
from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, urlencode, urlsplit

import msgspec

from eaves.node.images.download.errors import CutError, FetchError
from eaves.node.images.download.http import WITHOUT_TLS, Anonymous, Basic, Client, as_status_error
from eaves.node.images.download.protocol import BlobRequest, Setup

MANIFEST_LIMIT_BYTES = 4 << 20
_ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)
_PARAMETER = re.compile(r'([a-zA-Z_]+)="([^"]*)"')
_UNREACHABLE = "RegistryUnreachable"


class _Bearer:
    def __init__(self, token: str) -> None:
        self._token = token

    def headers(self, url: SplitResult, headers: Mapping[str, str]) -> dict[str, str]:
        return {**headers, "Authorization": f"Bearer {self._token}"}


class RegistrySource:
    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._client = Client(setup, _UNREACHABLE)
        self._is_settled = False
        self._authorizers: dict[str, _Bearer | Basic | Anonymous] = {}

    def manifest(self, repository: str, reference: str) -> str:
        name = f"{repository}@{reference}" if ":" in reference else f"{repository}:{reference}"
        self._settle_tls()
        with self._get(repository, f"manifests/{reference}", {"Accept": _ACCEPT}) as answer:
            if answer.status != 200:
                raise as_status_error(answer, name, has_credentials=bool(self._setup.username))
            raw = _read(answer)
        if len(raw) > MANIFEST_LIMIT_BYTES:
            raise FetchError(f"the manifest of {name} is larger than {MANIFEST_LIMIT_BYTES} bytes", retryable=False)
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise FetchError(f"the manifest of {name} is no text") from error

    @contextlib.contextmanager
    def blob(self, request: BlobRequest, headers: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
        self._settle_tls()
        with self._get(request.path, f"blobs/{request.digest}", headers) as answer:
            yield answer

    def _settle_tls(self) -> None:
        """Go without TLS where that is allowed and the registry has none. A password is not shown to such a one."""
        setup = self._setup
        if not setup.may_lack_tls or self._is_settled or (setup.username and not setup.allow_insecure_auth):
            return
        try:
            with self._client.get(f"{setup.base}/v2/", {}, Anonymous()):
                pass
        except FetchError as error:
            if error.code != WITHOUT_TLS:
                raise
            self._setup = msgspec.structs.replace(setup, base=setup.base.replace("https:", "http:", 1))
            self._client = Client(self._setup, _UNREACHABLE)
        self._is_settled = True

    @contextlib.contextmanager
    def _get(self, repository: str, rest: str, headers: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
        """The answer, after the registry was told who we are if it asked. Tokens expire, so it may ask again at any time."""
        url = f"{self._setup.base}/v2/{repository}/{rest}"
        for may_log_in in (True, False):
            authorizer = self._authorizers.get(repository, Anonymous())
            with self._client.get(url, headers, authorizer) as answer:
                challenge = answer.headers.get("WWW-Authenticate") or ""
                if answer.status != 401 or not may_log_in or not challenge:
                    yield answer
                    return
            self._authorizers[repository] = self._log_in(challenge, repository)

    def _log_in(self, challenge: str, repository: str) -> _Bearer | Basic | Anonymous:
        kind, _, rest = challenge.partition(" ")
        setup = self._setup
        if kind.lower() == "basic":
            return Basic(setup.username, setup.password) if setup.username else Anonymous()
        parameters = {name.lower(): value for name, value in _PARAMETER.findall(rest)}
        realm = urlsplit(parameters.get("realm", ""))
        if kind.lower() != "bearer" or realm.scheme not in ("https", "http") or not realm.hostname:
            raise FetchError(f"the registry asks for a way to log in that is not known: {kind[:32]}")
        if realm.scheme == "http" and setup.base.startswith("https:"):
            raise FetchError("the registry sends its users to a place without TLS", code="BadRedirect")
        return _Bearer(self._fetch_token(realm, parameters, repository))

    def _fetch_token(self, realm: SplitResult, parameters: Mapping[str, str], repository: str) -> str:
        query = {"scope": parameters.get("scope") or f"repository:{repository}:pull"}
        if service := parameters.get("service"):
            query["service"] = service
        if self._setup.username:
            query["account"] = self._setup.username
        more = f"&{realm.query}" if realm.query else ""
        url = f"{realm.scheme}://{realm.netloc}{realm.path or '/'}?{urlencode(query)}{more}"
        there = msgspec.structs.replace(self._setup, base=f"{realm.scheme}://{realm.netloc}")
        authorizer = Basic(there.username, there.password) if there.username else Anonymous()
        with Client(there, _UNREACHABLE).get(url, {}, authorizer) as answer:
            if answer.status != 200:
                raise as_status_error(answer, f"a token for {repository}", has_credentials=bool(there.username))
            raw = _read(answer)
        try:
            found = msgspec.json.decode(raw)
            return str(found.get("token") or found["access_token"])
        except (msgspec.DecodeError, AttributeError, KeyError) as error:
            raise FetchError("the registry's token is not understood", code="AuthenticationFailed") from error


def _read(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read(MANIFEST_LIMIT_BYTES + 1)
    except TimeoutError as error:
        raise FetchError("the registry stopped in the middle of its answer", code="DownloadStalled") from error
    except (http.client.HTTPException, OSError) as error:
        raise CutError(f"the connection broke: {getattr(error, 'strerror', None) or error}") from error
