"""The answer of ``/certs``: made by the controller, checked by the device before anything else is believed.

The check follows what Go's X.509 does on a real device, since a set that we accept and it refuses would be found only in the field:
one signing certificate, at least one for key agreement, nothing unknown, and each leaf on a valid path to the device's own root.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID
from google.protobuf.message import DecodeError
from msgspec import Struct

from eaves.wire import certificates
from eaves.wire.errors import CertificateSetError, ChainError
from eaves.wire.pb.certs import certs_pb2
from eaves.wire.pb.evecommon import evecommon_pb2

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Sequence

SIGNING = certs_pb2.CERT_TYPE_CONTROLLER_SIGNING
INTERMEDIATE = certs_pb2.CERT_TYPE_CONTROLLER_INTERMEDIATE
ECDH = certs_pb2.CERT_TYPE_CONTROLLER_ECDH_EXCHANGE

_MAX_CERTS = 32
_MAX_DEPTH = 8
"""Longest path with leaf and root; also bounds the signature checks that a hostile answer can cause."""
_ACCEPTED_USAGES = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}


class ControllerCert(Struct, frozen=True):
    """One certificate of a controller as it travels; ``cert_hash`` is the key that others look it up by."""

    type: certs_pb2.ZCertType.ValueType
    pem: bytes
    cert_hash: bytes


class ControllerCerts(Struct, frozen=True):
    """A checked set."""

    signing: ControllerCert
    ecdh: tuple[ControllerCert, ...]
    intermediates: tuple[ControllerCert, ...]

    @property
    def signing_sha256(self) -> bytes:
        """What ``senderCertHash`` of the controller's envelopes must begin with."""
        return hashlib.sha256(self.signing.pem).digest()

    @property
    def signing_key(self) -> certificates.PublicKey:
        return certificates.parse_public_key(
            certificates.parse_certificate_pem(self.signing.pem), "signing certificate"
        )

    @property
    def hashes(self) -> frozenset[bytes]:
        """Two sets are the same certificates when these are equal; order and repetition say nothing."""
        return frozenset(cert.cert_hash for cert in (self.signing, *self.ecdh, *self.intermediates))


def want_controller_cert(type_: certs_pb2.ZCertType.ValueType, pem: bytes, hash_size_bytes: int = 16) -> ControllerCert:
    """A certificate to serve. White space around the PEM goes before hashing, so that hash and served bytes agree everywhere."""
    text = pem.strip() + b"\n"
    certificates.parse_certificate_pem(text)
    return ControllerCert(type_, text, certificates.hash_of_pem(text, hash_size_bytes))


def encode_controller_certs(certs: Iterable[ControllerCert]) -> bytes:
    """The payload of a ``/certs`` answer."""
    message = certs_pb2.ZControllerCert()
    for cert in certs:
        is_short = len(cert.cert_hash) == 16
        message.certs.add(
            hashAlgo=evecommon_pb2.HASH_ALGORITHM_SHA256_16BYTES
            if is_short
            else evecommon_pb2.HASH_ALGORITHM_SHA256_32BYTES,
            certHash=cert.cert_hash,
            type=cert.type,
            cert=cert.pem,
        )
    return message.SerializeToString(deterministic=True)


def hash_of_controller_certs(certs: Iterable[ControllerCert]) -> str:
    """``controllercert_confighash``: changes whenever any certificate does, whatever their order."""
    digests = sorted(hashlib.sha256(bytes([cert.type]) + cert.pem).digest() for cert in certs)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def check_controller_certs(payload: bytes, root_pem: bytes, now: datetime.datetime) -> ControllerCerts:
    """The set in a ``/certs`` payload when a device may trust it. ``root_pem`` may hold several roots.

    Raises CertificateSetError, ChainError or MalformedCertificateError; the whole answer is refused then.
    """
    certs = _parse_set(payload)
    found = ControllerCerts(
        _only_signing([cert for cert in certs if cert.type == SIGNING]),
        tuple(cert for cert in certs if cert.type == ECDH),
        tuple(cert for cert in certs if cert.type == INTERMEDIATE),
    )
    if not found.ecdh:
        raise CertificateSetError("/certs has no certificate for key agreement", element="/certs")
    roots = certificates.parse_certificates_pem(root_pem, "root certificate")
    pool = [certificates.parse_certificate_pem(cert.pem, "intermediate certificate") for cert in found.intermediates]
    for cert in (found.signing, *found.ecdh):
        element = "signing certificate" if cert.type == SIGNING else "key agreement certificate"
        check_chain(certificates.parse_certificate_pem(cert.pem, element), pool, roots, now, element)
    return found


