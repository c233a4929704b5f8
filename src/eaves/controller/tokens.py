"""Bearer tokens of operators: made from the system's randomness, kept only as SHA-256.

A token has 256 random bits, so a plain hash is enough: there is nothing to guess offline. Bootstrap makes the first one, the
authenticator of the API looks hashes up.
"""

from __future__ import annotations

import hashlib
import secrets

from msgspec import Struct

TOKEN_BYTES = 32
PREFIX = "eaves_"
"""Marks the text as a secret of ours for people and for scanners of leaked secrets."""


class NewToken(Struct, frozen=True):
    """``text`` goes to its owner once; ``hash`` is what may be stored."""

    text: str
    hash: bytes


def render_token() -> NewToken:
    """A fresh token."""
    text = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    return NewToken(text, encode_token_hash(text))


def encode_token_hash(text: str) -> bytes:
    """SHA-256 of the token, the key under which the store knows it."""
    return hashlib.sha256(text.encode()).digest()
