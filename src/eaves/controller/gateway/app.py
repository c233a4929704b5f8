"""The gateway as an ASGI application: paths to endpoints, bodies within bounds, refusals to status codes.

Written on bare ASGI, since every microsecond here is multiplied by every device. Paths are matched exactly as the device API writes
them: an unclean one (doubled slashes, dots, escapes, a trailing slash) is no path.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

from google.protobuf.message import DecodeError
from msgspec import Struct

from eaves.controller.gateway.attest import Attestor
from eaves.controller.gateway.body import ClientGoneError, check_media, check_no_body, load_body
from eaves.controller.gateway.config import ConfigService
from eaves.controller.gateway.devices import Device
from eaves.controller.gateway.errors import (
    BusyError,
    ForbiddenError,
    GatewayError,
    MalformedError,
    MethodError,
    UnauthenticatedError,
    UnknownPathError,
    UnprocessableError,
)
from eaves.controller.gateway.ingest import Ingest
from eaves.controller.gateway.limits import Budget, Slots, source_of
from eaves.controller.gateway.logs import LogIntake
from eaves.controller.gateway.notify import NotifyEndpoint
from eaves.controller.gateway.register import Registrar
from eaves.controller.gateway.verify import Verifier
from eaves.controller.tunnel.endpoint import StreamEndpoint
from eaves.store.errors import DeviceConflictError, StoreError, UnknownDeviceError
from eaves.wire import paths, tunnel
from eaves.wire.errors import WireError
from eaves.wire.identifiers import DeviceId
from eaves.wire.paths import Endpoint, Route
from eaves.wire.pb.eveuuid.eveuuid_pb2 import UuidRequest, UuidResponse
from eaves.wire.pb.proxy.scep_pb2 import SCEPProxyRequest

log = logging.getLogger(__name__)

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

KIB, MIB = 1 << 10, 1 << 20
BODY_TIMEOUT_S = 120.0
"""A device gives up after as long; over a thin link a log file may need most of it."""
REQUESTS_PER_DEVICE = 16
"""Under way at the same time."""

_LIMIT_BYTES: Mapping[Endpoint, int] = {
    Endpoint.REGISTER: 64 * KIB,
    Endpoint.UUID: 4 * KIB,
    Endpoint.CONFIG: 8 * KIB,
    Endpoint.ATTEST: 256 * KIB,
    Endpoint.INFO: 1 * MIB,
    Endpoint.METRICS: 2 * MIB,
    Endpoint.NEWLOGS: 256 * KIB,
    Endpoint.APP_NEWLOGS: 256 * KIB,
    Endpoint.LOGS: 1 * MIB,
    Endpoint.APP_LOGS: 1 * MIB,
    Endpoint.FLOWLOG: 1 * MIB,
    Endpoint.HARDWARE_HEALTH: 1 * MIB,
    Endpoint.SCEP: 256 * KIB,
}

_SELF_MENDING = frozenset({Endpoint.CONFIG, Endpoint.ATTEST})
"""Where a device acts on 400 by asking for its UUID."""

_CONFIG_WITHOUT_ID = f"{paths.BASE}/config"
"""Served by other controllers too; the signer says who it is."""

NOTIFY = "notify"


class Answer(Struct, frozen=True):
    """An answer to a device. ``body`` is an envelope or empty."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()


_OK = Answer(200)
_CREATED = Answer(201)
_NOT_MODIFIED = Answer(304)


