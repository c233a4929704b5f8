"""The signed envelope (AuthContainer) around every body of the device API.

A sender holds one :class:`Signer`. A receiver parses with :func:`parse_envelope`, finds the sender's key by
``sender_cert_hash`` and calls :func:`check_signature`; a device, which knows exactly one controller certificate, calls
:func:`open_envelope` for all three steps. The signature covers the payload bytes alone, not the fields around them, so nothing
besides the payload may be believed.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from google.protobuf.message import DecodeError
from msgspec import Struct

from eaves.wire import certificates
from eaves.wire.errors import (
    AlgorithmError,
    CertificateMissError,
    HashSizeError,
    MalformedEnvelopeError,
    SignatureError,
)
from eaves.wire.pb.auth.auth_pb2 import AuthBody, AuthContainer
from eaves.wire.pb.evecommon import evecommon_pb2

ALGORITHM_16 = evecommon_pb2.HASH_ALGORITHM_SHA256_16BYTES
ALGORITHM_32 = evecommon_pb2.HASH_ALGORITHM_SHA256_32BYTES

_SIZE_OF_ALGORITHM: dict[int, int] = {ALGORITHM_16: 16, ALGORITHM_32: 32}
_ALGORITHM_OF_SIZE = {16: ALGORITHM_16, 32: ALGORITHM_32}
_COORDINATE_BYTES = {"secp256r1": 32, "secp384r1": 48}
_ECDSA = ec.ECDSA(hashes.SHA256())
_SHA256 = hashes.SHA256()
_PKCS1 = padding.PKCS1v15()
_RSA_MIN_BITS = 2048


class Envelope(Struct, frozen=True):
    """An AuthContainer as it came, nothing verified yet."""

    payload: bytes
    algo: int
    """HashAlgorithm: how much of the hash ``sender_cert_hash`` holds."""
    sender_cert_hash: bytes
    signature: bytes
    sender_cert: bytes
    """Base64 text of a PEM certificate; only on register."""


def parse_envelope(data: bytes) -> Envelope:
    """Take an AuthContainer apart without trusting it. Raises MalformedEnvelopeError."""
    try:
        container = AuthContainer.FromString(data)
    except DecodeError as error:
        raise MalformedEnvelopeError("body is not an AuthContainer", details=str(error)) from error
    if container.HasField("cipherData") or container.HasField("cipherContext"):
        raise MalformedEnvelopeError("payload is encrypted", resolution="send the payload signed, in protectedPayload")
    return Envelope(
        container.protectedPayload.payload,
        container.algo,
        container.senderCertHash,
        container.signatureHash,
        container.senderCert,
    )


def parse_sender_certificate(envelope: Envelope) -> x509.Certificate:
    """The certificate that a register envelope brings along; exactly one, or CertificateError."""
    return certificates.parse_certificate_base64(envelope.sender_cert, "senderCert")


def check_sender_hash(envelope: Envelope, cert_sha256: bytes) -> None:
    """Check that the envelope names the certificate whose whole SHA-256 is ``cert_sha256``.

    Raises HashSizeError, AlgorithmError or CertificateMissError, in the order a device looks.
    """
    size_bytes = len(envelope.sender_cert_hash)
    if size_bytes not in _ALGORITHM_OF_SIZE:
        raise HashSizeError(f"senderCertHash is {size_bytes} bytes long, must be 16 or 32")
    expected = _SIZE_OF_ALGORITHM.get(envelope.algo)
    if expected is None:
        raise AlgorithmError(f"unknown hash algorithm {envelope.algo}")
    if size_bytes != expected:
        raise HashSizeError(f"senderCertHash is {size_bytes} bytes long but its algorithm makes {expected}")
    if envelope.sender_cert_hash != cert_sha256[:size_bytes]:
        raise CertificateMissError(
            "signed by another certificate than the known one",
            details=f"senderCertHash {envelope.sender_cert_hash.hex()}",
            resolution="fetch /certs and try again",
        )


def check_signature(envelope: Envelope, public_key: certificates.PublicKey, *, accept_der: bool = False) -> None:
    """Check that the holder of ``public_key`` signed the payload. Raises SignatureError or AlgorithmError.

    ``accept_der``: a controller also takes DER signatures, which some devices' TPMs hand out; a device takes only raw r‖s.
    """
    try:
        if isinstance(public_key, ec.EllipticCurvePublicKey):
            _verify_ecdsa(envelope, public_key, accept_der)
        else:
            _verify_rsa(envelope, public_key)
    except InvalidSignature:
        raise SignatureError("signature does not fit the payload and the sender's key") from None


def open_envelope(data: bytes, cert_sha256: bytes, public_key: certificates.PublicKey) -> bytes:
    """Payload of an envelope that must come from the one known sender: a device's view of its controller."""
    envelope = parse_envelope(data)
    check_sender_hash(envelope, cert_sha256)
    check_signature(envelope, public_key)
    return envelope.payload


