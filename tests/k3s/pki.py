"""K3s's certificates: five authorities of ten years, leaves of a year that a start renews in their last 120 days.

File names, subjects and life times are those of https://docs.k3s.io/cli/certificate.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.k3s import clock
from tests.k3s.paths import DataDir, write

AUTHORITIES = ("server-ca", "client-ca", "request-header-ca", "etcd/server-ca", "etcd/peer-ca")
RENEW_WITHIN = datetime.timedelta(days=120)
_AUTHORITY_DAYS = 3650
_CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
_SERVER = ExtendedKeyUsageOID.SERVER_AUTH


class Leaf(NamedTuple):
    """``service`` is the name by which ``k3s certificate rotate --service`` knows it."""

    name: str
    authority: str
    common_name: str
    service: str
    groups: tuple[str, ...] = ()
    is_server: bool = False
    is_client: bool = True


LEAVES = (
    Leaf("client-admin", "client-ca", "system:admin", "admin", ("system:masters",)),
    Leaf("client-supervisor", "client-ca", "system:k3s-supervisor", "supervisor", ("system:masters",)),
    Leaf("client-controller", "client-ca", "system:kube-controller-manager", "controller-manager"),
    Leaf("client-scheduler", "client-ca", "system:kube-scheduler", "scheduler"),
    Leaf("client-kube-apiserver", "client-ca", "system:apiserver", "api-server", ("system:masters",)),
    Leaf("client-kube-proxy", "client-ca", "system:kube-proxy", "kube-proxy"),
    Leaf("client-k3s-controller", "client-ca", "system:k3s-controller", "k3s-controller"),
    Leaf("client-auth-proxy", "request-header-ca", "system:auth-proxy", "auth-proxy"),
    Leaf("serving-kube-apiserver", "server-ca", "kube-apiserver", "api-server", is_server=True, is_client=False),
    Leaf("etcd/client", "etcd/server-ca", "etcd-client", "etcd"),
    Leaf("etcd/server-client", "etcd/server-ca", "etcd-server", "etcd", is_server=True),
    Leaf("etcd/peer-server-client", "etcd/peer-ca", "etcd-peer", "etcd", is_server=True),
)


def make_authorities(data: DataDir) -> None:
    """Those that are not there yet, and the key that signs service accounts' tokens."""
    stamp = int(clock.seconds())
    begin = clock.now() - datetime.timedelta(hours=1)
    for name in AUTHORITIES:
        certificate, key = data.tls / f"{name}.crt", data.tls / f"{name}.key"
        if certificate.exists():
            continue
        pair = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(f"k3s-{name.replace('/', '-')}@{stamp}")
        made = (
            _builder(subject, subject, pair.public_key(), _AUTHORITY_DAYS, begin)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(is_authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(pair.public_key()), critical=False)
            .sign(pair, hashes.SHA256())
        )
        write(key, _pem(pair))
        write(certificate, made.public_bytes(serialization.Encoding.PEM), 0o644)
    if not (data.tls / "service.key").exists():
        write(data.tls / "service.key", _pem(rsa.generate_private_key(65537, 2048)))


def make_leaves(data: DataDir, names: Sequence[str]) -> None:
    """Makes what is missing, and renews what ends soon or lacks one of ``names``, which servers' certificates are to hold."""
    names = [*dict.fromkeys((*names, "localhost", "127.0.0.1", "::1", socket.gethostname()))]
    for leaf in LEAVES:
        certificate, key = data.tls / f"{leaf.name}.crt", data.tls / f"{leaf.name}.key"
        hosts = names if leaf.is_server else []
        if certificate.exists() and key.exists() and not is_due(certificate) and _holds(certificate, hosts):
            continue
        issue(data, leaf.authority, leaf, certificate, key, hosts)


def issue(data: DataDir, authority: str, leaf: Leaf, certificate: Path, key: Path, hosts: Sequence[str]) -> None:
    """Writes certificate, followed by its authority, and key; a key that is there already stays, as K3s renews."""
    text, key_text = make(data, authority, leaf, hosts, key.read_bytes() if key.exists() else b"")
    write(key, key_text)
    write(certificate, text)


def make(data: DataDir, authority: str, leaf: Leaf, hosts: Sequence[str], key: bytes = b"") -> tuple[bytes, bytes]:
    """Certificate, followed by its authority, and key in PEM."""
    found = serialization.load_pem_private_key(key, None) if key else None
    pair = found if isinstance(found, ec.EllipticCurvePrivateKey) else ec.generate_private_key(ec.SECP256R1())
    signer_text = (data.tls / f"{authority}.crt").read_bytes()
    signer = x509.load_pem_x509_certificate(signer_text)
    signer_key = serialization.load_pem_private_key((data.tls / f"{authority}.key").read_bytes(), None)
    assert isinstance(signer_key, ec.EllipticCurvePrivateKey)
    usages = [*([_CLIENT] if leaf.is_client else []), *([_SERVER] if leaf.is_server else [])]
    days = int(os.environ.get("CATTLE_NEW_SIGNED_CERT_EXPIRATION_DAYS", "365"))
    # K3s's leaves begin when their authority does: none is too early for a machine whose clock is behind.
    begin = signer.not_valid_before_utc
    builder = (
        _builder(_subject(leaf.common_name, leaf.groups), signer.subject, pair.public_key(), days, begin)
        .add_extension(_usage(is_authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key.public_key()), critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
    made = builder.sign(signer_key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM) + signer_text, _pem(pair)


def is_due(certificate: Path) -> bool:
    ends = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    return ends - clock.now() < RENEW_WITHIN


def _holds(certificate: Path, hosts: Sequence[str]) -> bool:
    if not hosts:
        return True
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return {_host(host) for host in hosts} <= set(names)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _subject(common_name: str, groups: Sequence[str] = ()) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, days: int, begin: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(clock.now() + datetime.timedelta(days=days))
    )


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not is_authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
