"""Who this node is: its keys behind an interface that a TPM can stand behind as well as files, and its serial number.

:class:`FileKeys` makes the keys once; power may fail between any two files. Everything that is signed by the device goes through
:func:`seal_envelope`, so a key never leaves its holder.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import uuid
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from eaves.kit import files
from eaves.node.link.errors import IdentityError
from eaves.wire import certificates, cipher, envelope
from eaves.wire.errors import WireError
from eaves.wire.pb.auth.auth_pb2 import AuthBody, AuthContainer

_COORDINATE_BYTES = 32
_ECDH_NAME = "EVE ECDH"
_SERIAL_LIMIT = 256
_SERIAL_SOURCE = Path("/sys/class/dmi/id/product_serial")
_MACHINE_ID = Path("/etc/machine-id")
_JUNK_SERIALS = {"", "0", "none", "default string", "not specified", "system serial number", "to be filled by o.e.m."}
"""What firmware says when its maker filled nothing in; two boxes must not share such a serial."""


class DeviceKeys(Protocol):
    """The device's keys, wherever they live."""

    @property
    def certificate(self) -> x509.Certificate:
        """The device certificate; its SHA-256 is the device's name on the wire until the UUID is known."""

    @property
    def ecdh_certificate_pem(self) -> bytes:
        """The certificate for key agreement, signed by the device key, exactly as published."""

    def sign_digest(self, digest: bytes) -> bytes:
        """ECDSA P-256 over a SHA-256 digest with the device key, as r‖s (64 bytes)."""

    def agree_key(self, peer: x509.Certificate) -> bytes:
        """The AES key shared with the owner of ``peer`` (2.5 of the device API). Raises CipherError."""


