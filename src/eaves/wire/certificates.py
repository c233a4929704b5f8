"""Certificates of the device API: reading, hashing and issuing them.

The controller issues its own with :func:`make_ca` and :func:`issue_certificate`; a device makes its own with
:func:`make_device_certificate`. Serial numbers are derived from what a certificate says, so that nothing here needs randomness;
moments are passed in. Verification of ``/certs`` is in :mod:`eaves.wire.controller_certs`.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import ipaddress
from enum import StrEnum
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from eaves.wire.errors import MalformedCertificateError

if TYPE_CHECKING:
    from collections.abc import Sequence

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

DEVICE_LIFETIME = datetime.timedelta(days=20 * 365)
BACKDATE = datetime.timedelta(days=1)
"""A new certificate is valid for a peer whose clock runs late by up to this much."""

_UNREADABLE = (
    ValueError,
    # A name's part in a bit string.
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    # Where warnings are errors, a serial number that is refused below anyway already fails while it is read.
    CryptographyDeprecationWarning,
)


class Profile(StrEnum):
    """What an issued certificate is for; decides its key usage."""

    SERVER = "server"
    SIGNING = "signing"
    """Signs envelopes. Carries no extended key usage: devices accept only its absence or serverAuth."""
    ECDH = "ecdh"
    """Agrees on keys for encrypted fields; no extended key usage for the same reason."""
    CLIENT = "client"
    INTERMEDIATE = "intermediate"


_EXTENDED_USAGES: dict[Profile, list[x509.ObjectIdentifier]] = {
    Profile.SERVER: [ExtendedKeyUsageOID.SERVER_AUTH],
    Profile.CLIENT: [ExtendedKeyUsageOID.CLIENT_AUTH],
}


def parse_certificate_pem(pem: bytes, element: str = "certificate") -> x509.Certificate:
    """The only certificate of ``pem``.

    Two certificates are refused everywhere: a controller that looks one up and lets the other verify gives strangers access.
    """
    if pem.count(b"-----BEGIN") != 1:
        raise MalformedCertificateError(
            f"expected exactly one PEM certificate, found {pem.count(b'-----BEGIN')} PEM blocks",
            element=element,
            resolution="send one certificate and nothing else",
        )
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        _check_readable(certificate)
    except _UNREADABLE as error:
        raise MalformedCertificateError("not a PEM certificate", element=element, details=str(error)) from error
    return certificate


def parse_certificates_pem(pem: bytes, element: str = "certificates") -> list[x509.Certificate]:
    """All certificates of a bundle such as the trusted roots; at least one."""
    try:
        found = x509.load_pem_x509_certificates(pem)
        for certificate in found:
            _check_readable(certificate)
    except _UNREADABLE as error:
        raise MalformedCertificateError("not PEM certificates", element=element, details=str(error)) from error
    return found


def _check_readable(certificate: x509.Certificate) -> None:
    """Read every part once: the library parses parts only when asked, and then fails where nobody expects it."""
    if certificate.serial_number <= 0:
        raise ValueError("serial number is not positive")
    certificate.subject.rfc4514_string()
    certificate.issuer.rfc4514_string()
    certificate.public_key()
    _ = (certificate.extensions, certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def parse_certificate_base64(text: bytes, element: str = "certificate") -> x509.Certificate:
    """The certificate of a base64 text around PEM, as ``senderCert`` and ``ZRegisterMsg.pemCert`` carry it.

    Line breaks inside the base64 text are allowed since devices may wrap it.
    """
    try:
        pem = base64.b64decode(text.translate(None, b"\r\n"), validate=True)
    except binascii.Error as error:
        raise MalformedCertificateError("not base64 text", element=element, details=str(error)) from error
    return parse_certificate_pem(pem, element)


def encode_certificate_base64(certificate: x509.Certificate) -> bytes:
    return base64.b64encode(encode_certificate_pem(certificate))


def encode_certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def parse_public_key(certificate: x509.Certificate, element: str = "certificate") -> PublicKey:
    """The certificate's key when it is of a kind that the device API uses at all (elliptic curve or RSA)."""
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise MalformedCertificateError(f"key is a {type(key).__name__}, not elliptic curve or RSA", element=element)
    return key


