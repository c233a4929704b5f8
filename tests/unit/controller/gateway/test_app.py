"""Paths, methods and headers of the gateway."""

from __future__ import annotations

import pytest

from eaves.testing.device import Device
from eaves.testing.device_transport import AsgiTransport
from eaves.testing.deviceside import Rig
from eaves.wire import paths
from eaves.wire.paths import Endpoint
from eaves.wire.pb.proxy.scep_pb2 import SCEPProxyRequest

BASE = paths.BASE
UUID = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"


@pytest.fixture
def transport(rig: Rig) -> AsgiTransport:
    return AsgiTransport(rig.side.gateway)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        f"{BASE}",
        f"{BASE}/",
        f"{BASE}/ping/",
        f"{BASE}//ping",
        f"{BASE}/../edgedevice/ping",
        f"{BASE}/%70ing",
        f"{BASE}/id/{UUID}/config/",
        f"{BASE}/id/{UUID}//config",
        f"{BASE}/id/not-a-uuid/config",
        f"{BASE}/id/{UUID}/nothing",
        f"{BASE}/id/{UUID}/apps/instanceid/x/newlogs",
        f"{BASE}/id/{UUID}/compound-config",
        f"{BASE}/id/{UUID}/connection/tunnel",
        f"{BASE}/id/{UUID}/ext/eaves/other",
        "/api/v1/edgedevice/ping",
        "/apis/eaves.dev/v1alpha1",
    ],
)
async def test_a_path_that_the_device_api_does_not_have_is_404(transport: AsgiTransport, path: str) -> None:
    for method in ("GET", "POST"):
        assert (await transport.call(method, path)).status == 404


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("endpoint", [Endpoint.PING, Endpoint.CERTS, Endpoint.REGISTER, Endpoint.UUID])
async def test_other_methods_are_405(transport: AsgiTransport, method: str, endpoint: Endpoint) -> None:
    reply = await transport.call(method, paths.render_path(endpoint))
    assert reply.status == 405
    assert "POST" in reply.headers["allow"] or "GET" in reply.headers["allow"]


async def test_config_cannot_be_had_without_a_signature(transport: AsgiTransport) -> None:
    assert (await transport.call("GET", f"{BASE}/id/{UUID}/config")).status == 405


async def test_ping_is_200_without_a_body(transport: AsgiTransport) -> None:
    reply = await transport.call("GET", f"{BASE}/ping")
    assert (reply.status, reply.headers, reply.body) == (200, {"content-length": "0"}, b"")


async def test_certs_carry_the_content_type_of_the_device_api(transport: AsgiTransport) -> None:
    for method in ("GET", "POST"):
        reply = await transport.call(method, f"{BASE}/certs")
        assert reply.status == 200
        assert reply.headers["content-type"] == "application/x-proto-binary"
        assert int(reply.headers["content-length"]) == len(reply.body)


async def test_a_query_changes_nothing(transport: AsgiTransport) -> None:
    assert (await transport.call("GET", f"{BASE}/ping?x=1")).status == 200


async def test_capital_letters_in_a_uuid_are_taken(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    body = device.signer.seal(device.info().SerializeToString())
    assert (await device.transport.call("POST", f"{BASE}/id/{device.id.upper()}/info", body)).status == 201


async def test_an_unchanged_config_is_304_without_a_body(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    reply = await device.poll()
    assert (reply.status, reply.headers, reply.body) == (304, {}, b"")


async def test_scep_has_no_profiles(rig: Rig) -> None:
    device: Device = await rig.onboarded(serial="A1")
    reply = await device.post(Endpoint.SCEP, SCEPProxyRequest(scep_profile_name="corp"))
    assert (reply.status, reply.headers["eaves-reason"]) == (403, "UnknownProfile")
    assert (await device.post(Endpoint.SCEP, b"\xff\xff")).status == 422
