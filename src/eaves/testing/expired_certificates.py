"""Leaves K3s's certificates as months without power would: all of them over, while the authorities go on for years."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_BEGAN = datetime.timedelta(days=400)
_ENDED = datetime.timedelta(days=35)

Authority = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def let_all_expire(data: Path, server: Path) -> list[str]:
    """Sign every leaf certificate of a data directory anew with a validity that is over; answers their paths in it.

    ``server``: data directory of a server of the cluster, which has the authorities' keys.
    """
    authorities = _load_authorities(server)
    ended = []
    for path in _list_files(data):
        first = x509.load_pem_x509_certificates(path.read_bytes())[0]
        if not _is_authority(first):
            _sign_anew(path, authorities)
            ended.append(str(path.relative_to(data)))
    return ended


def list_ends(data: Path) -> Mapping[str, float]:
    """When each leaf certificate of a data directory ends, in Unix seconds."""
    found = {}
    for path in _list_files(data):
        first = x509.load_pem_x509_certificates(path.read_bytes())[0]
        if not _is_authority(first):
            found[str(path.relative_to(data))] = first.not_valid_after_utc.timestamp()
    return found


def _list_files(data: Path) -> list[Path]:
    """Components of Kubernetes sign some for themselves, in folders of their own, which nobody checks."""
    return sorted(path for place in ("server/tls", "server/tls/etcd", "agent") for path in (data / place).glob("*.crt"))


def _load_authorities(server: Path) -> list[Authority]:
    found = []
    for path in sorted((server / "server" / "tls").glob("**/*-ca.key")):
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        found.append((x509.load_pem_x509_certificate(path.with_suffix(".crt").read_bytes()), key))
    return found


def _sign_anew(path: Path, authorities: list[Authority]) -> None:
    """The chain behind it stays."""
    old, *chain = x509.load_pem_x509_certificates(path.read_bytes())
    authority, key = next(found for found in authorities if found[0].subject == old.issuer)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(authority.subject)
        .public_key(old.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEGAN)
        .not_valid_after(now - _ENDED)
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    made = [builder.sign(key, hashes.SHA256()), *chain]
    path.write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in made))


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
