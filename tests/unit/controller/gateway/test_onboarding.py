"""From a box with an onboarding key to a device with a config, and what must not get that far."""

from __future__ import annotations

import asyncio
import base64
import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from eaves.controller.objects import encode_document, key_of
from eaves.store.abc import Remove
from eaves.testing.device import Device, make_onboarding_pair
from eaves.testing.deviceside import Rig, make_onboarding_key, open_rig
from eaves.testing.objects import make_edgenode
from eaves.wire import certificates, paths
from eaves.wire.envelope import Signer
from eaves.wire.paths import Endpoint
from eaves.wire.pb.auth.auth_pb2 import AuthContainer
from eaves.wire.pb.register.register_pb2 import ZRegisterMsg

REGISTER = paths.render_path(Endpoint.REGISTER)


async def key_status(rig: Rig, name: str = "lab") -> dict[str, Any]:
    obj = await rig.objects.get("OnboardingKey", "", name)
    assert obj is not None
    status: dict[str, Any] = obj.get("status", {})
    return status


async def event_reasons(rig: Rig) -> set[str]:
    return {event["reason"] for event in await rig.objects.list("Event")}


async def test_a_device_gets_its_first_config(rig: Rig) -> None:
    pair = make_onboarding_pair()
    await rig.add_key("shop", pair=pair, nodeLabels={"tier": "shop"})
    device = Device(rig.device().transport, pair, serial="ABC123", soft_serial="Store_17")
    await device.onboard(rig.identity.current.root_pem)
    assert device.config is not None
    assert device.config.id.uuid == device.id
    assert device.config.config_timestamp.seconds > 0
    edgenode = await rig.edgenode(device)
    assert edgenode["metadata"]["name"] == "store-17"
    assert edgenode["metadata"]["labels"] == {"tier": "shop"}
    assert edgenode["spec"] == {"approved": True, "serial": "ABC123"}
    assert (await device.poll()).status == 304
    assert {"Registered"} <= await event_reasons(rig)


async def test_registering_again_is_200_and_counts_once(rig: Rig) -> None:
    device = rig.device(serial="A1")
    assert (await device.register()).status == 201
    assert (await device.register()).status == 200
    status = await key_status(rig)
    assert status["uses"] == 1
    assert status["fingerprint"] == rig.onboarding.fingerprint
    assert len(rig.side.nodes) == 1


async def test_success_has_an_empty_body_of_length_zero(rig: Rig) -> None:
    reply = await rig.device(serial="A1").register()
    assert (reply.status, reply.headers, reply.body) == (201, {"content-length": "0"}, b"")


async def test_the_same_serial_with_another_device_certificate_is_409(rig: Rig) -> None:
    assert (await rig.device(serial="A1").register()).status == 201
    assert (await rig.device(serial="A1").register()).status == 409
    assert len(rig.side.nodes) == 1


async def test_a_device_that_is_refused_for_anothers_sake_uses_nothing_of_the_key(rig: Rig) -> None:
    pair = make_onboarding_pair()
    await rig.add_key("two", pair=pair, maxUses=2)
    transport = rig.device().transport
    assert (await Device(transport, pair, serial="A1").register()).status == 201
    # As a box does that lost its key, at every attempt.
    again = Device(transport, pair, serial="A1")
    assert [(await again.register()).status for _ in range(4)] == [409] * 4
    soft = [Device(transport, pair, soft_serial="desk-1") for _ in range(2)]
    assert [(await device.register()).status for device in soft] == [201, 409]
    assert (await key_status(rig, "two"))["uses"] == 2


async def test_of_those_that_claim_the_same_at_once_one_is_counted(rig: Rig) -> None:
    devices = [rig.device(serial="A1") for _ in range(6)]
    replies = await asyncio.gather(*(device.register() for device in devices))
    assert sorted(reply.status for reply in replies) == [201, 409, 409, 409, 409, 409]
    device = rig.device(serial="B2")
    replies = await asyncio.gather(*(device.register() for _ in range(6)))
    assert sorted(reply.status for reply in replies) == [200, 200, 200, 200, 200, 201]
    assert (await key_status(rig))["uses"] == 2
    assert len(rig.side.nodes) == 2


async def test_names_come_from_what_people_know_the_device_by(rig: Rig) -> None:
    names = {}
    for serial, soft in (("X.1", "Till_4"), ("Y2", ""), ("not a name", ""), ("y2", "")):
        device = rig.device(serial=serial, soft_serial=soft)
        await device.onboard(rig.identity.current.root_pem)
        names[serial, soft] = rig.side.nodes.name_of(device.id)
    assert names["X.1", "Till_4"] == "till-4"
    assert names["Y2", ""] == "y2"
    for taken in (("not a name", ""), ("y2", "")):
        assert str(names[taken]).startswith("node-")


