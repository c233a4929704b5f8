"""TPM quotes: a hand-made TPMS_ATTEST as the TPM specification lays it out, and everything that must not pass."""

from __future__ import annotations

import hashlib
import struct

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from eaves.controller.gateway.quote import QuoteError, StaleQuoteError, check_quote, parse_quote
from eaves.wire.pb.attest import attest_pb2

KEY = ec.generate_private_key(ec.SECP256R1())
NONCE = bytes(range(20))
VALUES = {index: hashlib.sha256(bytes([index])).digest() for index in range(24)}


def attest_data(
    nonce: bytes = NONCE,
    pcrs: range = range(16),
    *,
    magic: int = 0xFF544347,
    kind: int = 0x8018,
    bank: int = 0x000B,
    banks: int = 1,
    tail: bytes = b"",
) -> bytes:
    bitmap = bytearray(3)
    for index in pcrs:
        bitmap[index // 8] |= 1 << (index % 8)
    digest = hashlib.sha256(b"".join(VALUES[index] for index in pcrs)).digest()
    name = b"\x00\x0b" + bytes(32)
    return b"".join(
        (
            struct.pack(">IH", magic, kind),
            struct.pack(">H", len(name)) + name,
            struct.pack(">H", len(nonce)) + nonce,
            struct.pack(">QIIB", 123456, 2, 3, 1),
            struct.pack(">Q", 0x2020_0101_0000_0000),
            struct.pack(">IHB", banks, bank, 3) + bytes(bitmap),
            struct.pack(">H", len(digest)) + digest,
            tail,
        )
    )


def quote(
    data: bytes, *, key: ec.EllipticCurvePrivateKey = KEY, values: dict[int, bytes] | None = None
) -> attest_pb2.ZAttestQuote:
    message = attest_pb2.ZAttestQuote(attestData=data, signature=key.sign(data, ec.ECDSA(hashes.SHA256())))
    for index, value in (VALUES if values is None else values).items():
        message.pcr_values.add(index=index, hash_algo=attest_pb2.TPM_HASH_ALGO_SHA256, value=value)
    return message


def test_a_good_quote_vouches_for_the_pcrs_it_covers_and_no_others() -> None:
    assert check_quote(quote(attest_data()), NONCE, KEY.public_key()) == {index: VALUES[index] for index in range(16)}


def test_another_nonce_is_told_apart() -> None:
    with pytest.raises(StaleQuoteError):
        check_quote(quote(attest_data(nonce=bytes(20))), NONCE, KEY.public_key())


@pytest.mark.parametrize(
    "bad",
    [
        quote(attest_data(), key=ec.generate_private_key(ec.SECP256R1())),
        quote(attest_data(magic=0xFF544346)),
        quote(attest_data(kind=0x8017)),
        quote(attest_data(bank=0x0004)),
        quote(attest_data(banks=2)),
        quote(attest_data(pcrs=range(15))),
        quote(attest_data(pcrs=range(0))),
        quote(attest_data(tail=b"x")),
        quote(attest_data()[:-1]),
        quote(attest_data(), values={**VALUES, 3: bytes(32)}),
        quote(attest_data(), values={index: VALUES[index] for index in range(15)}),
        quote(attest_data(), values={**VALUES, 3: b"short"}),
        quote(b""),
    ],
)
def test_what_proves_nothing_is_refused(bad: attest_pb2.ZAttestQuote) -> None:
    with pytest.raises(QuoteError):
        check_quote(bad, NONCE, KEY.public_key())


def test_a_repeated_pcr_value_is_refused() -> None:
    message = quote(attest_data())
    message.pcr_values.add(index=0, hash_algo=attest_pb2.TPM_HASH_ALGO_SHA256, value=VALUES[0])
    with pytest.raises(QuoteError, match="PCR 0"):
        check_quote(message, NONCE, KEY.public_key())


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    with pytest.raises(QuoteError):
        parse_quote(data)
