"""S3: objects of a bucket, requests signed with AWS Signature Version 4.

By hand, since it is sixty lines that AWS publishes test vectors for, and an SDK costs twenty megabytes (ADR 12). Source: "Signature
Calculations for the Authorization Header" of the S3 API reference. Buckets are named in the host or in the path, which
:mod:`eaves.node.images.access` has decided.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import hmac
import http.client
import re
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import SplitResult, quote

from eaves.node.images.download.errors import FetchError
from eaves.node.images.download.http import Anonymous, Authorizer, Client, as_status_error
from eaves.node.images.download.protocol import BlobRequest, Setup

_ALGORITHM = "AWS4-HMAC-SHA256"
_NO_BODY = hashlib.sha256(b"").hexdigest()
_DEFAULT_REGION = "us-east-1"
_ERROR_BODY_BYTES = 16 << 10


def _utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class Signer:
    """Signs requests of one region with one key."""

    def __init__(
        self, key_id: str, secret: str, region: str, *, now: Callable[[], datetime.datetime] = _utc_now
    ) -> None:
        self._key_id = key_id
        self._secret = secret
        self._region = region or _DEFAULT_REGION
        self._now = now

    def headers(self, url: SplitResult, headers: Mapping[str, str]) -> dict[str, str]:
        """Of a GET."""
        return self.sign("GET", url, headers, _NO_BODY)

    def sign(self, method: str, url: SplitResult, headers: Mapping[str, str], body_sha256: str) -> dict[str, str]:
        """All headers of a request whose body has this SHA-256 in hex."""
        moment = self._now().strftime("%Y%m%dT%H%M%SZ")
        sent = {**headers, "Host": url.netloc, "x-amz-content-sha256": body_sha256, "x-amz-date": moment}
        signed = {name.lower(): value.strip() for name, value in sent.items() if name.lower() != "if-range"}
        names = ";".join(sorted(signed))
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        request = "\n".join((method, url.path or "/", _sort_query(url.query), lines, names, body_sha256))
        scope = f"{moment[:8]}/{self._region}/s3/aws4_request"
        text = "\n".join((_ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()))
        signature = hmac.new(self._key(moment[:8]), text.encode(), hashlib.sha256).hexdigest()
        value = f"{_ALGORITHM} Credential={self._key_id}/{scope},SignedHeaders={names},Signature={signature}"
        return {**sent, "Authorization": value}

    def _key(self, day: str) -> bytes:
        key = f"AWS4{self._secret}".encode()
        for part in (day, self._region, "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return key


class S3Source:
    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._client = Client(setup, "DatastoreUnreachable")
        self._authorizer: Authorizer = (
            Signer(setup.username, setup.password, setup.region) if setup.username else Anonymous()
        )

    def manifest(self, repository: str, reference: str) -> str:
        raise FetchError(f"S3 has no manifest {repository}:{reference}", retryable=False)

    @contextlib.contextmanager
    def blob(self, request: BlobRequest, headers: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
        url = f"{self._setup.base}/{want_object_path(request.path)}"
        with self._client.get(url, headers, self._authorizer) as answer:
            if answer.status >= 400 and answer.status != 416:
                raise self._explain(answer, request.path)
            yield answer

    def _explain(self, answer: http.client.HTTPResponse, path: str) -> FetchError:
        """S3 says in an XML body why."""
        region = answer.headers.get("x-amz-bucket-region") or ""
        with contextlib.suppress(OSError, http.client.HTTPException):
            body = answer.read(_ERROR_BODY_BYTES).decode(errors="replace")
            code = _find_element(body, "Code")
            region = _find_element(body, "Region") or region
            if code in ("AuthorizationHeaderMalformed", "PermanentRedirect") and region:
                return FetchError(
                    f"the bucket is in region {region}, not {self._setup.region or _DEFAULT_REGION}",
                    code="WrongRegion",
                    resolution=f"set the datastore's region to {region}",
                )
            if code == "RequestTimeTooSkewed":
                return FetchError(
                    "the server finds this machine's clock wrong",
                    code="ClockSkewed",
                    resolution="check the node's clock",
                )
            if code == "NoSuchBucket":
                return FetchError(
                    "the server has no such bucket", code="ImageNotFound", resolution="check the datastore's path"
                )
        return as_status_error(answer, path, has_credentials=bool(self._setup.username))


def want_object_path(path: str) -> str:
    """Encoded once, as it is signed."""
    return quote(path.lstrip("/"), safe="/-_.~")


def _sort_query(query: str) -> str:
    return "&".join(sorted(part if "=" in part else f"{part}=" for part in query.split("&") if part))


def _find_element(body: str, name: str) -> str:
    found = re.search(rf"<{name}>([^<]{{1,200}})</{name}>", body)
    return found[1] if found else ""