async def test_an_unknown_onboarding_key_is_403(rig: Rig) -> None:
    stranger = Device(rig.device().transport, make_onboarding_pair(), serial="A1")
    reply = await stranger.register()
    assert (reply.status, reply.headers["eaves-reason"]) == (403, "UnknownOnboardingKey")


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"revoked": True}, "KeyRevoked"),
        ({"expirationTimestamp": "2020-01-01T00:00:00Z"}, "KeyExpired"),
        ({"allowedSerials": ["B2"]}, "SerialNotAllowed"),
    ],
)
async def test_terms_of_the_key_are_kept_and_a_refusal_is_told(rig: Rig, terms: dict[str, Any], reason: str) -> None:
    pair = make_onboarding_pair()
    await rig.add_key("strict", pair=pair, **terms)
    reply = await Device(rig.device().transport, pair, serial="A1").register()
    assert (reply.status, reply.headers["eaves-reason"]) == (403, reason)
    assert reason in await event_reasons(rig)
    assert await key_status(rig, "strict") == {}


@pytest.mark.parametrize(("days", "reason"), [(-400, "KeyExpired"), (10, "KeyNotYetValid")])
async def test_an_onboarding_certificate_admits_nobody_outside_its_time_but_known_devices_stay(
    rig: Rig, days: int, reason: str
) -> None:
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    pair = make_onboarding_pair(moment)
    await rig.add_key("strict", pair=pair)
    reply = await Device(rig.device().transport, pair, serial="A1").register()
    assert (reply.status, reply.headers["eaves-reason"]) == (403, reason)
    assert reason in await event_reasons(rig)
    known = await rig.onboarded(serial="B2")
    known.onboarding = pair
    assert (await known.register()).status == 200


async def test_the_shared_onboarding_certificate_is_no_identity_of_a_device(rig: Rig) -> None:
    device = rig.device(serial="A1")
    device.certificate = rig.onboarding.certificate
    assert (await device.register()).status == 422


async def test_the_certificate_of_another_onboarding_key_is_none_either(rig: Rig) -> None:
    pair = make_onboarding_pair()
    await rig.add_key("other", pair=pair)
    device = rig.device(serial="A1")
    device.certificate = pair.certificate
    assert (await device.register()).status == 422


@pytest.mark.parametrize("sender_hash", [b"", bytes(16), bytes(32), b"x" * 33])
async def test_an_envelope_that_names_another_certificate_than_it_brings_is_401(rig: Rig, sender_hash: bytes) -> None:
    container = AuthContainer.FromString(rig.device(serial="A1").register_body())
    container.senderCertHash = sender_hash
    reply = await rig.device().transport.call("POST", REGISTER, container.SerializeToString())
    assert reply.status == 401
    assert len(rig.side.nodes) == 0


async def test_an_allowed_serial_may_be_the_soft_one(rig: Rig) -> None:
    pair = make_onboarding_pair()
    await rig.add_key("strict", pair=pair, allowedSerials=["desk-1"])
    assert (await Device(rig.device().transport, pair, serial="A1", soft_serial="desk-1").register()).status == 201


async def test_many_at_once_get_no_more_than_the_uses_of_the_key(rig: Rig) -> None:
    pair = make_onboarding_pair()
    await rig.add_key("five", pair=pair, maxUses=5)
    devices = [Device(rig.device().transport, pair, serial=f"S{number}") for number in range(40)]
    replies = await asyncio.gather(*(device.register() for device in devices))
    assert sorted(reply.status for reply in replies) == [201] * 5 + [403] * 35
    status = await key_status(rig, "five")
    assert (status["uses"], status["remaining"]) == (5, 0)
    assert len(rig.side.nodes) == 5
    admitted = devices[[reply.status for reply in replies].index(201)]
    assert (await admitted.register()).status == 200


async def test_a_manual_key_leaves_the_approval_to_an_operator(rig: Rig) -> None:
    pair = make_onboarding_pair()
    await rig.add_key("manual", pair=pair, approval="Manual")
    device = Device(rig.device().transport, pair, serial="A1")
    await device.onboard(rig.identity.current.root_pem)
    assert (await rig.edgenode(device))["spec"]["approved"] is False
    await rig.until(lambda: has_status(rig, device, "Approved", "False"))


async def has_status(rig: Rig, device: Device, kind: str, status: str) -> bool:
    return (await rig.condition(device, kind)).get("status") == status


