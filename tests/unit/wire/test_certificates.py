"""Certificates as devices, controllers and OpenSSL read them."""

from __future__ import annotations

import base64
import datetime
import hashlib
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from eaves.wire import certificates
from eaves.wire.certificates import Profile
from eaves.wire.errors import MalformedCertificateError

NOW = datetime.datetime(2026, 3, 1, 12, 30, 15, 999, tzinfo=datetime.UTC)
YEAR = datetime.timedelta(days=365)
KEY = ec.derive_private_key(7, ec.SECP256R1())
OTHER_KEY = ec.derive_private_key(8, ec.SECP256R1())
DEVICE = certificates.make_device_certificate(KEY, NOW)
DEVICE_PEM = certificates.encode_certificate_pem(DEVICE)


def openssl(*arguments: str, data: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=data, capture_output=True, timeout=30, check=True).stdout


def test_device_certificate_lives_twenty_years_from_yesterday() -> None:
    assert DEVICE.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "EVE"
    assert DEVICE.not_valid_before_utc == datetime.datetime(2026, 2, 28, 12, 30, 15, tzinfo=datetime.UTC)
    assert DEVICE.not_valid_after_utc - DEVICE.not_valid_before_utc == 20 * YEAR
    DEVICE.verify_directly_issued_by(DEVICE)


@pytest.mark.parametrize("hours", [1, 24, 48])
def test_an_onboarding_certificate_ends_when_its_key_expires(hours: int) -> None:
    lifetime = datetime.timedelta(hours=hours)
    certificate = certificates.make_onboarding_certificate(KEY, "onboarding", NOW, lifetime)
    assert certificate.not_valid_before_utc < NOW - datetime.timedelta(hours=23)
    assert certificate.not_valid_after_utc == NOW.replace(microsecond=0) + lifetime


def test_device_certificate_can_sign_the_other_certificates_of_the_device(tmp_path: Path) -> None:
    quote = certificates.issue_certificate(DEVICE, KEY, OTHER_KEY.public_key(), Profile.SIGNING, "quote", NOW, YEAR)
    (tmp_path / "device.pem").write_bytes(DEVICE_PEM)
    (tmp_path / "quote.pem").write_bytes(certificates.encode_certificate_pem(quote))
    attime = str(int(NOW.timestamp()))
    out = openssl(
        "verify",
        "-x509_strict",
        "-attime",
        attime,
        "-CAfile",
        str(tmp_path / "device.pem"),
        str(tmp_path / "quote.pem"),
    )
    assert out.endswith(b"OK\n")


def test_device_hash_is_over_der_and_controller_hash_over_pem_text() -> None:
    der = openssl("x509", "-outform", "DER", data=DEVICE_PEM)
    assert certificates.hash_of_device_certificate(DEVICE) == hashlib.sha256(der).digest()
    expected = bytes.fromhex(openssl("dgst", "-sha256", "-r", data=DEVICE_PEM).split()[0].decode())
    assert certificates.hash_of_pem(DEVICE_PEM) == expected
    assert certificates.hash_of_pem(DEVICE_PEM, 16) == expected[:16]


def test_white_space_changes_a_controller_hash() -> None:
    assert certificates.hash_of_pem(DEVICE_PEM) != certificates.hash_of_pem(DEVICE_PEM + b"\n")


def test_two_certificates_are_refused() -> None:
    with pytest.raises(MalformedCertificateError, match="found 2"):
        certificates.parse_certificate_base64(base64.b64encode(DEVICE_PEM + DEVICE_PEM))


def test_certificate_beside_a_key_is_refused() -> None:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with pytest.raises(MalformedCertificateError, match="found 2"):
        certificates.parse_certificate_pem(DEVICE_PEM + KEY.private_bytes(*form))


@pytest.mark.parametrize("text", [b"", b"hello", base64.b64encode(b"hello"), b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_what_is_no_certificate_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedCertificateError):
        certificates.parse_certificate_base64(text)
    with pytest.raises(MalformedCertificateError):
        certificates.parse_certificate_pem(text)


def test_certificate_with_a_broken_part_is_refused_when_it_is_read() -> None:
    """Parts that the library would only look at later: the version, the serial number and the name of the subject."""
    der = bytearray(DEVICE.public_bytes(serialization.Encoding.DER))
    version = der.index(b"\xa0\x03\x02\x01") + 4
    serial = version + 3
    name = der.index(b"EVE") - 2
    for position, value in ((version, 10), (serial, 0x80), (name, 0x30)):
        broken = der.copy()
        broken[position] = value
        text = base64.encodebytes(bytes(broken))
        pem = b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n"
        with pytest.raises(MalformedCertificateError, match="not a PEM"):
            certificates.parse_certificate_pem(pem)
        with pytest.raises(MalformedCertificateError, match="not PEM"):
            certificates.parse_certificates_pem(pem)


def test_wrapped_base64_is_read() -> None:
    assert certificates.parse_certificate_base64(base64.encodebytes(DEVICE_PEM)) == DEVICE
    assert certificates.parse_certificate_base64(certificates.encode_certificate_base64(DEVICE)) == DEVICE


def test_key_of_another_kind_is_refused() -> None:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + YEAR)
    with pytest.raises(MalformedCertificateError, match="Ed25519"):
        certificates.parse_public_key(builder.sign(key, None))


def test_server_certificate_answers_for_names_and_addresses(tmp_path: Path) -> None:
    ca = certificates.make_ca(KEY, "root", NOW, 10 * YEAR)
    hosts = ["eaves.example", "192.0.2.7", "2001:db8::7"]
    server = certificates.issue_certificate(
        ca, KEY, OTHER_KEY.public_key(), Profile.SERVER, "server", NOW, YEAR, hosts=hosts
    )
    (tmp_path / "ca.pem").write_bytes(certificates.encode_certificate_pem(ca))
    (tmp_path / "server.pem").write_bytes(certificates.encode_certificate_pem(server))
    common = ["verify", "-x509_strict", "-attime", str(int(NOW.timestamp())), "-CAfile", str(tmp_path / "ca.pem")]
    common += ["-purpose", "sslserver"]
    for check in (["-verify_hostname", "eaves.example"], ["-verify_ip", "192.0.2.7"], ["-verify_ip", "2001:db8::7"]):
        assert openssl(*common, *check, str(tmp_path / "server.pem")).endswith(b"OK\n")
    with pytest.raises(subprocess.CalledProcessError):
        openssl(*common, "-verify_hostname", "other.example", str(tmp_path / "server.pem"))


def test_serial_numbers_differ_when_anything_differs_and_repeat_when_nothing_does() -> None:
    ca = certificates.make_ca(KEY, "root", NOW, YEAR)

    def serial(name: str, now: datetime.datetime, key: ec.EllipticCurvePrivateKey) -> int:
        return certificates.issue_certificate(ca, KEY, key.public_key(), Profile.CLIENT, name, now, YEAR).serial_number

    base = serial("a", NOW, OTHER_KEY)
    assert base == serial("a", NOW, OTHER_KEY)
    assert len({base, serial("b", NOW, OTHER_KEY), serial("a", NOW + YEAR, OTHER_KEY), serial("a", NOW, KEY)}) == 4
    assert 0 < base < 2**127


def test_client_certificate_names_user_and_groups() -> None:
    ca = certificates.make_ca(KEY, "root", NOW, YEAR)
    client = certificates.issue_certificate(
        ca, KEY, OTHER_KEY.public_key(), Profile.CLIENT, "ann", NOW, YEAR, organizations=["ops", "dev"]
    )
    assert [a.value for a in client.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == ["ops", "dev"]
    assert client.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "ann"