def find_latest_start(payload: bytes) -> datetime.datetime:
    """The moment from which on every certificate of a ``/certs`` payload has begun to be valid.

    Raises CertificateSetError or MalformedCertificateError.
    """
    certs = [certificates.parse_certificate_pem(cert.pem, "controller certificate") for cert in _parse_set(payload)]
    if not certs:
        raise CertificateSetError("/certs is empty", element="/certs")
    return max(cert.not_valid_before_utc for cert in certs)


def check_chain(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    now: datetime.datetime,
    element: str,
) -> None:
    """Check that ``leaf`` leads to one of ``roots`` with every certificate valid at ``now``. Raises ChainError."""
    reasons: list[str] = []
    budget = [_MAX_CERTS * _MAX_DEPTH]
    if not _has_path([leaf], intermediates, roots, now, reasons, budget):
        raise ChainError(
            "no valid path to a trusted root",
            element=element,
            details="; ".join(dict.fromkeys(reasons)) or f"issuer {leaf.issuer.rfc4514_string()} is unknown",
            resolution="serve the intermediates too, and check the root certificate and the clock of the device",
        )


def _parse_set(payload: bytes) -> list[ControllerCert]:
    try:
        message = certs_pb2.ZControllerCert.FromString(payload)
    except DecodeError as error:
        raise CertificateSetError("/certs is not a ZControllerCert", element="/certs", details=str(error)) from error
    if len(message.certs) > _MAX_CERTS:
        raise CertificateSetError(
            f"/certs has {len(message.certs)} certificates, most is {_MAX_CERTS}", element="/certs"
        )
    for cert in message.certs:
        if cert.type not in (SIGNING, INTERMEDIATE, ECDH):
            raise CertificateSetError(f"/certs has a certificate of the wrong type {cert.type}", element="/certs")
    return [ControllerCert(cert.type, cert.cert, cert.certHash) for cert in message.certs]


def _only_signing(signing: list[ControllerCert]) -> ControllerCert:
    if len(signing) != 1:
        raise CertificateSetError(f"/certs has {len(signing)} signing certificates, must have one", element="/certs")
    return signing[0]


def _has_path(
    path: list[x509.Certificate],
    intermediates: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    now: datetime.datetime,
    reasons: list[str],
    budget: list[int],
) -> bool:
    """Depth-first search from the last certificate of ``path`` upwards; ``reasons`` collects why branches ended."""
    current = path[-1]
    if fault := _fault_of(current, now, below=len(path) - 2):
        reasons.append(fault)
        return False
    if current in roots:
        return True
    candidates = [*roots, *(cert for cert in intermediates if cert not in path)] if len(path) < _MAX_DEPTH else []
    for issuer in candidates:
        if issuer.subject != current.issuer or budget[0] <= 0:
            continue
        budget[0] -= 1
        if not _is_issued_by(current, issuer):
            reasons.append(f"{_label(current)} is not signed by the key of {_label(issuer)}")
        elif _has_path([*path, issuer], intermediates, roots, now, reasons, budget):
            return True
    return False


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        # Foreign kinds of keys and signature algorithms end here too.
        return False
    return True


def _fault_of(certificate: x509.Certificate, now: datetime.datetime, below: int) -> str:
    """Why ``certificate`` cannot be on a path, or an empty text. ``below``: intermediates under it, -1 for the leaf itself."""
    label = _label(certificate)
    if now < certificate.not_valid_before_utc:
        return f"{label} is not valid before {certificate.not_valid_before_utc.isoformat()}"
    if now > certificate.not_valid_after_utc:
        return f"{label} expired at {certificate.not_valid_after_utc.isoformat()}"
    extensions = certificate.extensions
    for extension in extensions:
        # Constraints on names cannot be judged for a certificate that names no host; refusing is the safe side.
        if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension | x509.NameConstraints):
            return f"{label} has the critical extension {extension.oid.dotted_string} that is not understood"
    if not _has_accepted_usage(extensions):
        return f"{label} has an extended key usage without serverAuth"
    return _fault_of_issuer(extensions, label, below) if below >= 0 else ""


def _has_accepted_usage(extensions: x509.Extensions) -> bool:
    try:
        usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return not _ACCEPTED_USAGES.isdisjoint(usages)


def _fault_of_issuer(extensions: x509.Extensions, label: str, below: int) -> str:
    try:
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return f"{label} has no basic constraints, so it may not issue certificates"
    if not constraints.ca:
        return f"{label} is not a certificate authority"
    if constraints.path_length is not None and below > constraints.path_length:
        return f"{label} allows only {constraints.path_length} intermediates below it"
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return ""
    return "" if usage.key_cert_sign else f"{label} has a key usage without certificate signing"


def _label(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "certificate without a name"
