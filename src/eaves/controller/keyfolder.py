"""Keys and certificates of the controller on disk: who may read them, and how a pair never gets torn.

:mod:`eaves.controller.identity` decides what to make and when; it knows the interface :class:`KeyVault` only, so that a hardware
module can take the place of :class:`KeyFolder`. Certificate and key of one generation share one file, written whole, mode 0600.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from msgspec import Struct

from eaves.kit.errors import EavesError
from eaves.kit.files import load_file, save_file, sync_folder, want_folder
from eaves.wire import certificates

_FILE_NAME = re.compile(r"^([a-z]+)-(\d{4,})\.pem$")
_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\n?", re.DOTALL)


class KeyFileError(EavesError):
    """A key or certificate file that cannot be used."""

    code = "BadKeyFile"


class Role(StrEnum):
    CA = "ca"
    SERVER = "server"
    SIGNING = "signing"
    ECDH = "ecdh"
    ACCOUNTS = "accounts"
    """Signs the tokens of service accounts."""


class KeyPair(Struct, frozen=True):
    """One generation of a role: the certificate as PEM text, its chain above it, and the key."""

    role: Role
    generation: int
    certificate_pem: bytes
    private_key: certificates.PrivateKey
    chain_pem: tuple[bytes, ...] = ()

    @property
    def certificate(self) -> x509.Certificate:
        return certificates.parse_certificate_pem(self.certificate_pem, f"{self.role} certificate")

    @property
    def elliptic_key(self) -> ec.EllipticCurvePrivateKey:
        """The key of a role that cannot use RSA. Raises KeyFileError."""
        if not isinstance(self.private_key, ec.EllipticCurvePrivateKey):
            raise KeyFileError("must be an elliptic curve key", element=f"{self.role} key")
        return self.private_key


class KeyVault(Protocol):
    """Where keys live."""

    def load_pairs(self, role: Role) -> list[KeyPair]:
        """All generations, oldest first."""
        ...

    def save_pair(self, pair: KeyPair) -> None:
        """Keep a new generation durably."""
        ...

    def drop_pair(self, role: Role, generation: int) -> None: ...

    def want_secret(self, name: str, make: bytes) -> bytes:
        """A symmetric secret by name; ``make`` becomes it when there is none yet."""
        ...


class KeyFolder:
    """Keys as files ``ROLE-GENERATION.pem`` in one folder with mode 0700."""

    def __init__(self, path: Path) -> None:
        self._path = want_folder(path, mode=0o700)

    def load_pairs(self, role: Role) -> list[KeyPair]:
        found = []
        for path in sorted(self._path.iterdir()):
            match = _FILE_NAME.match(path.name)
            if match is not None and match.group(1) == role:
                found.append(parse_pair(path.read_bytes(), role, int(match.group(2)), str(path)))
        return sorted(found, key=lambda pair: pair.generation)

    def save_pair(self, pair: KeyPair) -> None:
        save_file(self._file(pair.role, pair.generation), render_pair(pair))

    def drop_pair(self, role: Role, generation: int) -> None:
        self._file(role, generation).unlink(missing_ok=True)
        sync_folder(self._path)

    def want_secret(self, name: str, make: bytes) -> bytes:
        path = self._path / f"{name}.secret"
        known = load_file(path)
        if known is not None:
            return known
        save_file(path, make)
        return make

    def _file(self, role: Role, generation: int) -> Path:
        return self._path / f"{role}-{generation:04d}.pem"


def render_pair(pair: KeyPair) -> bytes:
    """Certificate, chain and key as one text, which TLS libraries read as it is."""
    key = pair.private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return b"".join((pair.certificate_pem, *pair.chain_pem, key))


def parse_pair(text: bytes, role: Role, generation: int, element: str) -> KeyPair:
    """Read certificate(s) and key of one text. Raises KeyFileError."""
    blocks = [(match.group(1), match.group(0)) for match in _PEM_BLOCK.finditer(text)]
    certs = [block.rstrip() + b"\n" for kind, block in blocks if kind == b"CERTIFICATE"]
    keys = [block for kind, block in blocks if kind.endswith(b"PRIVATE KEY")]
    if not certs or len(keys) != 1:
        raise KeyFileError(
            f"holds {len(certs)} certificates and {len(keys)} private keys",
            element=element,
            resolution="give a PEM certificate, then its chain, and one unencrypted private key",
        )
    try:
        key = serialization.load_pem_private_key(keys[0], password=None)
        certificate = certificates.parse_certificate_pem(certs[0], element)
    except (ValueError, TypeError) as error:
        raise KeyFileError(
            f"cannot be read: {error}", element=element, resolution="give an unencrypted PEM key"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise KeyFileError("key is neither elliptic curve nor RSA", element=element)
    if key.public_key() != certificate.public_key():
        raise KeyFileError(
            "certificate belongs to another key", element=element, resolution="give the certificate of this key"
        )
    return KeyPair(role, generation, certs[0], key, tuple(certs[1:]))
