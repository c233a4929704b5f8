"""Digests of specs. Pure."""

from __future__ import annotations

import hashlib

import msgspec

from eaves.node.desired.secret import Secret, SecretBytes
from eaves.node.workloads.abc import WorkloadSpec


def digest_spec(spec: WorkloadSpec, key: bytes) -> str:
    """Tells two specs apart; without ``key`` nobody can try out what secrets are in one. The order of mappings does not count."""
    content = msgspec.to_builtins(spec, builtin_types=(bytes,), enc_hook=_reveal)
    encoded = msgspec.json.encode(content, order="sorted")
    return hashlib.blake2b(encoded, key=key, digest_size=16).hexdigest()


def _reveal(value: object) -> str:
    if isinstance(value, SecretBytes):
        return value.reveal().hex()
    return value.reveal() if isinstance(value, Secret) else str(value)
