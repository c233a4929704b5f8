"""Paths of the device API, written out in full."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.wire import paths
from eaves.wire.errors import IdentifierError, PathError
from eaves.wire.identifiers import AppId, DeviceId
from eaves.wire.paths import Endpoint, Route

DEVICE = DeviceId("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
APP = AppId("0d2b8a4e-0f6e-4a8c-9a55-1c8f3f1b2a77")
BASE = "/api/v2/edgedevice"
BELOW = f"{BASE}/id/{DEVICE}"

TABLE: list[tuple[str, str, Route]] = [
    ("GET", f"{BASE}/certs", Route(Endpoint.CERTS)),
    ("GET", f"{BASE}/ping", Route(Endpoint.PING)),
    ("POST", f"{BASE}/register", Route(Endpoint.REGISTER)),
    ("POST", f"{BASE}/uuid", Route(Endpoint.UUID)),
    ("POST", f"{BELOW}/config", Route(Endpoint.CONFIG, DEVICE)),
    ("POST", f"{BELOW}/attest", Route(Endpoint.ATTEST, DEVICE)),
    ("POST", f"{BELOW}/info", Route(Endpoint.INFO, DEVICE)),
    ("POST", f"{BELOW}/metrics", Route(Endpoint.METRICS, DEVICE)),
    ("POST", f"{BELOW}/newlogs", Route(Endpoint.NEWLOGS, DEVICE)),
    ("POST", f"{BELOW}/apps/instanceid/{APP}/newlogs", Route(Endpoint.APP_NEWLOGS, DEVICE, APP)),
    ("POST", f"{BELOW}/logs", Route(Endpoint.LOGS, DEVICE)),
    ("POST", f"{BELOW}/apps/instanceid/{APP}/logs", Route(Endpoint.APP_LOGS, DEVICE, APP)),
    ("POST", f"{BELOW}/flowlog", Route(Endpoint.FLOWLOG, DEVICE)),
    ("POST", f"{BELOW}/hardwarehealth", Route(Endpoint.HARDWARE_HEALTH, DEVICE)),
    ("POST", f"{BELOW}/proxy/scep", Route(Endpoint.SCEP, DEVICE)),
    ("GET", f"{BELOW}/connection/tunnel", Route(Endpoint.TUNNEL, DEVICE)),
    ("POST", f"{BELOW}/compound-config", Route(Endpoint.COMPOUND_CONFIG, DEVICE)),
    ("POST", f"{BELOW}/ext/eaves/notify", Route(Endpoint.EXTENSION, DEVICE, extension="notify")),
]


def test_table_has_every_endpoint() -> None:
    assert {route.endpoint for _, _, route in TABLE} == set(Endpoint)


@pytest.mark.parametrize(("method", "path", "route"), TABLE)
def test_path_is_built_and_routed(method: str, path: str, route: Route) -> None:
    assert paths.parse_path(path) == route
    assert paths.render_path(route.endpoint, route.device_id, route.app_id, route.extension) == path
    assert route.endpoint.method == method


@pytest.mark.parametrize(("tail", "endpoint"), [("newlogs", Endpoint.APP_NEWLOGS), ("logs", Endpoint.APP_LOGS)])
def test_app_logs_are_also_routed_without_the_device(tail: str, endpoint: Endpoint) -> None:
    assert paths.parse_path(f"{BASE}/apps/instanceid/{APP}/{tail}") == Route(endpoint, None, APP)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        BASE,
        f"{BASE}/",
        f"{BASE}/certs/",
        f"{BASE}//certs",
        f"{BASE}/Certs",
        f"{BASE}/config",
        f"{BASE}x/certs",
        "/api/v1/edgedevice/certs",
        f"x{BASE}/certs",
        BELOW,
        f"{BELOW}/",
        f"{BELOW}/certs",
        f"{BELOW}/config/",
        f"{BELOW}/../{DEVICE}/config",
        f"{BELOW}/ext/eaves/",
        f"{BELOW}/apps/instanceid/{APP}/info",
        f"{BELOW}/apps/instanceid/{APP}/newlogs/x",
        f"{BELOW}/apps/instanceid/{{app}}",
    ],
)
def test_path_written_otherwise_is_refused(path: str) -> None:
    with pytest.raises(PathError):
        paths.parse_path(path)


@pytest.mark.parametrize(
    "path",
    [
        f"{BASE}/id/x/config",
        f"{BASE}/id//config",
        f"{BELOW}/apps/instanceid/../newlogs",
        f"{BELOW}/apps/instanceid/x/logs",
    ],
)
def test_id_that_is_no_uuid_is_refused(path: str) -> None:
    with pytest.raises(IdentifierError):
        paths.parse_path(path)


def test_wrong_ids_for_an_endpoint_are_a_mistake_of_the_caller() -> None:
    for endpoint, device_id, app_id, extension in [
        (Endpoint.CONFIG, None, None, ""),
        (Endpoint.CERTS, DEVICE, None, ""),
        (Endpoint.APP_NEWLOGS, DEVICE, None, ""),
        (Endpoint.INFO, DEVICE, APP, ""),
        (Endpoint.EXTENSION, DEVICE, None, ""),
        (Endpoint.INFO, DEVICE, None, "notify"),
    ]:
        with pytest.raises(PathError):
            paths.render_path(endpoint, device_id, app_id, extension)


@given(st.text(max_size=60))
def test_any_text_is_routed_or_refused(text: str) -> None:
    for path in (text, f"{BASE}/{text}", f"{BELOW}/{text}"):
        try:
            paths.parse_path(path)
        except (PathError, IdentifierError):
            continue
