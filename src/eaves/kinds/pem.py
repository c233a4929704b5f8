"""PEM texts in specs: certificates in, private keys never.

Kinds check them at admission and compile splits them. Parsing is by the ``cryptography`` library.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cryptography import x509

from eaves.kinds.rules import forbidden, invalid, required
from eaves.kube.errors import FieldError

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")


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