def hash_of_device_certificate(certificate: x509.Certificate) -> bytes:
    """``senderCertHash`` of a device or onboarding certificate: 32 bytes over its DER form."""
    return certificate.fingerprint(hashes.SHA256())


def hash_of_pem(pem: bytes, size_bytes: int = 32) -> bytes:
    """Hash of a controller's certificate, or ``certHash`` of any ZCert: over the PEM text exactly as it travels."""
    return hashlib.sha256(pem).digest()[:size_bytes]


def make_device_certificate(
    private_key: ec.EllipticCurvePrivateKey, now: datetime.datetime, common_name: str = "EVE"
) -> x509.Certificate:
    """A self-signed device certificate: 20 years, backdated one day, able to sign the device's other certificates."""
    name = _name(common_name, ())
    builder = _builder(name, name, private_key.public_key(), now, DEVICE_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(digital_signature=True, key_cert_sign=True), critical=True)
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    return builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False).sign(private_key, hashes.SHA256())


def make_onboarding_certificate(
    private_key: ec.EllipticCurvePrivateKey, common_name: str, now: datetime.datetime, lifetime: datetime.timedelta
) -> x509.Certificate:
    """A self-signed onboarding certificate: signs registrations, nothing else. It ends ``lifetime`` after ``now``."""
    name = _name(common_name, ())
    # Counted from its beginning, which lies back, a certificate for a day would be over when it is made.
    builder = _builder(name, name, private_key.public_key(), now, BACKDATE + lifetime)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(digital_signature=True), critical=True)
    return builder.sign(private_key, hashes.SHA256())


def make_ca(
    private_key: ec.EllipticCurvePrivateKey, common_name: str, now: datetime.datetime, lifetime: datetime.timedelta
) -> x509.Certificate:
    """A self-signed root that may have one level of intermediates below it."""
    name = _name(common_name, ())
    builder = _builder(name, name, private_key.public_key(), now, lifetime)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
    builder = builder.add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
    return builder.sign(private_key, hashes.SHA256())


def issue_certificate(
    issuer: x509.Certificate,
    issuer_key: ec.EllipticCurvePrivateKey,
    public_key: ec.EllipticCurvePublicKey,
    profile: Profile,
    common_name: str,
    now: datetime.datetime,
    lifetime: datetime.timedelta,
    *,
    organizations: Sequence[str] = (),
    hosts: Sequence[str] = (),
) -> x509.Certificate:
    """A certificate below ``issuer``. ``hosts`` are DNS names and IP addresses that a server answers for."""
    builder = _builder(_name(common_name, organizations), issuer.subject, public_key, now, lifetime)
    builder = builder.add_extension(_basic_constraints(profile), critical=True)
    builder = builder.add_extension(_usage_of(profile), critical=True)
    if usages := _EXTENDED_USAGES.get(profile):
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if hosts:
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return builder.add_extension(authority, critical=False).sign(issuer_key, hashes.SHA256())


def _basic_constraints(profile: Profile) -> x509.BasicConstraints:
    if profile is Profile.INTERMEDIATE:
        return x509.BasicConstraints(ca=True, path_length=0)
    return x509.BasicConstraints(ca=False, path_length=None)


def _usage_of(profile: Profile) -> x509.KeyUsage:
    if profile is Profile.INTERMEDIATE:
        return _key_usage(key_cert_sign=True, crl_sign=True)
    if profile is Profile.ECDH:
        return _key_usage(key_agreement=True)
    return _key_usage(digital_signature=True)


def _key_usage(
    *, digital_signature: bool = False, key_agreement: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=key_agreement,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime.datetime,
    lifetime: datetime.timedelta,
) -> x509.CertificateBuilder:
    start = now.astimezone(datetime.UTC).replace(microsecond=0) - BACKDATE
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(_serial_number(subject, issuer, public_key, start))
        .not_valid_before(start)
        .not_valid_after(start + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _serial_number(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, start: datetime.datetime
) -> int:
    """127 bits over everything that tells two certificates of one issuer apart; positive, as RFC 5280 demands."""
    key = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    parts = (subject.public_bytes(), issuer.public_bytes(), key, start.isoformat().encode())
    digest = hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()
    return (int.from_bytes(digest[:16], "big") >> 1) | 1


def _name(common_name: str, organizations: Sequence[str]) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization) for organization in organizations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
