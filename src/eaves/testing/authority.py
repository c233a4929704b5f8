"""Keys and certificates of a controller in tests: root, server, signing and encryption, each to be rotated."""

from __future__ import annotations

import datetime
import hashlib
import random
import uuid

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from eaves.wire import certificates, controller_certs, envelope
from eaves.wire.pb.certs import certs_pb2

DAY = datetime.timedelta(days=1)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class Authority:
    """A root with a server, a signing and a key agreement certificate, and onboarding keys."""

    def __init__(self, *, server_lifetime: tuple[datetime.timedelta, datetime.timedelta] = (-DAY, 365 * DAY)) -> None:
        self.root_key = ec.generate_private_key(ec.SECP256R1())
        self.root = certificates.make_ca(self.root_key, "foreign root", now(), 3650 * DAY)
        # issue_certificate dates back by one day, which the start allows for.
        start = now() + server_lifetime[0] + certificates.BACKDATE
        self.server_key, self.server = self.issue(
            certificates.Profile.SERVER,
            "localhost",
            start,
            server_lifetime[1] - server_lifetime[0],
            ("localhost", "127.0.0.1"),
        )
        self.rotate_signing()
        self.rotate_ecdh()

    def rotate_signing(self) -> None:
        self.signing_key, self.signing = self.issue(
            certificates.Profile.SIGNING, f"signing {uuid.uuid4()}", now(), 365 * DAY
        )
        self.signing_pem = certificates.encode_certificate_pem(self.signing).strip()
        self.signer = envelope.Signer(self.signing_key, self.signing_pem)

    def rotate_ecdh(self) -> None:
        self.ecdh_key, self.ecdh = self.issue(certificates.Profile.ECDH, f"ecdh {uuid.uuid4()}", now(), 365 * DAY)
        self.ecdh_pem = certificates.encode_certificate_pem(self.ecdh).strip()

    @property
    def root_pem(self) -> bytes:
        return certificates.encode_certificate_pem(self.root)

    def issue(
        self,
        profile: certificates.Profile,
        name: str,
        start: datetime.datetime,
        lifetime: datetime.timedelta,
        hosts: tuple[str, ...] = (),
    ) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = certificates.issue_certificate(
            self.root, self.root_key, key.public_key(), profile, name, start, lifetime, hosts=hosts
        )
        return key, certificate

    def certs_payload(self) -> bytes:
        """``/certs`` in random order, hashes of 16 bytes, no line feed at the end of a PEM text."""
        entries = [
            controller_certs.ControllerCert(kind, pem, hashlib.sha256(pem).digest()[:16])
            for kind, pem in (
                (certs_pb2.CERT_TYPE_CONTROLLER_SIGNING, self.signing_pem),
                (certs_pb2.CERT_TYPE_CONTROLLER_ECDH_EXCHANGE, self.ecdh_pem),
            )
        ]
        random.shuffle(entries)
        return controller_certs.encode_controller_certs(entries)


def encode_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
