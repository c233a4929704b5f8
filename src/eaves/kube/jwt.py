"""Signed tokens of service accounts: JSON Web Tokens by ES256 (RFC 7515, 7518, 7519) and their keys as a JWK set (RFC 7517). Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from eaves.kit.errors import EavesError

TOKEN_LIMIT = 16 << 10
_ALGORITHM = "ES256"
_SIZE = 32


class JwtError(EavesError):
    """Not a token of ours."""

    code = "BadToken"


def encode_token(claims: Mapping[str, Any], key: ec.EllipticCurvePrivateKey) -> str:
    """``claims`` signed with a P-256 key."""
    head = {"alg": _ALGORITHM, "kid": key_id(key.public_key())}
    signed = b".".join((_encode(msgspec.json.encode(head)), _encode(msgspec.json.encode(claims))))
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
    return (signed + b"." + _encode(r.to_bytes(_SIZE, "big") + s.to_bytes(_SIZE, "big"))).decode()


def verify_token(token: str, keys: Sequence[ec.EllipticCurvePublicKey]) -> dict[str, Any]:
    """The claims of a token that one of ``keys`` signed; times and audiences are the caller's to check. Raises JwtError."""
    if len(token) > TOKEN_LIMIT or token.count(".") != 2 or not token.isascii():
        raise JwtError("not a signed token")
    signed, _, signature = token.rpartition(".")
    head, _, payload = signed.partition(".")
    try:
        fields = msgspec.json.decode(_decode(head), type=dict[str, Any])
        raw = _decode(signature)
        claims = msgspec.json.decode(_decode(payload), type=dict[str, Any])
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:
        raise JwtError("a part of the token cannot be read") from error
    # Only what we issue: a token that names another algorithm, or none, is nobody's.
    if fields.get("alg") != _ALGORITHM or fields.get("crit") is not None or len(raw) != 2 * _SIZE:
        raise JwtError("the token is signed in another way")
    named = [key for key in keys if key_id(key) == fields.get("kid")]
    der = encode_dss_signature(int.from_bytes(raw[:_SIZE], "big"), int.from_bytes(raw[_SIZE:], "big"))
    for key in named:
        try:
            key.verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            continue
        return claims
    raise JwtError("no known key has signed the token")


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of the public key in its usual form, as a kube-apiserver names keys."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return _encode(hashlib.sha256(der).digest()).decode()


def render_jwks(keys: Sequence[ec.EllipticCurvePublicKey]) -> dict[str, Any]:
    """The keys for others who verify tokens."""
    return {"keys": [_render_jwk(key) for key in keys]}


def _render_jwk(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    x, y = (_encode(number.to_bytes(_SIZE, "big")).decode() for number in (numbers.x, numbers.y))
    return {"use": "sig", "kty": "EC", "kid": key_id(key), "crv": "P-256", "alg": _ALGORITHM, "x": x, "y": y}


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decode(text: str) -> bytes:
    # The decoder passes over characters that are not its own, by which one token could be written in many ways.
    if not text.replace("-", "").replace("_", "").isalnum():
        raise ValueError("not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
