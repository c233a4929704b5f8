"""Issued certificates in real TLS handshakes, by OpenSSL as Python carries it, over memory instead of sockets."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from eaves.wire import certificates
from eaves.wire.certificates import Profile

pytestmark = pytest.mark.contract

NOW = datetime.datetime.now(datetime.UTC)
YEAR = datetime.timedelta(days=365)
ROOT_KEY, MIDDLE_KEY, SERVER_KEY, DEVICE_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(4))
ROOT = certificates.make_ca(ROOT_KEY, "root", NOW, 10 * YEAR)
MIDDLE = certificates.issue_certificate(
    ROOT, ROOT_KEY, MIDDLE_KEY.public_key(), Profile.INTERMEDIATE, "middle", NOW, 5 * YEAR
)
SERVER = certificates.issue_certificate(
    MIDDLE,
    MIDDLE_KEY,
    SERVER_KEY.public_key(),
    Profile.SERVER,
    "eaves",
    NOW,
    YEAR,
    hosts=["eaves.example", "192.0.2.7"],
)
DEVICE = certificates.make_device_certificate(DEVICE_KEY, NOW)


def write_chain(path: Path, key: ec.EllipticCurvePrivateKey, *chain: x509.Certificate) -> Path:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*form) + b"".join(map(certificates.encode_certificate_pem, chain)))
    return path


def server_context(folder: Path, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(write_chain(folder / "server.pem", SERVER_KEY, SERVER, MIDDLE))
    return context


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=certificates.encode_certificate_pem(ROOT).decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=host),
    ]
    waiting = list(sides)
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    assert not waiting
    return sides[0], sides[1]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("host", ["eaves.example", "192.0.2.7"])
def test_client_with_the_root_accepts_the_server(tmp_path: Path, version: ssl.TLSVersion, host: str) -> None:
    _, client = shake_hands(server_context(tmp_path, version), client_context(), host)
    assert client.getpeercert(binary_form=True) == SERVER.public_bytes(serialization.Encoding.DER)


def test_client_refuses_the_server_under_another_name(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(server_context(tmp_path, ssl.TLSVersion.TLSv1_3), client_context(), "other.example")


def test_device_certificate_serves_as_client_certificate(tmp_path: Path) -> None:
    server = server_context(tmp_path, ssl.TLSVersion.TLSv1_3)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cadata=certificates.encode_certificate_pem(DEVICE).decode())
    client = client_context()
    client.load_cert_chain(write_chain(tmp_path / "device.pem", DEVICE_KEY, DEVICE))
    seen, _ = shake_hands(server, client, "eaves.example")
    assert seen.getpeercert(binary_form=True) == DEVICE.public_bytes(serialization.Encoding.DER)
