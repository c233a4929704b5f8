"""A device that asks to be admitted: what its message says, the terms of the onboarding key, the EdgeNode that it becomes. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.message import DecodeError
from msgspec import Struct

from eaves.controller.gateway.errors import (
    ForbiddenError,
    MalformedError,
    UnauthenticatedError,
    UnprocessableError,
)
from eaves.kinds import onboardingkey
from eaves.kinds.onboardingkey import Approval, OnboardingKey
from eaves.kinds.times import parse_time, render_time
from eaves.kube import names
from eaves.kube.resource import Object
from eaves.wire import certificates, envelope
from eaves.wire.errors import CertificateError, EnvelopeError, MalformedEnvelopeError
from eaves.wire.pb.register.register_pb2 import ZRegisterMsg

_MAX_SERIAL_CHARS = 256
_MAX_CERT_BYTES = 10_240
_SOFT_SERIAL = re.compile(r"[A-Za-z0-9_-]*")
_CURVES = ("secp256r1", "secp384r1")


class Applicant(Struct, frozen=True):
    """A device that asks to be admitted, its envelope verified."""

    cert_der: bytes
    onboarding_hash: bytes
    """SHA-256 of the onboarding certificate's DER."""
    onboarding_from: float
    """Unix seconds between which the onboarding certificate is valid."""
    onboarding_until: float
    serial: str
    soft_serial: str

    @property
    def known_as(self) -> str:
        """Its serial number, or the one that it was given; may be empty."""
        return self.serial or self.soft_serial

    @property
    def claims(self) -> frozenset[tuple[str, bytes]]:
        """What no other device of the same onboarding key may have."""
        serial = ("serial", self.serial) if self.serial else ("soft serial", self.soft_serial)
        claimed = {(serial[0], serial[1].encode())} if serial[1] else set()
        return frozenset({("certificate", self.cert_der), *claimed})


def parse_applicant(body: bytes) -> Applicant:
    """Verify a register envelope and read what is in it. Raises MalformedError, UnauthenticatedError, UnprocessableError."""
    try:
        sealed = envelope.parse_envelope(body)
        onboarding = envelope.parse_sender_certificate(sealed)
        envelope.check_sender_hash(sealed, certificates.hash_of_device_certificate(onboarding))
        envelope.check_signature(sealed, certificates.parse_public_key(onboarding), accept_der=True)
    except (MalformedEnvelopeError, CertificateError) as error:
        raise MalformedError(error.message, code=error.code) from error
    except EnvelopeError as error:
        raise UnauthenticatedError(error.message, code=error.code) from error
    try:
        message = ZRegisterMsg.FromString(sealed.payload)
    except DecodeError as error:
        raise UnprocessableError("payload is not a ZRegisterMsg") from error
    serial, soft_serial = message.serial.strip(), message.softSerial.strip()
    if len(serial) > _MAX_SERIAL_CHARS or len(soft_serial) > _MAX_SERIAL_CHARS or not serial.isprintable():
        raise UnprocessableError("serial number is too long or not printable")
    if not _SOFT_SERIAL.fullmatch(soft_serial):
        raise UnprocessableError("soft serial has characters besides letters, digits, _ and -")
    cert_der, onboarding_der = _parse_device_cert(message.pemCert), onboarding.public_bytes(Encoding.DER)
    if cert_der == onboarding_der:
        raise UnprocessableError("the device certificate is the onboarding certificate, whose key many devices have")
    return Applicant(
        cert_der,
        hashlib.sha256(onboarding_der).digest(),
        onboarding.not_valid_before_utc.timestamp(),
        onboarding.not_valid_after_utc.timestamp(),
        serial,
        soft_serial,
    )


def _parse_device_cert(text: bytes) -> bytes:
    if len(text) > _MAX_CERT_BYTES:
        raise UnprocessableError(f"device certificate of {len(text)} bytes, at most {_MAX_CERT_BYTES} are allowed")
    try:
        certificate: x509.Certificate = certificates.parse_certificate_base64(text, "device certificate")
    except CertificateError as error:
        raise UnprocessableError(error.message, code=error.code) from error
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise UnprocessableError("device key is neither P-256 nor P-384")
    return certificate.public_bytes(Encoding.DER)


def check_terms(key: OnboardingKey, applicant: Applicant, counted: int, now: float) -> None:
    """Raise ForbiddenError unless the key admits the applicant, when ``counted`` others are admitted at the same time."""
    spec = key.spec
    if spec.revoked:
        raise ForbiddenError("the onboarding key is revoked", code="KeyRevoked")
    if key.metadata.deletion_timestamp:
        raise ForbiddenError("the onboarding key is being deleted", code="KeyRevoked")
    if spec.expiration_timestamp is not None and parse_time(spec.expiration_timestamp) <= now:
        raise ForbiddenError(f"the onboarding key expired at {spec.expiration_timestamp}", code="KeyExpired")
    # A device's own certificate says nothing about time: it was made by a clock that may have been wrong.
    if now > applicant.onboarding_until:
        raise ForbiddenError(
            f"the onboarding certificate expired at {render_time(applicant.onboarding_until)}", code="KeyExpired"
        )
    if now < applicant.onboarding_from - certificates.BACKDATE.total_seconds():
        raise ForbiddenError(
            f"the onboarding certificate is valid from {render_time(applicant.onboarding_from)}", code="KeyNotYetValid"
        )
    if spec.allowed_serials and not {applicant.serial, applicant.soft_serial}.intersection(spec.allowed_serials):
        raise ForbiddenError("the serial number is not among spec.allowedSerials", code="SerialNotAllowed")
    if spec.max_uses is not None and key.status.uses + counted >= spec.max_uses:
        raise ForbiddenError(f"all {spec.max_uses} uses of the onboarding key are used up", code="KeyUsedUp")


def count_uses(obj: Object, key: OnboardingKey, count: int, now: float) -> Object:
    """The OnboardingKey with ``count`` more uses in its status."""
    status: dict[str, Any] = dict(obj.get("status") or {})
    status["uses"] = key.status.uses + count
    status["lastUsed"] = render_time(now)
    status["fingerprint"] = onboardingkey.fingerprint_of(key.spec.certificate)
    if key.spec.max_uses is not None:
        status["remaining"] = max(0, key.spec.max_uses - status["uses"])
    else:
        status.pop("remaining", None)
    return {**obj, "status": status}


def names_for(applicant: Applicant) -> list[str]:
    """Names to try, from what people know the device by; those that Kubernetes does not take are left out."""
    candidates = [text.lower().replace("_", "-") for text in (applicant.soft_serial, applicant.serial) if text]
    return [name for name in dict.fromkeys(candidates) if not names.check_subdomain(name)]


def make_edgenode(name: str, device_id: str, key: OnboardingKey, applicant: Applicant, now: float) -> Object:
    """The EdgeNode of an admitted device, approved and labelled as the key says."""
    meta: dict[str, Any] = {
        "name": name,
        "uid": device_id,
        "generation": 1,
        "creationTimestamp": render_time(now),
        "annotations": {"eaves.dev/onboarding-key": key.metadata.name},
    }
    if key.spec.node_labels:
        meta["labels"] = dict(key.spec.node_labels)
    spec: dict[str, Any] = {"approved": key.spec.approval is Approval.AUTOMATIC}
    if serial := applicant.known_as:
        spec["serial"] = serial
    return {"apiVersion": "eaves.dev/v1alpha1", "kind": "EdgeNode", "metadata": meta, "spec": spec}
