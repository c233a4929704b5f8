"""Encrypted fields (CipherBlock): ECDH on P-256 for the key, AES-256-CFB for the text.

The controller encrypts secrets to one device with :func:`encrypt_block`, the device reads them with :func:`decrypt_block`; both
get the key from :class:`KeyRing`. The key is a hash over *both* coordinates of the shared point, while libraries hand out X alone.
Y is found with a second agreement instead of own arithmetic on the secret: with private key d, own public point D = d·G and peer
Q, d·(Q + G) = d·Q + D, and its X tells which of the two possible Y belongs to d·Q. The private key is never exported, so a key
that lives in hardware works as well.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections import OrderedDict
from typing import TYPE_CHECKING

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from msgspec import Struct

from eaves.wire.errors import CipherContextError, CipherError, CipherIntegrityError
from eaves.wire.pb.evecommon import acipherinfo_pb2, evecommon_pb2

if TYPE_CHECKING:
    from cryptography import x509

    from eaves.wire.identifiers import DeviceId

IV_BYTES = 16
KEY_BYTES = 32
HASH_BYTES = 16
"""Of ``deviceCertHash``: what devices publish for their key agreement certificate."""

_CURVE = ec.SECP256R1()
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


class Point(Struct, frozen=True):
    """An affine point of P-256 other than infinity."""

    x: int
    y: int


_G = Point(
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


class KeyRing:
    """Keys that one private key shares with its peers; the last ``max_entries`` are kept."""

    def __init__(self, private_key: ec.EllipticCurvePrivateKey, max_entries: int = 16384) -> None:
        if private_key.curve.name != _CURVE.name:
            raise CipherContextError(f"own key is on curve {private_key.curve.name}, must be P-256")
        self._private_key = private_key
        self._max_entries = max_entries
        self._keys: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    def key_for(self, peer: ec.EllipticCurvePublicKey) -> bytes:
        """The AES key shared with ``peer``. Raises CipherContextError when its key is not on P-256."""
        if peer.curve.name != _CURVE.name:
            raise CipherContextError(f"peer's key is on curve {peer.curve.name}, must be P-256")
        numbers = peer.public_numbers()
        entry = (numbers.x, numbers.y)
        key = self._keys.get(entry)
        if key is None:
            key = self._keys[entry] = derive_key(self._private_key, peer)
            if len(self._keys) > self._max_entries:
                self._keys.popitem(last=False)
        else:
            self._keys.move_to_end(entry)
        return key

    def key_for_certificate(self, certificate: x509.Certificate) -> bytes:
        peer = certificate.public_key()
        if not isinstance(peer, ec.EllipticCurvePublicKey):
            raise CipherContextError("peer's key agreement certificate has no elliptic curve key")
        return self.key_for(peer)


def derive_key(private_key: ec.EllipticCurvePrivateKey, peer: ec.EllipticCurvePublicKey) -> bytes:
    """SHA-256 over X and Y of the shared point, each as 32 bytes."""
    point = shared_point(private_key, peer)
    return hashlib.sha256(point.x.to_bytes(32, "big") + point.y.to_bytes(32, "big")).digest()


def shared_point(private_key: ec.EllipticCurvePrivateKey, peer: ec.EllipticCurvePublicKey) -> Point:
    """The point (private key × peer), by two X-only agreements; see the module's text for why."""
    own, other = _point_of(private_key.public_key()), _point_of(peer)
    if other.x == _G.x:
        return own if other.y == _G.y else Point(own.x, _P - own.y)
    x = _agree(private_key, peer)
    shifted_x = _agree(private_key, _key_of(_add(other, _G)))
    y = _square_root((x * x * x - 3 * x + _B) % _P)
    for candidate in (Point(x, y), Point(x, _P - y)):
        if _add(candidate, own).x == shifted_x:
            return candidate
    raise CipherError("key agreement gave points that do not fit together")


def derive_iv(secret_key: bytes, device_id: DeviceId, plaintext: bytes) -> bytes:
    """An initial value that only changes with device or plaintext, so that an unchanged secret encrypts to unchanged bytes.

    HMAC-SHA256 truncated to 16 bytes. Equal values mean equal plaintext for the same device, which is all that an observer learns.
    """
    return hmac.digest(secret_key, device_id.encode() + b"\0" + plaintext, "sha256")[:IV_BYTES]