class FileKeys:
    """Keys in files, mode 0600."""

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        certificate: x509.Certificate,
        ecdh: ec.EllipticCurvePrivateKey,
        pem: bytes,
    ) -> None:
        self._key = key
        self._certificate = certificate
        self._ring = cipher.KeyRing(ecdh)
        self._ecdh_pem = pem

    @classmethod
    def open(cls, folder: Path, now: datetime.datetime) -> FileKeys:
        """Load the keys of ``folder``, or make what is missing. Raises IdentityError for files that do not belong together."""
        files.want_folder(folder)
        key = _want_key(folder, "device")
        certificate = _want_certificate(folder, "device", key, lambda: certificates.make_device_certificate(key, now))
        ecdh = _want_key(folder, "ecdh")
        ecdh_certificate = _want_certificate(folder, "ecdh", ecdh, lambda: _issue_ecdh(certificate, key, ecdh, now))
        return cls(key, certificate, ecdh, certificates.encode_certificate_pem(ecdh_certificate))

    @property
    def certificate(self) -> x509.Certificate:
        return self._certificate

    @property
    def ecdh_certificate_pem(self) -> bytes:
        return self._ecdh_pem

    def sign_digest(self, digest: bytes) -> bytes:
        r, s = decode_dss_signature(self._key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
        return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")

    def agree_key(self, peer: x509.Certificate) -> bytes:
        return self._ring.key_for_certificate(peer)


def seal_envelope(keys: DeviceKeys, payload: bytes) -> bytes:
    """The AuthContainer around ``payload``, signed by the device key."""
    container = AuthContainer(
        protectedPayload=AuthBody(payload=payload),
        algo=envelope.ALGORITHM_32,
        senderCertHash=certificates.hash_of_device_certificate(keys.certificate),
        signatureHash=keys.sign_digest(hashlib.sha256(payload).digest()),
    )
    return container.SerializeToString(deterministic=True)


def load_onboarding_signer(certificate_file: Path, key_file: Path) -> envelope.Signer:
    """The signer of ``/register``. Raises IdentityError."""
    certificate_pem, key_pem = files.load_file(certificate_file), files.load_file(key_file)
    if certificate_pem is None or key_pem is None:
        missing = certificate_file if certificate_pem is None else key_file
        raise IdentityError("file is missing", element=str(missing), resolution="join this node again")
    try:
        key = serialization.load_pem_private_key(key_pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise IdentityError("onboarding key is not an elliptic curve key", element=str(key_file))
        return envelope.Signer.for_device(
            key, certificates.parse_certificate_pem(certificate_pem, "onboarding certificate")
        )
    except (ValueError, TypeError, UnsupportedAlgorithm, WireError) as error:
        raise IdentityError(
            "onboarding certificate and key cannot be used",
            element=str(certificate_file),
            details=str(error),
            resolution="give the certificate and the key that belongs to it",
        ) from error


def load_serial(folder: Path, wanted: str = "") -> str:
    """This machine's serial number: ``wanted``, else the firmware's, else one derived from the machine id, else a random one.

    The first answer is kept in ``folder``, so that it never changes under a registered device.
    """
    if wanted:
        return wanted.strip()[:_SERIAL_LIMIT]
    kept = folder / "serial"
    if (known := files.load_file(kept)) is not None:
        return known.decode(errors="replace").strip()
    serial = _firmware_serial() or _machine_serial() or str(uuid.uuid4())
    files.save_file(files.want_folder(folder) / "serial", f"{serial}\n".encode())
    return serial


def want_soft_serial(name: str) -> str:
    """``name`` in the characters that a soft serial may have."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name.split(".", 1)[0])[:_SERIAL_LIMIT].strip("-")


def _firmware_serial() -> str:
    try:
        text = _SERIAL_SOURCE.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
    return "" if text.lower() in _JUNK_SERIALS else text[:_SERIAL_LIMIT]


def _machine_serial() -> str:
    """The machine id itself is confidential by machine-id(5); a hash of it with our own word is not."""
    machine_id = files.load_file(_MACHINE_ID)
    if not machine_id or len(machine_id.strip()) < 32:
        return ""
    return hashlib.sha256(b"eaves-serial\0" + machine_id.strip()).hexdigest()[:32]


def _want_key(folder: Path, name: str) -> ec.EllipticCurvePrivateKey:
    path = folder / f"{name}.key.pem"
    pem = files.load_file(path)
    if pem is None:
        if (folder / f"{name}.cert.pem").exists():
            raise IdentityError(
                "the certificate is there but its key is gone",
                element=str(path),
                resolution="restore the key from a backup, or run eaves node reset and join again",
            )
        key = ec.generate_private_key(ec.SECP256R1())
        encryption = serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        files.save_file(path, pem)
        return key
    try:
        loaded = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise IdentityError("not a private key", element=str(path), details=str(error)) from error
    if not isinstance(loaded, ec.EllipticCurvePrivateKey) or loaded.curve.name != "secp256r1":
        raise IdentityError("not a P-256 key", element=str(path))
    return loaded


def _want_certificate(
    folder: Path, name: str, key: ec.EllipticCurvePrivateKey, make: _MakeCertificate
) -> x509.Certificate:
    path = folder / f"{name}.cert.pem"
    pem = files.load_file(path)
    if pem is None:
        certificate = make()
        files.save_file(path, certificates.encode_certificate_pem(certificate))
        return certificate
    try:
        certificate = certificates.parse_certificate_pem(pem, str(path))
    except WireError as error:
        raise IdentityError("not a certificate", element=str(path), details=str(error)) from error
    if certificate.public_key() != key.public_key():
        raise IdentityError("the certificate belongs to another key", element=str(path))
    return certificate


class _MakeCertificate(Protocol):
    def __call__(self) -> x509.Certificate: ...


def _issue_ecdh(
    issuer: x509.Certificate,
    issuer_key: ec.EllipticCurvePrivateKey,
    ecdh: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
) -> x509.Certificate:
    return certificates.issue_certificate(
        issuer, issuer_key, ecdh.public_key(), certificates.Profile.ECDH, _ECDH_NAME, now, certificates.DEVICE_LIFETIME
    )
