"""Encrypted fields against OpenSSL, NIST's vectors and points worked out another way."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from eaves.wire import certificates, cipher
from eaves.wire.certificates import Profile
from eaves.wire.cipher import KeyRing, Point
from eaves.wire.errors import CipherContextError, CipherError, CipherIntegrityError
from eaves.wire.identifiers import DeviceId
from eaves.wire.pb.evecommon import acipherinfo_pb2

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
DEVICE = DeviceId("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
scalars = st.integers(1, ORDER - 1)


def key(number: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(number, ec.SECP256R1())


def multiple_of_base(number: int) -> Point:
    """number × G by OpenSSL's key derivation, which is another way than key agreement."""
    numbers = key(number % ORDER).public_key().public_numbers()
    return Point(numbers.x, numbers.y)


def openssl_cfb(key_bytes: bytes, iv: bytes, text: bytes) -> bytes:
    command = ["openssl", "enc", "-aes-256-cfb", "-K", key_bytes.hex(), "-iv", iv.hex()]
    return subprocess.run(command, input=text, capture_output=True, check=True, timeout=30).stdout


@given(scalars, scalars)
def test_shared_point_has_both_right_coordinates(own: int, peer: int) -> None:
    assert cipher.shared_point(key(own), key(peer).public_key()) == multiple_of_base(own * peer)