def encrypt_block(key: bytes, context_id: str, iv: bytes, plaintext: bytes) -> acipherinfo_pb2.CipherBlock:
    """``plaintext`` is the serialized EncryptionBlock in nearly all fields. Raises CipherError for an empty one."""
    if not plaintext:
        raise CipherError("an empty text cannot be encrypted", resolution="leave the encrypted field out")
    if len(iv) != IV_BYTES:
        raise CipherError(f"initial value is {len(iv)} bytes long, must be {IV_BYTES}")
    encryptor = Cipher(algorithms.AES256(key), CFB(iv)).encryptor()
    return acipherinfo_pb2.CipherBlock(
        cipherContextId=context_id,
        initialValue=iv,
        cipherData=encryptor.update(plaintext) + encryptor.finalize(),
        clearTextSha256=hashlib.sha256(plaintext).digest(),
    )


def decrypt_block(key: bytes, block: acipherinfo_pb2.CipherBlock) -> bytes:
    """The plaintext. Raises CipherError for a malformed block, CipherIntegrityError when it decrypts to something else."""
    if len(block.initialValue) != IV_BYTES:
        raise CipherError(f"initial value is {len(block.initialValue)} bytes long, must be {IV_BYTES}")
    if not block.cipherData:
        raise CipherError("encrypted text is empty")
    decryptor = Cipher(algorithms.AES256(key), CFB(block.initialValue)).decryptor()
    plaintext = decryptor.update(block.cipherData) + decryptor.finalize()
    if not hmac.compare_digest(hashlib.sha256(plaintext).digest(), block.clearTextSha256):
        raise CipherIntegrityError(
            "decrypted text has another hash than the sender noted",
            details=f"context {block.cipherContextId}",
            resolution="check that both sides use the current key agreement certificates",
        )
    return plaintext


def want_context(device_cert_hash: bytes, controller_cert_hash: bytes) -> acipherinfo_pb2.CipherContext:
    """The context of one pair of certificates. Its id follows from the pair, so that recompiling changes nothing."""
    digest = hashlib.sha256(bytes([len(device_cert_hash)]) + device_cert_hash + controller_cert_hash).digest()
    return acipherinfo_pb2.CipherContext(
        contextId=str(uuid.UUID(bytes=digest[:16], version=5)),
        hashScheme=evecommon_pb2.HASH_ALGORITHM_SHA256_16BYTES
        if len(device_cert_hash) == HASH_BYTES
        else evecommon_pb2.HASH_ALGORITHM_SHA256_32BYTES,
        keyExchangeScheme=acipherinfo_pb2.KEA_ECDH,
        encryptionScheme=acipherinfo_pb2.SA_AES_256_CFB,
        deviceCertHash=device_cert_hash,
        controllerCertHash=controller_cert_hash,
    )


def check_context(context: acipherinfo_pb2.CipherContext, device_cert_hash: bytes) -> None:
    """Check that this device can use ``context``. Raises CipherContextError."""
    if context.keyExchangeScheme != acipherinfo_pb2.KEA_ECDH:
        raise CipherContextError(f"unknown key exchange scheme {context.keyExchangeScheme}", element=context.contextId)
    if context.encryptionScheme != acipherinfo_pb2.SA_AES_256_CFB:
        raise CipherContextError(f"unknown encryption scheme {context.encryptionScheme}", element=context.contextId)
    if context.deviceCertHash != device_cert_hash:
        raise CipherContextError(
            "encrypted to another certificate than this device's",
            element=context.contextId,
            details=f"deviceCertHash {context.deviceCertHash.hex()}",
            resolution="send the device's current key agreement certificate to the controller again",
        )


def _agree(private_key: ec.EllipticCurvePrivateKey, peer: ec.EllipticCurvePublicKey) -> int:
    return int.from_bytes(private_key.exchange(ec.ECDH(), peer), "big")


def _point_of(key: ec.EllipticCurvePublicKey) -> Point:
    numbers = key.public_numbers()
    return Point(numbers.x, numbers.y)


def _key_of(point: Point) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicNumbers(point.x, point.y, _CURVE).public_key()


def _add(a: Point, b: Point) -> Point:
    """Sum of two points with different X; callers have ruled out equal and opposite points."""
    slope = (b.y - a.y) * pow(b.x - a.x, -1, _P) % _P
    x = (slope * slope - a.x - b.x) % _P
    return Point(x, (slope * (a.x - x) - a.y) % _P)


def _square_root(value: int) -> int:
    """Modulo the field's prime, which is 3 modulo 4."""
    return pow(value, (_P + 1) // 4, _P)
