"""One call of the device API: seal, choose a way out, send, open the answer.

All steps of the link go through :class:`Controller`. It reports each attempt to ``uplinks``, fetches certificates when an answer is
signed by an unknown one, and keeps what ``eaves node status`` says about the connection.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from msgspec import Struct

from eaves.node.link import identity, uplinks
from eaves.node.link.certs import MISS_PAUSE_S, CertificateKeeper
from eaves.node.link.client import HttpClient, Proxy, Response, Route
from eaves.node.link.errors import AnswerError, DialError, LinkError, RefusedError, UnreachableError
from eaves.node.link.traffic import Traffic
from eaves.wire import paths
from eaves.wire.errors import CertificateMissError, WireError
from eaves.wire.identifiers import AppId, DeviceId
from eaves.wire.paths import Endpoint

log = logging.getLogger(__name__)

_M = TypeVar("_M", bound=Message)

SUCCESS = frozenset({200, 201, 204, 304})
_FINAL = frozenset({*SUCCESS, 403})
"""Other uplinks are not tried after these."""
_TELLING = frozenset({Endpoint.UUID, Endpoint.CONFIG, Endpoint.ATTEST})
"""Calls whose answers carry a message in an envelope. What a controller says to others beside its status means nothing, as with EVE."""


class Reply(Struct, frozen=True):
    """An answer of the controller. ``payload`` is verified; empty for any status but success."""

    status: int
    payload: bytes = b""
    body: bytes = b""
    """As received, for what is kept with its signature."""

    @property
    def is_success(self) -> bool:
        return self.status in SUCCESS


class LinkHealth(Struct):
    """How the connection fares; times are Unix seconds, 0 = never."""

    last_success: float = 0.0
    last_failure: float = 0.0
    last_error: str = ""
    resolution: str = ""
    successes: int = 0
    failures: int = 0
    uplink: str = ""


class Controller:
    """Calls the controller as this device."""

    def __init__(
        self,
        client: HttpClient,
        ways: uplinks.Uplinks,
        keys: identity.DeviceKeys,
        *,
        proxy: Proxy | None = None,
        serial: str = "",
        soft_serial: str = "",
    ) -> None:
        self.client = client
        self.keys = keys
        self.health = LinkHealth()
        self.traffic = Traffic()
        self.device_id: DeviceId | None = None
        self.reconnected: Callable[[], None] = lambda: None
        """Called when an answer comes after a failure."""
        self.proxies: dict[str, Proxy | None] = {}
        """By the labels of uplinks that have a word of their own on it; for others that of the settings counts."""
        self._uplinks = ways
        self._proxy = proxy
        self._serials = [("x-serial-number", serial), ("x-soft-serial", soft_serial)]
        self._certs: CertificateKeeper | None = None

    def use_certificates(self, certs: CertificateKeeper) -> None:
        """Whose certificates open the answers; given after construction since the keeper fetches through here."""
        self._certs = certs

    async def fetch_certs(self) -> bytes:
        """The body of ``/certs``, unverified. Raises LinkError."""
        response = await self._send("GET", paths.render_path(Endpoint.CERTS), b"")
        if response.status != 200:
            raise RefusedError(
                response.status,
                "/certs",
                "check that the server's name and port are those of the controller's device API",
            )
        return response.body

    async def post(
        self,
        endpoint: Endpoint,
        payload: bytes,
        *,
        app_id: AppId | None = None,
        seal: Callable[[bytes], bytes] | None = None,
    ) -> Reply:
        """Send ``payload`` sealed by the device key (or ``seal``). A refusal is a Reply with its status.

        Raises LinkError when no usable answer came, WireError when its envelope is not the controller's.
        """
        device_id = self.device_id if endpoint.has_device else None
        if endpoint.has_device and device_id is None:
            raise LinkError("this node has no UUID yet", element=endpoint.value, retryable=True)
        path = paths.render_path(endpoint, device_id, app_id)
        # A few hundred microseconds; only log files of 50 kB are worth a thread, and they are read in one anyway.
        sealed = seal(payload) if seal else identity.seal_envelope(self.keys, payload)
        response = await self._send("POST", path, sealed)
        if response.status not in SUCCESS or endpoint not in _TELLING or not response.body:
            return Reply(response.status, body=response.body)
        return Reply(response.status, await self.open(response.body), response.body)

    async def route_for_stream(self) -> Route:
        """The way for a long-lived connection beside the calls."""
        attempts = await self._uplinks.attempts()
        return self._route(attempts[0] if attempts else uplinks.HOST_ROUTING)

    async def ping(self, attempt: uplinks.Attempt) -> None:
        """Ask whether the controller answers by one way; that it answers at all, with a certificate that is trusted, is enough.

        Raises UnreachableError.
        """
        await self._attempt(attempt, "GET", paths.render_path(Endpoint.PING), b"")

    def _route(self, attempt: uplinks.Attempt) -> Route:
        return Route(attempt.source, self.proxies.get(attempt.label, self._proxy), attempt.interface)

    async def open(self, body: bytes) -> bytes:
        """The payload of an envelope that the controller signed. Raises WireError, and LinkError when its certificates must be fetched."""
        assert self._certs is not None
        try:
            try:
                return self._certs.open(body)
            except CertificateMissError:
                await self._certs.fetch(unless_within_s=MISS_PAUSE_S)
                return self._certs.open(body)
        except WireError:
            self.traffic.note_forgery(self.health.uplink)
            raise

    async def _send(self, method: str, path: str, body: bytes) -> Response:
        attempts = await self._uplinks.attempts()
        try:
            response = await self._try(attempts, method, path, body)
        except UnreachableError as error:
            self._note_failure(error)
            raise
        self._note_answer(response.status, path)
        return response

    async def _try(self, attempts: Sequence[uplinks.Attempt], method: str, path: str, body: bytes) -> Response:
        """The first success over any way out, else the last answer, else the last error."""
        answer: Response | None = None
        failure: UnreachableError | None = None
        asked = ""
        limit_s = min(3 * self.client.send_timeout_s, 240.0)
        ends_at = asyncio.get_running_loop().time() + limit_s
        for attempt in attempts:
            if answer is not None and attempt.label == asked:
                # The controller was heard over this port; its other addresses would hear the same.
                continue
            if failure is not None and asyncio.get_running_loop().time() >= ends_at:
                break
            try:
                answer = await self._attempt(attempt, method, path, body)
            except UnreachableError as error:
                failure = error
                self._uplinks.note_failure(attempt)
                continue
            asked = attempt.label
            self._uplinks.note_success(attempt)
            self.health.uplink = attempt.label
            if answer.status in _FINAL:
                return answer
        if answer is not None:
            return answer
        raise failure or DialError(
            "no uplink has an address", resolution="check the uplinks named in the settings and their cables"
        )

    async def _attempt(self, attempt: uplinks.Attempt, method: str, path: str, body: bytes) -> Response:
        headers = [("x-request-id", str(uuid.uuid4()))]
        if self.device_id is None:
            headers += [(name, value) for name, value in self._serials if value]
        if method == "POST":
            headers.append(("content-type", paths.CONTENT_TYPE))
        url = f"https://{self.client.server.authority}{path}"
        began = time.monotonic()
        try:
            answer = await self.client.request(method, path, headers=headers, body=body, route=self._route(attempt))
        except UnreachableError:
            self.traffic.note_failure(attempt.label, url, len(body))
            raise
        self.traffic.note_answer(
            attempt.label,
            url,
            len(body),
            len(answer.body),
            time.monotonic() - began,
            is_success=answer.status in SUCCESS,
        )
        return answer

    def _note_failure(self, error: LinkError) -> None:
        self.health.failures += 1
        self.health.last_failure = time.time()
        self.health.last_error, self.health.resolution = str(error), error.resolution

    def _note_answer(self, status: int, path: str) -> None:
        was_failing = self.health.last_failure > self.health.last_success
        if status in SUCCESS:
            self.health.successes += 1
            self.health.last_success = time.time()
        else:
            self.health.failures += 1
            self.health.last_failure = time.time()
            self.health.last_error = f"the controller answers {status} to {path.rsplit('/', 1)[-1]}"
            self.health.resolution = ""
        if was_failing and status in SUCCESS:
            self.reconnected()


def check_success(reply: Reply, element: str, resolution: str = "") -> Reply:
    """The reply itself when its status is a success. Raises RefusedError."""
    if not reply.is_success:
        raise RefusedError(reply.status, element, resolution)
    return reply


def parse_payload(kind: type[_M], payload: bytes, element: str) -> _M:
    """The message in a verified payload. Raises AnswerError."""
    try:
        return kind.FromString(payload)
    except DecodeError as error:
        raise AnswerError("the answer is not the expected message", element=element, details=str(error)) from error


LINK_ERRORS = (LinkError, WireError)
"""What a call may raise: no usable answer, or one that the controller did not sign."""
