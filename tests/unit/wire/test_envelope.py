"""Envelopes sealed here and by OpenSSL, and everything that must not pass."""

from __future__ import annotations

import base64
import datetime
import hashlib
import subprocess
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from eaves.wire import certificates, envelope
from eaves.wire.envelope import Envelope, Signer
from eaves.wire.errors import (
    AlgorithmError,
    CertificateMissError,
    EnvelopeError,
    HashSizeError,
    MalformedCertificateError,
    MalformedEnvelopeError,
    SignatureError,
)
from eaves.wire.pb.auth.auth_pb2 import AuthContainer

NOW = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
P256 = ec.derive_private_key(1001, ec.SECP256R1())
P384 = ec.derive_private_key(1002, ec.SECP384R1())
P521 = ec.derive_private_key(1003, ec.SECP521R1())


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def self_signed(key: certificates.PrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signer")])
    end = NOW + datetime.timedelta(days=1)
    return x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, end).sign(key, hashes.SHA256())


def pem_of(key: certificates.PrivateKey) -> bytes:
    return certificates.encode_certificate_pem(self_signed(key))


P256_PEM = pem_of(P256)
SIGNER = Signer(P256, P256_PEM)
P256_SHA256 = hashlib.sha256(P256_PEM).digest()
KNOWN_SHA256 = bytes(range(32))
"""Of a certificate that the receiver knows; fixed, since certificates here are signed anew in each process."""


def public_pem(key: certificates.PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def openssl_sign(key: certificates.PrivateKey, payload: bytes, folder: Path) -> bytes:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*form))
    command = ["openssl", "dgst", "-sha256", "-sign", str(folder / "key.pem")]
    return subprocess.run(command, input=payload, capture_output=True, check=True, timeout=30).stdout