async def test_an_expected_edgenode_is_taken_instead_of_a_new_one(rig: Rig) -> None:
    await rig.put(make_edgenode("till-9", approved=False, serial="A1"))
    device = await rig.onboarded(serial="A1", soft_serial="other")
    edgenode = await rig.edgenode(device)
    assert edgenode["metadata"]["name"] == "till-9"
    assert edgenode["metadata"]["uid"] == device.id
    assert len(rig.side.nodes) == 1
    assert (await rig.device(serial="A1").register()).status == 409


async def test_a_deleted_edgenode_shuts_the_device_out_until_it_registers_again(rig: Rig) -> None:
    device = await rig.onboarded(serial="A1")
    first_id = device.id
    await remove_edgenode(rig, "a1")
    await rig.until(lambda: first_id not in rig.side.nodes)
    assert (await device.poll()).status == 401
    assert (await device.ask_uuid()).status == 400
    await rig.until(lambda: forgotten(rig, first_id))
    assert (await device.register()).status == 201
    assert (await device.ask_uuid()).status == 200
    assert device.id != first_id


async def remove_edgenode(rig: Rig, name: str) -> None:
    obj = await rig.objects.get("EdgeNode", "", name)
    assert obj is not None
    await rig.objects.store.commit([Remove(key_of("EdgeNode", "", name), encode_document(obj), None)])


async def forgotten(rig: Rig, device_id: str) -> bool:
    return await rig.registry.find(device_id) is None


async def test_two_certificates_in_the_envelope_are_refused(rig: Rig) -> None:
    """A controller that looks one up and lets the other verify admits whoever knows the public onboarding certificate."""
    attacker = make_onboarding_pair()
    device = Device(rig.device().transport, attacker, serial="A1")
    container = AuthContainer.FromString(device.register_body())
    both = rig.onboarding.pem + attacker.pem
    container.senderCert = base64.b64encode(both.encode())
    reply = await device.transport.call("POST", REGISTER, container.SerializeToString())
    assert reply.status == 400
    assert len(rig.side.nodes) == 0


async def test_a_foreign_signature_under_the_public_certificate_is_401(rig: Rig) -> None:
    attacker = make_onboarding_pair()
    container = AuthContainer.FromString(Device(rig.device().transport, attacker, serial="A1").register_body())
    container.senderCert = base64.b64encode(rig.onboarding.pem.encode())
    reply = await rig.device().transport.call("POST", REGISTER, container.SerializeToString())
    assert reply.status == 401


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (ZRegisterMsg(pemCert=b"no base64!", serial="A1"), 422),
        (ZRegisterMsg(pemCert=base64.b64encode(b"x" * 9000), serial="A1"), 422),
        (ZRegisterMsg(serial="A1"), 422),
    ],
)
async def test_content_that_makes_no_sense_is_422(rig: Rig, message: ZRegisterMsg, status: int) -> None:
    signer = Signer.for_device(rig.onboarding.key, rig.onboarding.certificate)
    body = signer.seal(message.SerializeToString(), with_certificate=True)
    assert (await rig.device().transport.call("POST", REGISTER, body)).status == status


@pytest.mark.parametrize("serials", [{"serial": "x" * 257}, {"serial": "a\nb"}, {"soft_serial": "a b"}])
async def test_serial_numbers_are_bounded(rig: Rig, serials: dict[str, str]) -> None:
    assert (await rig.device(**serials).register()).status == 422


async def test_a_device_key_of_another_curve_is_422(rig: Rig) -> None:
    device = rig.device(serial="A1")
    device.certificate = certificates.make_device_certificate(
        ec.generate_private_key(ec.SECP521R1()), datetime.datetime.now(datetime.UTC)
    )
    assert (await device.register()).status == 422


async def test_a_restart_knows_everything_that_was_acknowledged(tmp_path: Path) -> None:
    pair = make_onboarding_pair()
    async with open_rig(tmp_path, onboarding=pair) as rig:
        await rig.add_key()
        device = await rig.onboarded(serial="A1")
    async with open_rig(tmp_path, onboarding=pair) as rig:
        device.transport = rig.device().transport
        assert (await device.poll()).status == 304
        assert (await device.register()).status == 200
        device.config_hash = ""
        assert (await device.poll()).status == 200


async def test_a_key_that_cannot_be_read_harms_no_other(rig: Rig) -> None:
    broken = make_onboarding_key("broken", rig.onboarding)
    broken["spec"]["certificate"] = "no certificate"
    await rig.put(broken)
    assert (await rig.device(serial="A1").register()).status == 201