def _verify_ecdsa(envelope: Envelope, public_key: ec.EllipticCurvePublicKey, accept_der: bool) -> None:
    size_bytes = _coordinate_bytes(public_key)
    signature = envelope.signature
    if len(signature) == 2 * size_bytes:
        r, s = int.from_bytes(signature[:size_bytes], "big"), int.from_bytes(signature[size_bytes:], "big")
        public_key.verify(encode_dss_signature(r, s), envelope.payload, _ECDSA)
    elif accept_der:
        public_key.verify(signature, envelope.payload, _ECDSA)
    else:
        raise SignatureError(f"signature is {len(signature)} bytes long, must be {2 * size_bytes} (r and s)")


def _verify_rsa(envelope: Envelope, public_key: rsa.RSAPublicKey) -> None:
    if public_key.key_size < _RSA_MIN_BITS:
        raise AlgorithmError(f"RSA key of {public_key.key_size} bits is too small, must have {_RSA_MIN_BITS}")
    public_key.verify(envelope.signature, envelope.payload, _PKCS1, _SHA256)


def _coordinate_bytes(key: ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey) -> int:
    size_bytes = _COORDINATE_BYTES.get(key.curve.name)
    if size_bytes is None:
        raise AlgorithmError(
            f"envelopes cannot be signed with curve {key.curve.name}", resolution="use a P-256 or P-384 key"
        )
    return size_bytes


class Signer:
    """Seals payloads with one key.

    ``Signer(key, cert_pem)`` is a controller's: receivers know it by the hash of the PEM text as served in ``/certs``.
    :meth:`for_device` is a device's, known by the hash of the DER form.
    """

    def __init__(self, private_key: certificates.PrivateKey, cert_pem: bytes, hash_size_bytes: int = 32) -> None:
        if hash_size_bytes not in _ALGORITHM_OF_SIZE:
            raise HashSizeError(f"senderCertHash cannot be {hash_size_bytes} bytes long, must be 16 or 32")
        self._private_key = private_key
        self._size_bytes = _coordinate_bytes(private_key) if isinstance(private_key, ec.EllipticCurvePrivateKey) else 0
        self._certificate = certificates.parse_certificate_pem(cert_pem)
        if self._certificate.public_key() != private_key.public_key():
            raise CertificateMissError(
                "certificate belongs to another key", retryable=False, resolution="give the key its own certificate"
            )
        self._algorithm = _ALGORITHM_OF_SIZE[hash_size_bytes]
        self.cert_hash = certificates.hash_of_pem(cert_pem, hash_size_bytes)

    @classmethod
    def for_device(cls, private_key: certificates.PrivateKey, certificate: x509.Certificate) -> Signer:
        signer = cls(private_key, certificates.encode_certificate_pem(certificate))
        signer.cert_hash = certificates.hash_of_device_certificate(certificate)
        return signer

    def seal(self, payload: bytes, *, with_certificate: bool = False) -> bytes:
        """The serialized envelope. ``with_certificate`` is for register, where the receiver may not know the sender."""
        container = AuthContainer(
            protectedPayload=AuthBody(payload=payload),
            algo=self._algorithm,
            senderCertHash=self.cert_hash,
            signatureHash=self._sign(payload),
        )
        if with_certificate:
            container.senderCert = certificates.encode_certificate_base64(self._certificate)
        return container.SerializeToString(deterministic=True)

    def _sign(self, payload: bytes) -> bytes:
        if isinstance(self._private_key, rsa.RSAPrivateKey):
            return self._private_key.sign(payload, _PKCS1, _SHA256)
        r, s = decode_dss_signature(self._private_key.sign(payload, _ECDSA))
        return r.to_bytes(self._size_bytes, "big") + s.to_bytes(self._size_bytes, "big")
