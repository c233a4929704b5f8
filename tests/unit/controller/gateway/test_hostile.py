"""Hostile input on each endpoint: who is refused, how, and that others do not notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from eaves.controller.deviceside import Clocks
from eaves.controller.settings import GatewaySettings
from eaves.store.errors import DiskFullError
from eaves.store.telemetry import LogSource
from eaves.testing.device import Device, make_onboarding_pair
from eaves.testing.device_transport import AsgiTransport
from eaves.testing.deviceside import Rig, open_rig
from eaves.wire import logfile, paths
from eaves.wire.identifiers import AppId, DeviceId
from eaves.wire.newlog import LogRecord
from eaves.wire.paths import Endpoint
from eaves.wire.pb.auth.auth_pb2 import AuthContainer
from eaves.wire.pb.config.devconfig_pb2 import ConfigRequest
from eaves.wire.pb.logs import log_pb2

APP = AppId("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")
OTHER = DeviceId("99999999-8888-4777-8666-555555555555")
SIGNED = [
    Endpoint.UUID,
    Endpoint.CONFIG,
    Endpoint.ATTEST,
    Endpoint.INFO,
    Endpoint.METRICS,
    Endpoint.NEWLOGS,
    Endpoint.APP_NEWLOGS,
    Endpoint.LOGS,
    Endpoint.APP_LOGS,
    Endpoint.FLOWLOG,
    Endpoint.HARDWARE_HEALTH,
    Endpoint.SCEP,
]
"""Every endpoint whose body a known device signs."""
LIMITS = {Endpoint.REGISTER: 64, Endpoint.CONFIG: 8, Endpoint.ATTEST: 256, Endpoint.INFO: 1024, Endpoint.NEWLOGS: 256}


def path_of(endpoint: Endpoint, device: DeviceId) -> str:
    return paths.render_path(endpoint, device if endpoint.has_device else None, APP if endpoint.has_app else None)


def change(body: bytes, edit: Callable[[AuthContainer], None]) -> bytes:
    container = AuthContainer.FromString(body)
    edit(container)
    return container.SerializeToString()


def break_signature(container: AuthContainer) -> None:
    container.signatureHash = bytes(64)


def drop_signature(container: AuthContainer) -> None:
    container.ClearField("signatureHash")


def change_payload(container: AuthContainer) -> None:
    container.protectedPayload.payload += b"\x08\x01"


def unknown_sender(container: AuthContainer) -> None:
    container.senderCertHash = bytes(32)


def short_sender(container: AuthContainer) -> None:
    container.senderCertHash = container.senderCertHash[:8]


def wrong_algorithm(container: AuthContainer) -> None:
    container.algo = 9  # type: ignore[assignment]  # a number that the enum lacks


@pytest.fixture
async def device(rig: Rig) -> Device:
    return await rig.onboarded(serial="A1")


@pytest.mark.parametrize("endpoint", SIGNED)
@pytest.mark.parametrize(
    "edit", [break_signature, drop_signature, change_payload, unknown_sender, short_sender, wrong_algorithm]
)
async def test_a_body_that_nobody_known_signed_is_401(
    device: Device, endpoint: Endpoint, edit: Callable[[AuthContainer], None]
) -> None:
    body = change(device.signer.seal(b"payload"), edit)
    reply = await device.transport.call("POST", path_of(endpoint, device.id), body)
    unknown_at_uuid = endpoint is Endpoint.UUID and edit in (unknown_sender, short_sender)
    assert reply.status == (400 if unknown_at_uuid else 401)
    assert reply.body == b""
    assert reply.headers["eaves-reason"]


@pytest.mark.parametrize("endpoint", [*SIGNED, Endpoint.REGISTER])
@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"GET / HTTP/1.1", bytes(1000)])
async def test_a_body_that_is_no_envelope_is_400(device: Device, endpoint: Endpoint, body: bytes) -> None:
    assert (await device.transport.call("POST", path_of(endpoint, device.id), body)).status == 400


@pytest.mark.parametrize("endpoint", SIGNED)
async def test_an_empty_body_is_signed_by_nobody(device: Device, endpoint: Endpoint) -> None:
    assert (await device.transport.call("POST", path_of(endpoint, device.id), b"")).status in (400, 401)


@pytest.mark.parametrize("endpoint", SIGNED)
async def test_a_truncated_body_is_refused(device: Device, endpoint: Endpoint) -> None:
    body = device.signer.seal(b"payload")
    for cut in (1, len(body) // 2, len(body) - 1):
        assert (await device.transport.call("POST", path_of(endpoint, device.id), body[:cut])).status in (400, 401)


@pytest.mark.parametrize("endpoint", [endpoint for endpoint in SIGNED if endpoint.has_device])
async def test_the_uuid_of_another_device_is_refused_in_the_way_that_mends_the_device(
    device: Device, endpoint: Endpoint
) -> None:
    reply = await device.transport.call("POST", path_of(endpoint, OTHER), device.signer.seal(b""))
    # 400 makes a device ask /uuid again; elsewhere it would drop its message for it.
    assert reply.status == (400 if endpoint in (Endpoint.CONFIG, Endpoint.ATTEST) else 403)
    assert reply.headers["eaves-reason"] == "ForeignDeviceId"


async def test_the_short_form_of_the_sender_hash_is_known_too(rig: Rig, device: Device) -> None:
    def shorten(container: AuthContainer) -> None:
        container.senderCertHash = container.senderCertHash[:16]
        container.algo = 1  # type: ignore[assignment]  # SHA256_16BYTES

    for _ in range(2):
        reply = await device.transport.call(
            "POST", paths.render_path(Endpoint.UUID), change(device.signer.seal(b""), shorten)
        )
        assert reply.status == 200
    # A hash of a length that its algorithm does not make is refused.
    reply = await device.transport.call(
        "POST",
        paths.render_path(Endpoint.UUID),
        change(device.signer.seal(b""), lambda container: setattr(container, "algo", 1)),
    )
    assert reply.status == 401


async def test_a_der_signature_is_taken_from_devices(device: Device) -> None:
    signature = device.key.sign(b"", ec.ECDSA(hashes.SHA256()))
    body = change(device.signer.seal(b""), lambda container: setattr(container, "signatureHash", signature))
    assert (await device.transport.call("POST", paths.render_path(Endpoint.UUID), body)).status == 200


@pytest.mark.parametrize(("endpoint", "limit_kib"), list(LIMITS.items()))
async def test_a_declared_length_beyond_the_bound_is_413_before_anything_is_read(
    device: Device, endpoint: Endpoint, limit_kib: int
) -> None:
    transport = device.transport
    assert isinstance(transport, AsgiTransport)
    headers = [("content-length", str((limit_kib << 10) + 1))]
    reply = await transport.call_in_parts("POST", path_of(endpoint, device.id), [None], headers)
    assert reply.status == 413
    assert reply.headers["connection"] == "close"


async def test_a_chunked_body_is_cut_off_at_the_bound(rig: Rig, device: Device) -> None:
    transport = device.transport
    assert isinstance(transport, AsgiTransport)
    parts = [bytes(4096)] * 3 + [None]
    reply = await transport.call_in_parts("POST", path_of(Endpoint.CONFIG, device.id), parts)
    assert reply.status == 413
    assert rig.side.budget.used_bytes == 0


@pytest.mark.parametrize("endpoint", [*SIGNED, Endpoint.REGISTER])
@pytest.mark.parametrize(
    "header",
    [
        ("content-type", "application/json"),
        ("content-type", "text/plain; charset=utf-8"),
        ("content-type", ""),
        ("content-encoding", "gzip"),
        ("content-encoding", "br, identity"),
    ],
)
async def test_what_says_to_be_another_thing_than_an_envelope_is_415(
    device: Device, endpoint: Endpoint, header: tuple[str, str]
) -> None:
    path = path_of(endpoint, device.id)
    reply = await device.transport.call("POST", path, device.signer.seal(b""), [header])
    assert (reply.status, reply.headers["connection"]) == (415, "close")


@pytest.mark.parametrize(
    "header",
    [
        ("x-request-id", "1"),
        ("content-type", "application/x-proto-binary"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-type", "Application/X-Proto-Binary ; a=b"),
        ("content-type", "application/octet-stream"),
        ("content-encoding", "identity"),
    ],
)
async def test_an_envelope_is_taken_that_says_so_or_nothing(device: Device, header: tuple[str, str]) -> None:
    reply = await device.transport.call("POST", paths.render_path(Endpoint.UUID), device.signer.seal(b""), [header])
    assert reply.status == 200


async def test_a_length_that_is_no_number_is_400(device: Device) -> None:
    transport = device.transport
    assert isinstance(transport, AsgiTransport)
    reply = await transport.call_in_parts("POST", path_of(Endpoint.INFO, device.id), [b""], [("content-length", "x")])
    assert reply.status == 400


async def test_a_body_in_parts_is_put_together(device: Device) -> None:
    transport = device.transport
    assert isinstance(transport, AsgiTransport)
    body = device.signer.seal(device.info().SerializeToString())
    parts: list[bytes | None] = [body[:10], b"", body[10:50], body[50:]]
    assert (await transport.call_in_parts("POST", path_of(Endpoint.INFO, device.id), parts)).status == 201


async def test_a_sender_that_stops_talking_is_408(tmp_path: Path) -> None:
    async with open_rig(tmp_path, body_timeout_s=0.02) as rig:
        transport = AsgiTransport(rig.side.gateway)
        for parts in ([None], [b"x", None]):
            path = path_of(Endpoint.INFO, OTHER)
            reply = await transport.call_in_parts("POST", path, list(parts), [("content-length", "500000")])
            assert reply.status == 408
        assert rig.side.budget.used_bytes == 0


async def test_bodies_under_way_take_a_bounded_amount_of_memory(tmp_path: Path) -> None:
    settings = GatewaySettings(body_memory_mib=6)
    async with open_rig(tmp_path, settings=settings, body_timeout_s=0.3) as rig:
        headers = [("content-length", str(1 << 20))]
        path = path_of(Endpoint.INFO, OTHER)
        one, two = AsgiTransport(rig.side.gateway, "192.0.2.1"), AsgiTransport(rig.side.gateway, "192.0.2.2")
        calls = [
            transport.call_in_parts("POST", path, [b"x", None], headers)
            for transport in (one, one, one, one, one, two, two, two)
        ]
        statuses = [reply.status for reply in await asyncio.gather(*calls)]
        # One address gets four MiB at most, all together six.
        assert statuses == [408, 408, 408, 408, 429, 408, 408, 503]
        assert rig.side.budget.used_bytes == 0


async def test_a_full_disk_is_503_so_that_devices_keep_their_messages(
    rig: Rig, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> bool:
        raise DiskFullError("no space left")

    for target, name in ((rig.registry, "save_info"), (rig.telemetry, "append_record"), (rig.telemetry, "append_logs")):
        monkeypatch.setattr(target, name, fail)
    replies = [
        await device.send_info(device.info()),
        await device.post(Endpoint.METRICS, device.metrics()),
        await device.send_logs([LogRecord("x", 1, 1)]),
    ]
    assert [reply.status for reply in replies] == [503] * 3
    assert all(int(reply.headers["retry-after"]) > 0 for reply in replies)
    assert (await device.poll()).status == 304


@pytest.fixture
async def timed(tmp_path: Path) -> AsyncIterator[tuple[Rig, list[float]]]:
    """Small rates and a clock that is set by hand."""
    now_s = [1000.0]
    settings = GatewaySettings(device_requests_per_s=2, device_burst=20, unknown_requests_per_s=1, unknown_burst=5)
    async with open_rig(tmp_path, settings=settings, clocks=Clocks(monotonic_s=lambda: now_s[0])) as rig:
        await rig.add_key()
        yield rig, now_s


async def test_a_device_that_calls_too_often_is_slowed_and_others_are_not(timed: tuple[Rig, list[float]]) -> None:
    rig, now_s = timed
    noisy, calm = await rig.onboarded(serial="A1"), await rig.onboarded(serial="B2")
    replies = [await noisy.poll() for _ in range(30)]
    limited = [reply for reply in replies if reply.status == 429]
    assert len(limited) >= 10
    assert int(limited[0].headers["retry-after"]) >= 1
    assert (await calm.poll()).status == 304
    now_s[0] += 5
    assert (await noisy.poll()).status == 304


async def test_a_source_of_junk_is_slowed_and_good_devices_behind_it_are_served(timed: tuple[Rig, list[float]]) -> None:
    rig, now_s = timed
    neighbour = await rig.onboarded(serial="A1")
    junk = AsgiTransport(rig.side.gateway)
    path = path_of(Endpoint.INFO, OTHER)
    statuses = [(await junk.call("POST", path, b"junk")).status for _ in range(20)]
    assert statuses.count(429) >= 14
    # The same address, since both are behind one router.
    assert (await neighbour.poll()).status == 304
    assert (await AsgiTransport(rig.side.gateway, "198.51.100.9").call("POST", path, b"junk")).status == 400
    now_s[0] += 2
    assert (await junk.call("POST", path, b"junk")).status == 400


async def test_a_forger_cannot_lock_its_victim_out(timed: tuple[Rig, list[float]]) -> None:
    rig, _ = timed
    victim = await rig.onboarded(serial="A1")
    forger = AsgiTransport(rig.side.gateway, "198.51.100.9")
    body = change(victim.signer.seal(b""), break_signature)
    statuses = [(await forger.call("POST", path_of(Endpoint.CONFIG, victim.id), body)).status for _ in range(20)]
    assert set(statuses) == {401, 429}
    assert (await victim.poll()).status == 304


async def test_refused_registrations_slow_their_source(timed: tuple[Rig, list[float]]) -> None:
    rig, _ = timed
    stranger = Device(AsgiTransport(rig.side.gateway, "198.51.100.9"), make_onboarding_pair(), serial="A1")
    statuses = [(await stranger.register()).status for _ in range(10)]
    assert statuses.count(403) == 5
    assert statuses.count(429) == 5


async def test_ping_and_certs_are_never_refused(timed: tuple[Rig, list[float]]) -> None:
    rig, _ = timed
    transport = AsgiTransport(rig.side.gateway)
    for _ in range(200):
        assert (await transport.call("GET", paths.render_path(Endpoint.PING))).status == 200
        assert (await transport.call("GET", paths.render_path(Endpoint.CERTS))).status == 200


async def test_a_replayed_config_request_of_an_earlier_boot_is_403(device: Device) -> None:
    request = ConfigRequest(configHash=device.config_hash, integrity_token=device.token)
    recorded = device.signer.seal(request.SerializeToString())
    await device.attest()
    assert (await device.transport.call("POST", path_of(Endpoint.CONFIG, device.id), recorded)).status == 403


async def test_numbers_of_log_lines_that_no_store_holds_count_as_none(rig: Rig, device: Device) -> None:
    assert (await device.send_logs([LogRecord("largest", 1, 2**64 - 1), LogRecord("next", 2, 1)])).status == 201
    bundle = log_pb2.LogBundle(log=[log_pb2.LogEntry(content="of an old device", msgid=2**64 - 1)])
    assert (await device.post(Endpoint.LOGS, bundle)).status == 201
    page = await rig.telemetry.read_logs(LogSource(device.id))
    assert {line.text for line in page.lines} == {"largest", "next", "of an old device"}


async def test_a_log_file_of_more_lines_than_any_device_writes_is_413(device: Device) -> None:
    content = b"{}\n" * (logfile.LINES_LIMIT + 1)
    assert (await device.post(Endpoint.NEWLOGS, logfile.encode_gzip(content, 1))).status == 413
    bundle = log_pb2.LogBundle(log=[log_pb2.LogEntry()] * (logfile.LINES_LIMIT + 1))
    assert (await device.post(Endpoint.LOGS, bundle)).status == 413


async def test_a_first_part_beyond_the_bound_is_refused_without_waiting_for_more(device: Device) -> None:
    transport = device.transport
    assert isinstance(transport, AsgiTransport)
    reply = await transport.call_in_parts("POST", path_of(Endpoint.CONFIG, device.id), [bytes(9000), None])
    assert reply.status == 413


async def test_calls_without_a_body_take_none(device: Device) -> None:
    transport = device.transport
    assert isinstance(transport, AsgiTransport)
    path = paths.render_path(Endpoint.CERTS)
    assert (await transport.call_in_parts("POST", path, [None], [("content-length", "9999999")])).status == 413
    assert (await transport.call_in_parts("POST", path, [None], [("transfer-encoding", "chunked")])).status == 413
    assert (await transport.call("POST", path, b"small")).status == 200
