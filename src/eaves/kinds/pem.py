"""PEM texts in specs: certificates in, private keys never.

Kinds check them at admission and compile splits them. Parsing is by the ``cryptography`` library.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from eaves.kinds.rules import forbidden, invalid, required
from eaves.kube.errors import FieldError

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s.*?-----END \1-----", re.DOTALL)
_AS_DER = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def split_certificates(text: str) -> list[str]:
    """The certificates in a PEM text, each with a line end; text around them is left out."""
    return [match[0] + "\n" for match in _CERTIFICATE.finditer(text)]


def check_certificates(path: str, text: str, *, single: bool) -> Iterator[FieldError]:
    """Certificates that can be parsed, at least one, exactly one when ``single``. The text is never repeated in a fault."""
    if _PRIVATE_KEY.search(text):
        yield forbidden(path, "must not contain a private key; keep it with the devices and give the certificate only")
        return
    blocks = split_certificates(text)
    if not blocks:
        yield required(path, "must contain a PEM certificate (-----BEGIN CERTIFICATE-----)")
        return
    if single and len(blocks) > 1:
        yield invalid(path, f"{len(blocks)} certificates", "must contain exactly one certificate")
    for number, block in enumerate(blocks, 1):
        try:
            x509.load_pem_x509_certificate(block.encode())
        except ValueError:
            yield invalid(path, f"certificate {number}", "must be a valid X.509 certificate")


def find_pair_faults(certificate: bytes, key: bytes) -> Iterator[str]:
    """Why a server could not use a certificate with its private key, both PEM, in the words of Go's ``crypto/tls``; at most one."""
    kinds = [match[1] for match in _BLOCK.finditer(certificate)]
    found = next((match for match in _BLOCK.finditer(certificate) if match[1] == b"CERTIFICATE"), None)
    if found is None:
        is_key = bool(kinds) and kinds[0].endswith(b"PRIVATE KEY")
        switched = (
            "certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched"
        )
        yield f"tls: failed to find {switched if is_key else 'any PEM data in certificate input'}"
        return
    blocks = list(_BLOCK.finditer(key))
    secret = next((match for match in blocks if match[1].endswith(b"PRIVATE KEY")), None)
    if secret is None:
        is_certificate = any(match[1] == b"CERTIFICATE" for match in blocks)
        yield (
            "tls: found a certificate rather than a key in the PEM for the private key"
            if is_certificate
            else "tls: failed to find any PEM data in key input"
        )
        return
    yield from _find_mismatch(found[0] + b"\n", secret[0] + b"\n")


def _find_mismatch(certificate: bytes, key: bytes) -> Iterator[str]:
    try:
        public = x509.load_pem_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        yield "x509: malformed certificate"
        return
    try:
        mine = load_pem_private_key(key, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        yield "tls: failed to parse private key"
        return
    if type(mine) is not type(public):
        yield "tls: private key type does not match public key type"
    elif mine.public_bytes(*_AS_DER) != public.public_bytes(*_AS_DER):
        yield "tls: private key does not match public key"
