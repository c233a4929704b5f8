"""Signed tokens: what we sign we know again, and nothing else."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from eaves.kube import jwt
from eaves.kube.jwt import JwtError

KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
CLAIMS = {"sub": "ann", "aud": ["x"]}
TOKEN = jwt.encode_token(CLAIMS, KEY)


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_signed_token_tells_its_claims() -> None:
    assert jwt.verify_token(TOKEN, [OTHER.public_key(), KEY.public_key()]) == CLAIMS


def test_another_key_is_nobodys() -> None:
    with pytest.raises(JwtError):
        jwt.verify_token(TOKEN, [OTHER.public_key()])
    with pytest.raises(JwtError):
        jwt.verify_token(TOKEN, [])


@pytest.mark.parametrize(
    "head",
    [
        {"alg": "none", "kid": jwt.key_id(KEY.public_key())},
        {"alg": "HS256", "kid": jwt.key_id(KEY.public_key())},
        {"alg": "ES256"},
        {"alg": "ES256", "kid": jwt.key_id(KEY.public_key()), "crit": ["b64"]},
        {},
    ],
)
def test_other_heads_are_refused(head: dict[str, Any]) -> None:
    _, payload, signature = TOKEN.split(".")
    for end in (signature, ""):
        with pytest.raises(JwtError):
            jwt.verify_token(f"{part(head)}.{payload}.{end}", [KEY.public_key()])


def test_no_part_can_be_changed() -> None:
    head, payload, signature = TOKEN.split(".")
    changed = part({**CLAIMS, "sub": "root"})
    flipped = ("B" if signature[0] != "B" else "C") + signature[1:]
    for token in (
        f"{head}.{changed}.{signature}",
        f"{head}.{payload}.{flipped}",
        f"{head}.{payload}.{signature}=",
        TOKEN + " ",
    ):
        with pytest.raises(JwtError):
            jwt.verify_token(token, [KEY.public_key()])


@given(st.text(max_size=80))
def test_any_text_is_refused(text: str) -> None:
    for token in (text, f"{text}.{text}.{text}"):
        with contextlib.suppress(JwtError):
            jwt.verify_token(token, [KEY.public_key()])
            raise AssertionError(token)


def test_keys_are_published_as_a_set() -> None:
    jwks = jwt.render_jwks([KEY.public_key()])
    (key,) = jwks["keys"]
    assert (key["kty"], key["crv"], key["alg"], key["kid"]) == ("EC", "P-256", "ES256", jwt.key_id(KEY.public_key()))
    numbers = KEY.public_key().public_numbers()
    assert int.from_bytes(base64.urlsafe_b64decode(key["x"] + "="), "big") == numbers.x