@pytest.mark.parametrize("own", [1, 2, ORDER - 1, ORDER - 2])
@pytest.mark.parametrize("peer", [1, 2, ORDER - 1, ORDER - 2, (ORDER + 1) // 2])
def test_points_where_addition_degenerates(own: int, peer: int) -> None:
    assert cipher.shared_point(key(own), key(peer).public_key()) == multiple_of_base(own * peer)


def test_published_agreement_vector() -> None:
    """RFC 5903 section 8.1, which prints both coordinates of the shared point."""
    own = key(0xC88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433)
    peer = key(0xC6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53)
    x = "D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE"
    y = "522BDE0AF0D8585B8DEF9C183B5AE38F50235206A8674ECB5D98EDB20EB153A2"
    assert cipher.shared_point(own, peer.public_key()) == Point(int(x, 16), int(y, 16))
    assert cipher.derive_key(own, peer.public_key()) == hashlib.sha256(bytes.fromhex(x + y)).digest()


def test_both_sides_get_the_same_key_and_keep_it() -> None:
    controller, device = KeyRing(key(31)), KeyRing(key(32))
    first = controller.key_for(key(32).public_key())
    assert first == device.key_for(key(31).public_key())
    assert controller.key_for(key(32).public_key()) is first


def test_key_ring_forgets_the_least_used_peer() -> None:
    ring = KeyRing(key(31), max_entries=2)
    first = ring.key_for(key(1).public_key())
    second = ring.key_for(key(2).public_key())
    assert ring.key_for(key(1).public_key()) is first
    ring.key_for(key(3).public_key())
    assert ring.key_for(key(1).public_key()) is first
    again = ring.key_for(key(2).public_key())
    assert again == second
    assert again is not second


def test_key_ring_reads_the_peer_from_its_certificate() -> None:
    now = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
    ca = certificates.make_ca(key(40), "root", now, datetime.timedelta(days=9))
    issued = certificates.issue_certificate(
        ca, key(40), key(41).public_key(), Profile.ECDH, "ecdh", now, datetime.timedelta(days=9)
    )
    assert KeyRing(key(31)).key_for_certificate(issued) == cipher.derive_key(key(41), key(31).public_key())


def test_other_curves_are_refused() -> None:
    other = ec.derive_private_key(5, ec.SECP384R1())
    with pytest.raises(CipherContextError):
        KeyRing(other)
    with pytest.raises(CipherContextError):
        KeyRing(key(5)).key_for(other.public_key())


def test_nist_cfb_vector() -> None:
    """SP 800-38A, F.3.17 CFB128-AES256."""
    aes_key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    plaintext = bytes.fromhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    block = cipher.encrypt_block(aes_key, "c", bytes(range(16)), plaintext)
    assert block.cipherData == bytes.fromhex(
        "dc7e84bfda79164b7ecd8486985d386039ffed143b28b1c832113c6331e5407b"
        "df10132415e54b92a13ed0a8267ae2f975a385741ab9cef82031623d55b1e471"
    )
    assert (block.cipherContextId, block.initialValue) == ("c", bytes(range(16)))
    assert block.clearTextSha256 == hashlib.sha256(plaintext).digest()


@pytest.mark.parametrize("size_bytes", [1, 15, 16, 17, 1000])
def test_openssl_makes_the_same_text_of_any_length(size_bytes: int) -> None:
    aes_key, iv, text = b"k" * 32, b"i" * 16, bytes(index % 251 for index in range(size_bytes))
    assert cipher.encrypt_block(aes_key, "", iv, text).cipherData == openssl_cfb(aes_key, iv, text)


@given(st.binary(min_size=1), st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32))
def test_what_was_encrypted_is_decrypted(text: bytes, iv: bytes, aes_key: bytes) -> None:
    assert cipher.decrypt_block(aes_key, cipher.encrypt_block(aes_key, "c", iv, text)) == text


def test_wrong_key_damage_and_missing_hash_are_noticed() -> None:
    block = cipher.encrypt_block(b"k" * 32, "c", b"i" * 16, b"secret")
    with pytest.raises(CipherIntegrityError):
        cipher.decrypt_block(b"K" * 32, block)
    damaged = [
        acipherinfo_pb2.CipherBlock(
            cipherData=b"Secret", initialValue=b"i" * 16, clearTextSha256=block.clearTextSha256
        ),
        acipherinfo_pb2.CipherBlock(
            cipherData=block.cipherData, initialValue=b"I" * 16, clearTextSha256=block.clearTextSha256
        ),
        acipherinfo_pb2.CipherBlock(cipherData=block.cipherData, initialValue=b"i" * 16),
    ]
    for bad in damaged:
        with pytest.raises(CipherIntegrityError):
            cipher.decrypt_block(b"k" * 32, bad)


def test_secret_never_shows_in_an_error() -> None:
    block = cipher.encrypt_block(b"k" * 32, "c", b"i" * 16, b"secret-text")
    block.clearTextSha256 = b"0" * 32
    with pytest.raises(CipherIntegrityError) as caught:
        cipher.decrypt_block(b"k" * 32, block)
    assert "secret-text" not in caught.value.message + caught.value.details


def test_empty_text_and_short_initial_value_are_refused() -> None:
    with pytest.raises(CipherError, match="empty"):
        cipher.encrypt_block(b"k" * 32, "c", b"i" * 16, b"")
    with pytest.raises(CipherError, match="initial value"):
        cipher.encrypt_block(b"k" * 32, "c", b"i" * 15, b"x")
    with pytest.raises(CipherError, match="empty"):
        cipher.decrypt_block(b"k" * 32, acipherinfo_pb2.CipherBlock(initialValue=b"i" * 16))
    with pytest.raises(CipherError, match="initial value"):
        cipher.decrypt_block(b"k" * 32, acipherinfo_pb2.CipherBlock(cipherData=b"x"))


def test_initial_value_is_a_truncated_hmac_of_device_and_text() -> None:
    expected = hmac.new(b"secret", DEVICE.encode() + b"\0text", hashlib.sha256).digest()[:16]
    assert cipher.derive_iv(b"secret", DEVICE, b"text") == expected
    others = {
        cipher.derive_iv(b"Secret", DEVICE, b"text"),
        cipher.derive_iv(b"secret", DeviceId("other"), b"text"),
        cipher.derive_iv(b"secret", DEVICE, b"Text"),
    }
    assert expected not in others
    assert len(others) == 3


def test_context_is_the_same_for_the_same_pair_and_usable_by_its_device() -> None:
    context = cipher.want_context(b"d" * 16, b"c" * 16)
    assert context == cipher.want_context(b"d" * 16, b"c" * 16)
    assert context.contextId != cipher.want_context(b"d" * 16, b"e" * 16).contextId
    assert (context.hashScheme, context.keyExchangeScheme, context.encryptionScheme) == (1, 1, 1)
    assert cipher.want_context(b"d" * 32, b"c" * 32).hashScheme == 2
    cipher.check_context(context, b"d" * 16)
    with pytest.raises(CipherContextError, match="another certificate"):
        cipher.check_context(context, b"x" * 16)


@pytest.mark.parametrize("field", ["keyExchangeScheme", "encryptionScheme"])
def test_context_of_unknown_scheme_is_refused(field: str) -> None:
    context = cipher.want_context(b"d" * 16, b"c" * 16)
    context.ClearField(field)  # type: ignore[arg-type]  # the field is a parameter here
    with pytest.raises(CipherContextError, match="scheme"):
        cipher.check_context(context, b"d" * 16)
