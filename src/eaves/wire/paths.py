"""URL paths of the device API: built by the node, routed by the controller.

One table serves both, so that they cannot disagree. A path that is not written exactly as here is no path of the device API; no
endpoint is reached by way of doubled slashes, dots or escapes.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from eaves.wire.errors import PathError
from eaves.wire.identifiers import AppId, DeviceId, parse_app_id, parse_device_id

BASE = "/api/v2/edgedevice"
CONTENT_TYPE = "application/x-proto-binary"

_EXTENSION_PREFIX = "ext/eaves/"


class Endpoint(StrEnum):
    """Calls of the device API; the value is what follows the base, or the device's part of the path."""

    CERTS = "certs"
    PING = "ping"
    REGISTER = "register"
    UUID = "uuid"
    CONFIG = "config"
    ATTEST = "attest"
    INFO = "info"
    METRICS = "metrics"
    NEWLOGS = "newlogs"
    APP_NEWLOGS = "apps/instanceid/{app}/newlogs"
    LOGS = "logs"
    """From old devices only."""
    APP_LOGS = "apps/instanceid/{app}/logs"
    """From old devices only."""
    FLOWLOG = "flowlog"
    HARDWARE_HEALTH = "hardwarehealth"
    SCEP = "proxy/scep"
    TUNNEL = "connection/tunnel"
    COMPOUND_CONFIG = "compound-config"
    EXTENSION = "ext/eaves/{name}"
    """Between Eaves and Eaves alone."""

    @property
    def method(self) -> str:
        """GET where there is no body; WebSockets begin with a GET too. An extension's own method is its own affair."""
        return "GET" if self in (Endpoint.CERTS, Endpoint.PING, Endpoint.TUNNEL) else "POST"

    @property
    def has_device(self) -> bool:
        """Whether the path names the device."""
        return self not in _WITHOUT_DEVICE

    @property
    def has_app(self) -> bool:
        return self in (Endpoint.APP_NEWLOGS, Endpoint.APP_LOGS)


_WITHOUT_DEVICE = frozenset({Endpoint.CERTS, Endpoint.PING, Endpoint.REGISTER, Endpoint.UUID})
_OF_SERVICE = {endpoint.value: endpoint for endpoint in _WITHOUT_DEVICE}
_OF_DEVICE = {endpoint.value: endpoint for endpoint in Endpoint if endpoint.has_device and "{" not in endpoint.value}
_OF_APP = {"newlogs": Endpoint.APP_NEWLOGS, "logs": Endpoint.APP_LOGS}


class Route(Struct, frozen=True):
    """Where a path leads. ``device_id`` is what the path claims; only the signature says who it is."""

    endpoint: Endpoint
    device_id: DeviceId | None = None
    app_id: AppId | None = None
    extension: str = ""
    """What follows ``ext/eaves/``."""


def render_path(
    endpoint: Endpoint, device_id: DeviceId | None = None, app_id: AppId | None = None, extension: str = ""
) -> str:
    """The path to call. An app's logs go below the device, where devices of the field send them."""
    if endpoint.has_device != (device_id is not None) or endpoint.has_app != (app_id is not None):
        raise PathError(f"the path of {endpoint.name} needs other ids than were given")
    if (endpoint is Endpoint.EXTENSION) != bool(extension):
        raise PathError(f"the path of {endpoint.name} and the extension {extension!r} do not go together")
    tail = endpoint.value.replace("{app}", app_id or "").replace("{name}", extension)
    return f"{BASE}/id/{device_id}/{tail}" if device_id is not None else f"{BASE}/{tail}"


def parse_path(path: str) -> Route:
    """Where ``path`` leads. Raises PathError, or IdentifierError when an id in it is no UUID."""
    if not path.startswith(BASE + "/"):
        raise PathError("path is outside the device API", details=path[:256])
    rest = path[len(BASE) + 1 :]
    if rest.startswith("id/"):
        device, _, tail = rest[3:].partition("/")
        return _parse_device_path(parse_device_id(device), tail, path)
    if endpoint := _OF_SERVICE.get(rest):
        return Route(endpoint)
    # The API's text puts an app's logs here, without the device.
    return _parse_app_path(None, rest, path)


def _parse_device_path(device_id: DeviceId, tail: str, path: str) -> Route:
    if endpoint := _OF_DEVICE.get(tail):
        return Route(endpoint, device_id)
    if tail.startswith(_EXTENSION_PREFIX) and len(tail) > len(_EXTENSION_PREFIX):
        return Route(Endpoint.EXTENSION, device_id, extension=tail[len(_EXTENSION_PREFIX) :])
    return _parse_app_path(device_id, tail, path)


def _parse_app_path(device_id: DeviceId | None, tail: str, path: str) -> Route:
    parts = tail.split("/")
    if len(parts) == 4 and parts[:2] == ["apps", "instanceid"] and (endpoint := _OF_APP.get(parts[3])):
        return Route(endpoint, device_id, parse_app_id(parts[2]))
    raise PathError("no such call in the device API", details=path[:256])
