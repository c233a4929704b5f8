"""Attestation: single-use nonces, tokens of one boot, TPMs that cannot be denied, keys for their device alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from eaves.controller.deviceside import Clocks
from eaves.controller.gateway.attest import NONCE_LIFETIME_S, Nonces
from eaves.testing.device import Device, Tpm, issue_below, make_cert
from eaves.testing.deviceside import Rig, open_rig
from eaves.wire.identifiers import DeviceId
from eaves.wire.paths import Endpoint
from eaves.wire.pb.attest import attest_pb2
from eaves.wire.pb.certs import certs_pb2

SUCCESS = attest_pb2.Z_ATTEST_RESPONSE_CODE_SUCCESS
NONCE_MISMATCH = attest_pb2.Z_ATTEST_RESPONSE_CODE_NONCE_MISMATCH
NO_CERT_FOUND = attest_pb2.Z_ATTEST_RESPONSE_CODE_NO_CERT_FOUND
QUOTE_FAILED = attest_pb2.Z_ATTEST_RESPONSE_CODE_QUOTE_FAILED
EMPTY = attest_pb2.ZAttestQuote()


async def registered(rig: Rig, *, with_tpm: bool = False) -> Device:
    device = rig.device(serial="A1", with_tpm=with_tpm)
    await device.fetch_certs(rig.identity.current.root_pem)
    assert (await device.register()).status == 201
    assert (await device.ask_uuid()).status == 200
    return device


async def test_a_device_without_tpm_gets_a_token_and_no_keys(rig: Rig) -> None:
    device = await registered(rig)
    verdict = await device.attest()
    assert verdict.response == SUCCESS
    assert len(verdict.integrity_token) >= 32
    assert list(verdict.keys) == []


async def test_only_a_hash_of_the_token_is_kept(rig: Rig) -> None:
    device = await registered(rig)
    await device.attest()
    record = await rig.registry.find(device.id)
    assert record is not None
    assert record.token_hash
    assert device.token not in record.token_hash


async def test_a_nonce_is_long_fresh_and_good_once(rig: Rig) -> None:
    device = await registered(rig)
    nonce, other = await device.ask_nonce(), await device.ask_nonce()
    assert 16 <= len(nonce) <= 32
    assert nonce != other
    assert (await device.send_quote(EMPTY)).response == SUCCESS
    assert (await device.send_quote(EMPTY)).response == NONCE_MISMATCH


async def test_a_nonce_expires_and_the_number_of_nonces_is_bounded() -> None:
    now_s = 0.0
    nonces = Nonces(lambda: now_s, max_nonces=2)
    first = nonces.give(DeviceId("a"))
    assert nonces.take(DeviceId("a")) == first
    nonces.give(DeviceId("a"))
    now_s += NONCE_LIFETIME_S
    assert nonces.take(DeviceId("a")) is None
    for name in "abc":
        nonces.give(DeviceId(name))
    assert [nonces.take(DeviceId(name)) is None for name in "abc"] == [True, False, False]


async def test_each_boot_has_a_token_of_its_own(rig: Rig) -> None:
    device = await registered(rig)
    first = (await device.attest()).integrity_token
    second = (await device.attest()).integrity_token
    assert first != second
    assert (await device.poll(token=first)).status == 403
    assert (await device.poll(token=b"")).status == 403
    assert (await device.poll(token=second)).status == 200


async def test_a_tpm_proves_itself_and_gets_its_keys_back(rig: Rig) -> None:
    device = await registered(rig, with_tpm=True)
    assert (await device.attest()).response == SUCCESS
    assert await device.store_keys([b"wrapped"]) == attest_pb2.ATTEST_STORAGE_KEYS_RESPONSE_CODE_SUCCESS
    verdict = await device.attest()
    assert [key.key for key in verdict.keys] == [b"wrapped"]
    assert await device.store_keys([]) == attest_pb2.ATTEST_STORAGE_KEYS_RESPONSE_CODE_SUCCESS
    assert [key.key for key in (await device.attest()).keys] == [b"wrapped"]
    await rig.until(lambda: is_attested(rig, device, "True"))


async def is_attested(rig: Rig, device: Device, status: str) -> bool:
    return (await rig.condition(device, "Attested")).get("status") == status


async def test_keys_need_the_current_token(rig: Rig) -> None:
    device = await registered(rig, with_tpm=True)
    await device.attest()
    mismatch = attest_pb2.ATTEST_STORAGE_KEYS_RESPONSE_CODE_ITOKEN_MISMATCH
    assert await device.store_keys([b"evil"], token=b"wrong") == mismatch
    assert list((await device.attest()).keys) == []


async def test_a_quote_over_another_nonce_or_by_another_key_is_refused(rig: Rig) -> None:
    device = await registered(rig, with_tpm=True)
    await device.send_certs()
    assert device.tpm is not None
    await device.ask_nonce()
    assert (await device.send_quote(device.tpm.quote(bytes(32)))).response == NONCE_MISMATCH
    forged = Tpm(device.key, device.certificate).quote(await device.ask_nonce())
    assert (await device.send_quote(forged)).response == QUOTE_FAILED
    await rig.until(lambda: is_attested(rig, device, "False"))


async def test_a_quote_without_a_known_certificate_says_so(rig: Rig) -> None:
    device = await registered(rig, with_tpm=True)
    assert device.tpm is not None
    nonce = await device.ask_nonce()
    assert (await device.send_quote(device.tpm.quote(nonce))).response == NO_CERT_FOUND


async def test_a_tpm_cannot_be_denied_later(rig: Rig) -> None:
    device = await registered(rig, with_tpm=True)
    assert (await device.attest()).response == SUCCESS
    token = device.token
    # A copy of the disk in another box: it has the device key's file, or pretends to have had no TPM ever.
    assert (
        await device.send_certs([make_cert(certs_pb2.CERT_TYPE_DEVICE_ECDH_EXCHANGE, device.ecdh_pem)])
    ).status == 201
    await device.ask_nonce()
    assert (await device.send_quote(EMPTY)).response == QUOTE_FAILED
    # A failed quote takes nothing away from the boot that attested.
    assert (await device.poll(token=token)).status == 200


async def test_an_endorsement_certificate_alone_shows_a_tpm(rig: Rig) -> None:
    device = await registered(rig, with_tpm=True)
    await device.send_certs()
    await device.ask_nonce()
    assert (await device.send_quote(EMPTY)).response == QUOTE_FAILED


async def test_a_soft_quote_certificate_does_not(rig: Rig) -> None:
    """EVE without a TPM publishes a quote certificate all the same, and sends empty quotes."""
    device = await registered(rig)
    soft = Tpm(device.key, device.certificate)
    certs = [*device.own_certs(), make_cert(certs_pb2.CERT_TYPE_DEVICE_RESTRICTED_SIGNING, soft.quote_pem)]
    assert (await device.send_certs(certs)).status == 201
    await device.ask_nonce()
    assert (await device.send_quote(EMPTY)).response == SUCCESS


async def test_certificates_must_be_signed_by_the_device_key(rig: Rig) -> None:
    device, stranger = await registered(rig), rig.device(serial="B")
    reply = await device.send_certs(stranger.own_certs())
    assert (reply.status, reply.headers["eaves-reason"]) == (400, "CertificateRefused")
    record = await rig.registry.find(device.id)
    assert record is not None
    assert record.certs == ()


async def test_a_certificate_may_be_renewed_unless_the_device_said_never(rig: Rig) -> None:
    device = await registered(rig)
    assert (await device.send_certs()).status == 201
    pem = issue_below(device.key, device.certificate, ec.generate_private_key(ec.SECP256R1()).public_key(), "new")
    fixed = make_cert(certs_pb2.CERT_TYPE_DEVICE_ECDH_EXCHANGE, pem)
    fixed.attributes.is_tpm = False
    assert (await device.send_certs([fixed])).status == 201
    assert (await device.send_certs()).status == 400


@pytest.mark.parametrize(
    "cert",
    [
        certs_pb2.ZCert(type=certs_pb2.CERT_TYPE_CONTROLLER_SIGNING, cert=b"x"),
        certs_pb2.ZCert(type=certs_pb2.CERT_TYPE_DEVICE_ECDH_EXCHANGE, cert=b"no certificate"),
    ],
)
async def test_certificates_that_make_no_sense_are_422(rig: Rig, cert: certs_pb2.ZCert) -> None:
    assert (await (await registered(rig)).send_certs([cert])).status == 422


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (certs_pb2.CERT_TYPE_DEVICE_ECDH_EXCHANGE, ec.generate_private_key(ec.SECP384R1())),
        (certs_pb2.CERT_TYPE_DEVICE_ECDH_EXCHANGE, rsa.generate_private_key(65537, 2048)),
        (certs_pb2.CERT_TYPE_DEVICE_RESTRICTED_SIGNING, rsa.generate_private_key(65537, 2048)),
    ],
)
async def test_a_key_that_cannot_do_its_work_is_422(
    rig: Rig, kind: certs_pb2.ZCertType.ValueType, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> None:
    device = await registered(rig)
    pem = issue_below(device.key, device.certificate, key.public_key(), "odd")
    assert (await device.send_certs([make_cert(kind, pem)])).status == 422


async def test_a_certificate_of_a_type_of_later_devices_is_passed_over(rig: Rig) -> None:
    device = await registered(rig)
    later = make_cert(14, b"who knows")  # type: ignore[arg-type]  # a number that the enum lacks
    assert (await device.send_certs([later, *device.own_certs()])).status == 201
    record = await rig.registry.find(device.id)
    assert record is not None
    assert len(record.certs) == 1


async def test_a_wrong_certificate_hash_is_422(rig: Rig) -> None:
    device = await registered(rig)
    cert = make_cert(certs_pb2.CERT_TYPE_DEVICE_ECDH_EXCHANGE, device.ecdh_pem)
    cert.certHash = bytes(16)
    assert (await device.send_certs([cert])).status == 422


async def test_too_much_of_anything_is_422(rig: Rig) -> None:
    device = await registered(rig)
    await device.attest()
    assert (await device.send_certs(device.own_certs() * 9)).status == 422
    request = attest_pb2.ZAttestReq(reqType=attest_pb2.Z_ATTEST_REQ_TYPE_STORE_KEYS)
    request.storage_keys.integrity_token = device.token
    request.storage_keys.keys.add(key=bytes(20_000))
    assert (await device.post(Endpoint.ATTEST, request)).status == 422
    assert (await device.post(Endpoint.ATTEST, attest_pb2.ZAttestReq())).status == 422
    assert (await device.post(Endpoint.ATTEST, b"\xff\xff")).status == 422


@pytest.fixture
async def slow_rig(tmp_path: Path) -> AsyncIterator[tuple[Rig, list[float]]]:
    """A device side whose monotonic clock is set by hand."""
    now_s = [1000.0]
    async with open_rig(tmp_path, clocks=Clocks(monotonic_s=lambda: now_s[0])) as rig:
        await rig.add_key()
        yield rig, now_s


async def test_a_quote_after_an_expired_nonce_starts_over(slow_rig: tuple[Rig, list[float]]) -> None:
    rig, now_s = slow_rig
    device = await registered(rig)
    await device.ask_nonce()
    now_s[0] += NONCE_LIFETIME_S + 1
    assert (await device.send_quote(EMPTY)).response == NONCE_MISMATCH
    await device.ask_nonce()
    assert (await device.send_quote(EMPTY)).response == SUCCESS
