"""What a server needs to become one of a cluster: its authorities' and other keys, kept in etcd, encrypted with the cluster's token.

So a snapshot holds all that a restore on blank hardware needs, with the token. K3s keeps it the same way (AES-256-GCM under a key that
PBKDF2 derives from the token); the exact bytes are the stand-in's own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.k3s import log
from tests.k3s.etcd import Etcd
from tests.k3s.paths import DataDir, write
from tests.k3s.pki import AUTHORITIES

_ITERATIONS = 4096


def load_files(data: DataDir) -> dict[str, str]:
    """Contents by path below ``server``."""
    names = [f"tls/{name}.{kind}" for name in AUTHORITIES for kind in ("crt", "key")]
    names += ["tls/service.key", "cred/encryption-config.json"]
    return {name: (data.server / name).read_text() for name in names if (data.server / name).exists()}


def write_files(data: DataDir, files: dict[str, str]) -> None:
    for name, text in files.items():
        write(data.server / name, text)


def save(etcd: Etcd, data: DataDir, password: str) -> None:
    etcd.run("put", *entry(load_files(data), password))


def entry(files: dict[str, str], password: str) -> tuple[str, str]:
    """Key and value in etcd."""
    return _key(password), encrypt(json.dumps(files), password)


class Store(Protocol):
    """Where it is kept: etcd or what speaks like it."""

    def run(self, *arguments: str) -> str: ...


def load(etcd: Store, password: str) -> dict[str, str]:
    """Fatal when the cluster's data is under another token; empty when there is none at all."""
    text = etcd.run("get", _key(password), "--print-value-only").strip()
    if not text:
        if etcd.run("get", "/bootstrap/", "--prefix").strip():
            log.fatal("bootstrap data already found and encrypted with different token")
        return {}
    files: dict[str, str] = json.loads(decrypt(text, password))
    return files


def remove(etcd: Etcd, password: str) -> None:
    etcd.run("del", _key(password))


def encrypt(text: str, password: str) -> str:
    salt, nonce = os.urandom(8), os.urandom(12)
    sealed = AESGCM(_derive(password, salt)).encrypt(nonce, text.encode(), None)
    return ":".join(base64.b64encode(part).decode() for part in (salt, nonce, sealed))


def decrypt(text: str, password: str) -> str:
    salt, nonce, sealed = (base64.b64decode(part) for part in text.split(":"))
    try:
        return AESGCM(_derive(password, salt)).decrypt(nonce, sealed, None).decode()
    except InvalidTag:
        log.fatal("bootstrap data is encrypted with a different token")


def _derive(password: str, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha1", password.encode(), salt, _ITERATIONS, 32)


def _key(password: str) -> str:
    return f"/bootstrap/{hashlib.sha256(password.encode()).hexdigest()[:12]}"