def der_of_raw(raw: bytes) -> bytes:
    """Hand-made DER, independent of the library that checks it."""

    def integer(value: bytes) -> bytes:
        text = value.lstrip(b"\0") or b"\0"
        text = b"\0" + text if text[0] & 0x80 else text
        return b"\x02" + bytes([len(text)]) + text

    body = integer(raw[: len(raw) // 2]) + integer(raw[len(raw) // 2 :])
    return b"\x30" + bytes([len(body)]) + body


def signed(signature: bytes, payload: bytes = b"hello") -> Envelope:
    return Envelope(payload, envelope.ALGORITHM_32, P256_SHA256, signature, b"")


@given(st.binary(max_size=300))
def test_sealed_payload_comes_out_again(payload: bytes) -> None:
    assert envelope.open_envelope(SIGNER.seal(payload), P256_SHA256, P256.public_key()) == payload


@pytest.mark.parametrize(("key", "size_bytes"), [(P256, 64), (P384, 96)])
def test_signature_is_raw_and_openssl_verifies_it(
    key: ec.EllipticCurvePrivateKey, size_bytes: int, tmp_path: Path
) -> None:
    container = AuthContainer.FromString(Signer(key, pem_of(key)).seal(b"payload"))
    assert len(container.signatureHash) == size_bytes
    (tmp_path / "public.pem").write_bytes(public_pem(key))
    (tmp_path / "signature").write_bytes(der_of_raw(container.signatureHash))
    command = [
        "openssl",
        "dgst",
        "-sha256",
        "-verify",
        str(tmp_path / "public.pem"),
        "-signature",
        str(tmp_path / "signature"),
    ]
    result = subprocess.run(command, input=b"payload", capture_output=True, check=False, timeout=30)
    assert result.stdout == b"Verified OK\n"


def test_rsa_signature_of_openssl_is_accepted_and_ours_equals_it(tmp_path: Path) -> None:
    key = rsa_key()
    signature = openssl_sign(key, b"payload", tmp_path)
    envelope.check_signature(signed(signature, b"payload"), key.public_key())
    assert AuthContainer.FromString(Signer(key, pem_of(key)).seal(b"payload")).signatureHash == signature


def test_der_signature_of_openssl_is_for_controllers_only(tmp_path: Path) -> None:
    message = signed(openssl_sign(P256, b"hello", tmp_path))
    envelope.check_signature(message, P256.public_key(), accept_der=True)
    with pytest.raises(SignatureError, match="must be 64"):
        envelope.check_signature(message, P256.public_key())


def test_published_vector_verifies() -> None:
    """RFC 6979 appendix A.2.5: P-256 with SHA-256 over "sample"."""
    numbers = ec.EllipticCurvePublicNumbers(
        0x60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6,
        0x7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299,
        ec.SECP256R1(),
    )
    raw = bytes.fromhex(
        "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
        "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
    )
    envelope.check_signature(signed(raw, b"sample"), numbers.public_key())
    with pytest.raises(SignatureError):
        envelope.check_signature(signed(raw, b"Sample"), numbers.public_key())


def test_short_hash_is_half_of_the_long_one() -> None:
    message = envelope.parse_envelope(Signer(P256, P256_PEM, 16).seal(b"x"))
    assert (message.algo, message.sender_cert_hash) == (1, P256_SHA256[:16])
    envelope.check_sender_hash(message, P256_SHA256)
    with pytest.raises(HashSizeError):
        Signer(P256, P256_PEM, 20)


def test_device_signs_with_the_hash_of_its_der() -> None:
    certificate = certificates.make_device_certificate(P256, NOW)
    message = envelope.parse_envelope(Signer.for_device(P256, certificate).seal(b"x"))
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert (message.algo, message.sender_cert_hash) == (2, hashlib.sha256(der).digest())
    assert message.sender_cert == b""


def test_register_carries_the_certificate_as_base64_of_pem() -> None:
    message = envelope.parse_envelope(SIGNER.seal(b"x", with_certificate=True))
    assert base64.b64decode(message.sender_cert) == P256_PEM
    assert certificates.encode_certificate_pem(envelope.parse_sender_certificate(message)) == P256_PEM


def test_second_certificate_on_register_is_refused() -> None:
    two = base64.b64encode(P256_PEM + pem_of(P384))
    with pytest.raises(MalformedCertificateError):
        envelope.parse_sender_certificate(Envelope(b"", 2, b"h" * 32, b"", two))


@pytest.mark.parametrize(
    ("algo", "sender_hash", "error"),
    [
        (2, KNOWN_SHA256[:31], HashSizeError),
        (2, b"", HashSizeError),
        (2, KNOWN_SHA256[:16], HashSizeError),
        (1, KNOWN_SHA256, HashSizeError),
        (0, KNOWN_SHA256, AlgorithmError),
        (7, KNOWN_SHA256, AlgorithmError),
        (2, b"h" * 32, CertificateMissError),
        (1, b"h" * 16, CertificateMissError),
    ],
)
def test_sender_hash_that_does_not_fit_is_refused(algo: int, sender_hash: bytes, error: type[EnvelopeError]) -> None:
    with pytest.raises(error):
        envelope.check_sender_hash(Envelope(b"", algo, sender_hash, b"", b""), KNOWN_SHA256)


@pytest.mark.parametrize("accept_der", [False, True])
@pytest.mark.parametrize(
    "signature",
    [b"", b"\0" * 64, b"\xff" * 64, b"\0" * 63, b"\0" * 96, b"\x30\x06\x02\x01\x00\x02\x01\x00", b"\x30\x80" * 35],
)
def test_signature_that_is_none_is_refused(signature: bytes, accept_der: bool) -> None:
    with pytest.raises(SignatureError):
        envelope.check_signature(signed(signature), P256.public_key(), accept_der=accept_der)


def test_other_payload_and_other_key_are_refused() -> None:
    message = envelope.parse_envelope(SIGNER.seal(b"hello"))
    with pytest.raises(SignatureError):
        envelope.check_signature(signed(message.signature, b"hellp"), P256.public_key())
    with pytest.raises(SignatureError):
        envelope.check_signature(message, ec.derive_private_key(5, ec.SECP256R1()).public_key())


@pytest.mark.parametrize("key", [P521, ec.derive_private_key(9, ec.SECP256K1())])
def test_curve_that_devices_refuse_is_refused_on_both_sides(key: ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises(AlgorithmError, match="curve"):
        Signer(key, pem_of(key))
    with pytest.raises(AlgorithmError, match="curve"):
        envelope.check_signature(signed(b"\0" * 132), key.public_key(), accept_der=True)


def test_small_rsa_key_is_refused() -> None:
    with pytest.raises(AlgorithmError, match="too small"):
        envelope.check_signature(signed(b"\0" * 128), rsa_key(1024).public_key())


def test_certificate_of_another_key_is_refused_when_the_signer_is_made() -> None:
    with pytest.raises(CertificateMissError, match="another key"):
        Signer(P256, pem_of(P384))


def test_encrypted_envelope_is_refused() -> None:
    container = AuthContainer.FromString(SIGNER.seal(b"x"))
    container.cipherData.cipherData = b"secret"
    with pytest.raises(MalformedEnvelopeError, match="encrypted"):
        envelope.parse_envelope(container.SerializeToString())


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_an_own_error(data: bytes) -> None:
    with pytest.raises(EnvelopeError):
        envelope.open_envelope(data, P256_SHA256, P256.public_key())


@given(st.data())
def test_damaged_envelope_never_yields_another_payload(data: st.DataObject) -> None:
    sealed = bytearray(SIGNER.seal(b"the payload that was signed"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        payload = envelope.open_envelope(bytes(sealed), P256_SHA256, P256.public_key())
    except EnvelopeError:
        return
    assert payload == b"the payload that was signed"
