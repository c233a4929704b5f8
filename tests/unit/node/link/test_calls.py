"""One call: which way out is taken, what an answer means for the next one, and whose answers are believed."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from eaves.node.link.calls import Controller
from eaves.node.link.certs import CertificateKeeper
from eaves.node.link.client import HttpClient, Server
from eaves.node.link.errors import DialError, LinkError, RefusedError
from eaves.node.link.identity import FileKeys, want_soft_serial
from eaves.node.link.tls import want_context
from eaves.node.link.uplinks import Uplink, Uplinks
from eaves.testing.authority import Authority, now
from eaves.testing.foreign_controller import Device, ForeignController
from eaves.wire import certificates
from eaves.wire.errors import CertificateMissError, SignatureError
from eaves.wire.identifiers import DeviceId
from eaves.wire.paths import Endpoint

DEVICE = DeviceId("a0000000-0000-4000-8000-000000000001")
NOWHERE = "192.0.2.77"
"""No address of this machine, so that nothing can leave from it."""


class Stage:
    def __init__(self, controller: ForeignController, folder: Path, addresses: Mapping[str, Sequence[str]]) -> None:
        async def load() -> dict[str, tuple[str, ...]]:
            return {interface: tuple(found) for interface, found in addresses.items()}

        uplinks = Uplinks([Uplink(f"label-{name}", name, cost) for cost, name in enumerate(addresses)], load=load)
        self.client = HttpClient(
            Server("localhost", controller.port), want_context(controller.authority.root_pem, use_system=False)
        )
        self.keys = FileKeys.open(folder / "keys", datetime.datetime.now(datetime.UTC))
        self.calls = Controller(self.client, uplinks, self.keys, serial="S-1", soft_serial="soft")
        self.certs = CertificateKeeper(folder, controller.authority.root_pem, self.calls.fetch_certs, now=now)
        self.calls.use_certificates(self.certs)
        controller.devices[DEVICE] = controller_device(self.keys)
        self.calls.device_id = DEVICE


def controller_device(keys: FileKeys) -> Device:
    return Device(DEVICE, keys.certificate, "S-1", "soft")


@contextlib.asynccontextmanager
async def staged(
    folder: Path, addresses: Mapping[str, Sequence[str]] | None = None
) -> AsyncIterator[tuple[ForeignController, Stage]]:
    async with ForeignController().running(folder / "controller") as controller:
        stage = Stage(controller, folder, addresses or {})
        try:
            yield controller, stage
        finally:
            await stage.client.close()


async def test_headers_tell_the_serial_only_until_there_is_a_uuid(tmp_path: Path) -> None:
    async with staged(tmp_path) as (controller, stage):
        stage.calls.device_id = None
        await stage.calls.post(Endpoint.UUID, b"")
        stage.calls.device_id = DEVICE
        await stage.calls.post(Endpoint.INFO, b"")
    first, second = (request.headers for request in controller.requests if request.method == "POST")
    assert (first["x-serial-number"], first["x-soft-serial"]) == ("S-1", "soft")
    assert "x-serial-number" not in second
    assert first["x-request-id"] != second["x-request-id"]
    assert first["content-type"] == "application/x-proto-binary"


async def test_dead_uplink_is_passed_over_and_then_left_out(tmp_path: Path) -> None:
    async with staged(tmp_path, {"dead": [NOWHERE], "alive": ["127.0.0.5"]}) as (controller, stage):
        assert (await stage.calls.post(Endpoint.INFO, b"")).status == 201
        assert stage.calls.health.uplink == "label-alive"
        assert (await stage.calls.post(Endpoint.INFO, b"")).status == 201
        assert controller.count("info") == 2


async def test_all_addresses_of_an_uplink_are_tried(tmp_path: Path) -> None:
    async with staged(tmp_path, {"one": [NOWHERE, "127.0.0.6"]}) as (_, stage):
        assert (await stage.calls.post(Endpoint.INFO, b"")).status == 201


async def test_when_no_way_works_the_last_error_is_told(tmp_path: Path) -> None:
    async with staged(tmp_path, {"dead": [NOWHERE]}) as (_, stage):
        with pytest.raises(DialError):
            await stage.calls.post(Endpoint.INFO, b"")
        assert stage.calls.health.failures == 1
    async with staged(tmp_path / "b", {"bare": []}) as (_, stage):
        with pytest.raises(DialError, match="no uplink has an address"):
            await stage.calls.post(Endpoint.INFO, b"")


@pytest.mark.parametrize(("status", "requests"), [(403, 1), (404, 2), (503, 2), (400, 2), (201, 1)])
async def test_only_forbidden_and_success_end_the_search(tmp_path: Path, status: int, requests: int) -> None:
    addresses = {"one": ["127.0.0.5", "127.0.0.6"], "two": ["127.0.0.7"]}
    async with staged(tmp_path, addresses) as (controller, stage):
        controller.faults["info"] = [-status]
        assert (await stage.calls.post(Endpoint.INFO, b"")).status == status
        assert controller.count("info") == requests, "one address of an uplink is enough for an answer"


async def test_unknown_signer_leads_to_one_fetch(tmp_path: Path) -> None:
    async with staged(tmp_path) as (controller, stage):
        reply = await stage.calls.post(Endpoint.UUID, b"")
        assert DEVICE.encode() in reply.payload
        assert controller.count("certs") == 1
        await stage.calls.post(Endpoint.UUID, b"")
        assert controller.count("certs") == 1


async def test_answer_of_an_impostor_is_not_believed(tmp_path: Path) -> None:
    async with staged(tmp_path) as (controller, stage):
        await stage.certs.fetch()
        mine = controller.authority.signer
        other = Authority().signer
        other.cert_hash = mine.cert_hash
        controller.authority.signer = other
        with pytest.raises(SignatureError):
            await stage.calls.post(Endpoint.UUID, b"")


async def test_words_that_come_with_a_bare_status_mean_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path) as (controller, stage):
        controller.small_talk = b"<html>created</html>"
        for endpoint in (Endpoint.INFO, Endpoint.METRICS, Endpoint.HARDWARE_HEALTH):
            reply = await stage.calls.post(endpoint, b"")
            assert (reply.is_success, reply.payload) == (True, b"")
        assert controller.count("certs") == 0


async def test_traffic_is_counted_by_way_and_call(tmp_path: Path) -> None:
    async with staged(tmp_path, {"dead": [NOWHERE], "alive": ["127.0.0.5"]}) as (controller, stage):
        await stage.calls.post(Endpoint.INFO, b"x" * 100)
        controller.faults["info"] = [503]
        await stage.calls.post(Endpoint.INFO, b"")
        controller.authority.signer = Authority().signer
        with pytest.raises(CertificateMissError):
            await stage.calls.post(Endpoint.UUID, b"")
    ways = stage.calls.traffic.ways
    dead, alive = ways["label-dead"], ways["label-alive"]
    assert (dead.successes, dead.failures, dead.last_success) == (0, 1, 0.0)
    assert (alive.successes, alive.failures, alive.forged) == (3, 1, 1)
    info = alive.calls[f"https://localhost:{controller.port}/api/v2/edgedevice/id/{DEVICE}/info"]
    assert (info.tries, info.sent, info.received, info.received_bytes) == (2, 2, 2, 0)
    assert info.tried_bytes == info.sent_bytes > 200


async def test_contact_after_a_failure_is_told(tmp_path: Path) -> None:
    async with staged(tmp_path) as (controller, stage):
        told: list[bool] = []
        stage.calls.reconnected = lambda: told.append(True)
        await stage.calls.post(Endpoint.INFO, b"")
        assert told == []
        await controller.stop()
        with pytest.raises(LinkError):
            await stage.calls.post(Endpoint.INFO, b"")
        await controller.start(tmp_path / "controller")
        await stage.calls.post(Endpoint.INFO, b"")
        assert told == [True]


async def test_server_that_is_no_controller_says_what_to_check(tmp_path: Path) -> None:
    async with staged(tmp_path) as (controller, stage):
        controller.faults["certs"] = [404]
        with pytest.raises(RefusedError) as caught:
            await stage.calls.fetch_certs()
    assert "port" in caught.value.resolution


async def test_nothing_about_the_device_is_sent_before_it_has_a_uuid(tmp_path: Path) -> None:
    async with staged(tmp_path) as (controller, stage):
        stage.calls.device_id = None
        with pytest.raises(LinkError, match="no UUID"):
            await stage.calls.post(Endpoint.INFO, b"")
        assert controller.requests == []


# Identity


def test_keys_are_made_once_and_private(tmp_path: Path) -> None:
    moment = datetime.datetime.now(datetime.UTC)
    first = FileKeys.open(tmp_path, moment)
    again = FileKeys.open(tmp_path, moment + datetime.timedelta(days=400))
    assert first.certificate == again.certificate
    assert first.ecdh_certificate_pem == again.ecdh_certificate_pem
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert {modes["device.key.pem"], modes["ecdh.key.pem"]} == {0o600}


def test_power_cut_between_key_and_certificate_is_made_up_for(tmp_path: Path) -> None:
    moment = datetime.datetime.now(datetime.UTC)
    first = FileKeys.open(tmp_path, moment)
    (tmp_path / "ecdh.cert.pem").unlink()
    (tmp_path / "ecdh.key.pem").unlink()
    second = FileKeys.open(tmp_path, moment)
    assert second.certificate == first.certificate
    ecdh = certificates.parse_certificate_pem(second.ecdh_certificate_pem)
    ecdh.verify_directly_issued_by(second.certificate)


@pytest.mark.parametrize("name", ["device.key.pem", "ecdh.key.pem"])
def test_lost_key_is_never_replaced_silently(tmp_path: Path, name: str) -> None:
    moment = datetime.datetime.now(datetime.UTC)
    FileKeys.open(tmp_path, moment)
    (tmp_path / name).unlink()
    with pytest.raises(LinkError) as caught:
        FileKeys.open(tmp_path, moment)
    assert "reset" in caught.value.resolution


def test_soft_serials_have_only_allowed_characters() -> None:
    assert want_soft_serial("Store_17.example.com") == "Store_17"
    assert want_soft_serial("größe!") == "gr-e"
    assert len(want_soft_serial("x" * 500)) == 256