class Gateway:
    """Routes requests to the services that it is given. ``seal`` signs a payload, ``certs`` is the sealed ``/certs`` body."""

    def __init__(
        self,
        *,
        verifier: Verifier,
        registrar: Registrar,
        attestor: Attestor,
        configs: ConfigService,
        ingest: Ingest,
        logs: LogIntake,
        notify: NotifyEndpoint,
        streams: StreamEndpoint,
        seal: Callable[[bytes], bytes],
        certs: Callable[[], bytes],
        seen: Callable[[DeviceId], None],
        budget: Budget,
        body_timeout_s: float = BODY_TIMEOUT_S,
    ) -> None:
        self._verifier = verifier
        self._registrar = registrar
        self._attestor = attestor
        self._configs = configs
        self._ingest = ingest
        self._logs = logs
        self._notify = notify
        self._streams = streams
        self._seal = seal
        self._certs = certs
        self._seen = seen
        self._budget = budget
        self._body_timeout_s = body_timeout_s
        self._slots: Slots[DeviceId] = Slots(REQUESTS_PER_DEVICE)
        self._handlers: Mapping[Endpoint, Callable[[Device, bytes, Route], Awaitable[Answer]]] = {
            Endpoint.UUID: self._tell_uuid,
            Endpoint.CONFIG: self._serve_config,
            Endpoint.ATTEST: self._serve_attest,
            Endpoint.INFO: self._take_info,
            Endpoint.METRICS: self._take_metrics,
            Endpoint.NEWLOGS: self._take_log_file,
            Endpoint.APP_NEWLOGS: self._take_log_file,
            Endpoint.LOGS: self._take_log_bundle,
            Endpoint.APP_LOGS: self._take_log_bundle,
            Endpoint.FLOWLOG: self._take_flows,
            Endpoint.HARDWARE_HEALTH: self._take_hardware_health,
            Endpoint.SCEP: self._serve_scep,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "websocket":
            await self._serve_websocket(scope, receive, send)
            return
        if kind != "http":
            return
        try:
            answer = await self._answer(scope, receive)
        except GatewayError as error:
            answer = _refuse(error)
        except StoreError as error:
            answer = _refuse(_translate(error))
        except ClientGoneError:
            return
        await _send(answer, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        route = parse_route(scope)
        endpoint = route.endpoint
        if endpoint is Endpoint.PING or endpoint is Endpoint.CERTS:
            return self._answer_open(scope, endpoint)
        limit_bytes = _LIMIT_BYTES.get(endpoint)
        if limit_bytes is None:
            raise UnknownPathError("this call is not served here")
        if scope["method"] != "POST":
            raise MethodError("POST")
        check_media(scope["headers"])
        source = _source(scope)
        if endpoint is Endpoint.REGISTER:
            return await self._register(scope, receive, source)
        body = await load_body(receive, scope["headers"], limit_bytes, self._body_timeout_s, self._budget, source)
        try:
            verified = await self._verifier.open(body, source)
        except UnauthenticatedError as error:
            if endpoint is Endpoint.UUID and error.code == "UnknownDevice":
                raise MalformedError(error.message, code=error.code) from error
            raise
        device = verified.device
        if route.device_id is not None and route.device_id != device.id:
            _refuse_foreign_id(endpoint)
        self._seen(device.id)
        self._slots.enter(device.id)
        try:
            return await self._handlers[endpoint](device, verified.payload, route)
        finally:
            self._slots.leave(device.id)

    def _answer_open(self, scope: Scope, endpoint: Endpoint) -> Answer:
        """Calls without an envelope; never limited in rate, since devices judge their network by them."""
        method = scope["method"]
        check_no_body(scope["headers"])
        if endpoint is Endpoint.PING:
            if method != "GET":
                raise MethodError("GET")
            return _OK
        if method not in ("GET", "POST"):
            raise MethodError("GET, POST")
        return Answer(200, self._certs())

    async def _register(self, scope: Scope, receive: Receive, source: str) -> Answer:
        self._verifier.check_source(source)
        limit_bytes = _LIMIT_BYTES[Endpoint.REGISTER]
        body = await load_body(receive, scope["headers"], limit_bytes, self._body_timeout_s, self._budget, source)
        try:
            is_new = await self._registrar.register(body)
        except GatewayError:
            self._verifier.charge_source(source)
            raise
        return _CREATED if is_new else _OK

    async def _tell_uuid(self, device: Device, payload: bytes, _route: Route) -> Answer:
        try:
            UuidRequest.FromString(payload)
        except DecodeError as error:
            raise UnprocessableError("payload is not a UuidRequest") from error
        return Answer(200, self._seal(UuidResponse(uuid=device.id).SerializeToString()))

    async def _serve_config(self, device: Device, payload: bytes, _route: Route) -> Answer:
        sealed = await self._configs.serve(device, payload)
        return _NOT_MODIFIED if sealed is None else Answer(200, sealed)

    async def _serve_attest(self, device: Device, payload: bytes, _route: Route) -> Answer:
        return Answer(201, self._seal(await self._attestor.serve(device, payload)))

    async def _take_info(self, device: Device, payload: bytes, _route: Route) -> Answer:
        await self._ingest.take_info(device, payload)
        return _CREATED

    async def _take_metrics(self, device: Device, payload: bytes, _route: Route) -> Answer:
        await self._ingest.take_metrics(device, payload)
        return _CREATED

    async def _take_flows(self, device: Device, payload: bytes, _route: Route) -> Answer:
        await self._ingest.take_flows(device, payload)
        return _CREATED

    async def _take_hardware_health(self, device: Device, payload: bytes, _route: Route) -> Answer:
        await self._ingest.take_hardware_health(device, payload)
        return _CREATED

    async def _take_log_file(self, device: Device, payload: bytes, route: Route) -> Answer:
        await self._logs.take_file(device, payload, route.app_id)
        return _CREATED

    async def _take_log_bundle(self, device: Device, payload: bytes, route: Route) -> Answer:
        await self._logs.take_bundle(device, payload, route.app_id)
        return _CREATED

    async def _serve_scep(self, _device: Device, payload: bytes, _route: Route) -> Answer:
        """No SCEP profile can be configured, so every name is a wrong one."""
        try:
            request = SCEPProxyRequest.FromString(payload)
        except DecodeError as error:
            raise UnprocessableError("payload is not a SCEPProxyRequest") from error
        raise ForbiddenError(f"there is no SCEP profile {request.scep_profile_name[:64]!r}", code="UnknownProfile")

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            route = parse_route(scope)
        except GatewayError:
            route = None
        if route is None or route.device_id is None:
            await send({"type": "websocket.close"})
        elif route.extension == NOTIFY:
            await self._notify.serve(route.device_id, _source(scope), receive, send)
        elif route.extension.startswith(tunnel.EXTENSION_PREFIX):
            stream_id = route.extension.removeprefix(tunnel.EXTENSION_PREFIX)
            await self._streams.serve(route.device_id, stream_id, _source(scope), receive, send)
        else:
            await send({"type": "websocket.close"})


def parse_route(scope: Scope) -> Route:
    """Where a request leads. Raises UnknownPathError."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    try:
        path = raw.decode("ascii")
        if path == _CONFIG_WITHOUT_ID:
            return Route(Endpoint.CONFIG)
        return paths.parse_path(path)
    except (WireError, UnicodeDecodeError):
        raise UnknownPathError("no such path in the device API") from None


def _source(scope: Scope) -> str:
    client = scope.get("client")
    return source_of(client[0]) if client else ""


def _refuse_foreign_id(endpoint: Endpoint) -> NoReturn:
    message = "the UUID in the path is not that of the signer"
    if endpoint in _SELF_MENDING:
        raise MalformedError(message, code="ForeignDeviceId", resolution="ask /uuid for the own UUID")
    raise ForbiddenError(message, code="ForeignDeviceId", resolution="ask /uuid for the own UUID")


def _translate(error: StoreError) -> GatewayError:
    if isinstance(error, UnknownDeviceError):
        return UnauthenticatedError(error.message, code="UnknownDevice")
    if isinstance(error, DeviceConflictError):
        return ForbiddenError(error.message, code=error.code)
    log.warning("request could not be served: error=%s", error)
    return BusyError(error.message, code=error.code)


def _refuse(error: GatewayError) -> Answer:
    """The connection is closed after a body that was not read to its end, else its rest would be read as requests."""
    headers = [(b"eaves-reason", error.code.encode())]
    if error.retry_after_s:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    if isinstance(error, MethodError):
        headers.append((b"allow", error.allowed.encode()))
    if error.status in (404, 405, 408, 413, 415, 503):
        headers.append((b"connection", b"close"))
    return Answer(error.status, b"", tuple(headers))


_PROTO_HEADER = (b"content-type", paths.CONTENT_TYPE.encode())
_EMPTY_HEADERS = [(b"content-length", b"0")]
_STARTS: dict[int, Any] = {
    200: {"type": "http.response.start", "status": 200, "headers": _EMPTY_HEADERS},
    201: {"type": "http.response.start", "status": 201, "headers": _EMPTY_HEADERS},
    304: {"type": "http.response.start", "status": 304, "headers": []},
}
_EMPTY_BODY = {"type": "http.response.body", "body": b""}


async def _send(answer: Answer, send: Send) -> None:
    body = answer.body
    if not body and not answer.headers:
        await send(_STARTS[answer.status])
        await send(_EMPTY_BODY)
        return
    headers = [(b"content-length", str(len(body)).encode()), *answer.headers]
    if body:
        headers.append(_PROTO_HEADER)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
