"""Serves ``attest``: takes the device's certificates, hands out nonces, judges quotes, keeps vault keys.

What a good quote brings is the integrity token of this boot, without which there is no config, and the vault keys that the
device escrowed. A device with a TPM proves its state by a quote over a fresh nonce; one without sends an empty quote. A device that
once showed a TPM (an endorsement certificate, which only a TPM has, or a signed quote) cannot go back to an empty quote, else a
copy of its disk in another box would do.

Refusals travel as codes inside a 201, since that is what devices act on; only what is no attestation message at all is a 4xx.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import DecodeError

from eaves.controller.devicecerts import ECDH, ENDORSEMENT, QUOTE, parse_certs
from eaves.controller.gateway.devices import Device, Devices, hash_token
from eaves.controller.gateway.errors import MalformedError, UnprocessableError
from eaves.controller.gateway.quote import QuoteError, StaleQuoteError, check_quote
from eaves.store.devices import DeviceRegistry
from eaves.wire import certificates
from eaves.wire.errors import MalformedCertificateError
from eaves.wire.identifiers import DeviceId
from eaves.wire.pb.attest import attest_pb2
from eaves.wire.pb.certs import certs_pb2

NONCE_BYTES = 32
NONCE_LIFETIME_S = 600.0
"""A device quotes within seconds; a slow TPM with a retry or two needs minutes."""
TOKEN_BYTES = 48
_MAX_NONCES = 100_000
_MAX_CERTS = 8
_MAX_KEYS = 8
_MAX_KEY_BYTES = 16_384

_DEVICE_TYPES = frozenset({QUOTE, ENDORSEMENT, ECDH})
_LATER_TYPES = range(max(_DEVICE_TYPES) + 1, 1000)
"""Of a later version of the API: passed over, since a device whose certificates are refused stays in maintenance mode."""

_CURVES_OF: Mapping[int, frozenset[str]] = {
    ECDH: frozenset({"secp256r1"}),
    QUOTE: frozenset({"secp256r1", "secp384r1"}),
}
"""Encryption to a device is defined on P-256 alone. An endorsement key may be of any kind."""

_SUCCESS = attest_pb2.Z_ATTEST_RESPONSE_CODE_SUCCESS
_NONCE_MISMATCH = attest_pb2.Z_ATTEST_RESPONSE_CODE_NONCE_MISMATCH
_NO_CERT_FOUND = attest_pb2.Z_ATTEST_RESPONSE_CODE_NO_CERT_FOUND
_QUOTE_FAILED = attest_pb2.Z_ATTEST_RESPONSE_CODE_QUOTE_FAILED


class Nonces:
    """Nonces handed out and not yet used: one a device, each good for one quote and a bounded time."""

    def __init__(self, now_s: Callable[[], float], max_nonces: int = _MAX_NONCES) -> None:
        self._now_s = now_s
        self._max_nonces = max_nonces
        self._given: OrderedDict[DeviceId, tuple[bytes, float]] = OrderedDict()

    def give(self, device_id: DeviceId) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        self._given.pop(device_id, None)
        self._given[device_id] = (nonce, self._now_s() + NONCE_LIFETIME_S)
        while len(self._given) > self._max_nonces:
            self._given.popitem(last=False)
        return nonce

    def take(self, device_id: DeviceId) -> bytes | None:
        """The nonce of the device, which is used up by this; None when there is none or it expired."""
        nonce, until_s = self._given.pop(device_id, (None, 0.0))
        return nonce if self._now_s() < until_s else None


class Attestor:
    """See the module's docstring. ``on_verdict`` and ``on_certs`` tell the reconcilers."""

    def __init__(
        self,
        registry: DeviceRegistry,
        devices: Devices,
        now_s: Callable[[], float],
        on_verdict: Callable[[DeviceId, bool, str], None],
        on_certs: Callable[[DeviceId], None],
    ) -> None:
        self._registry = registry
        self._devices = devices
        self._nonces = Nonces(now_s)
        self._on_verdict = on_verdict
        self._on_certs = on_certs

    async def serve(self, device: Device, payload: bytes) -> bytes:
        """The ZAttestResponse to a ZAttestReq. Raises UnprocessableError, MalformedError."""
        try:
            request = attest_pb2.ZAttestReq.FromString(payload)
        except DecodeError as error:
            raise UnprocessableError("payload is not a ZAttestReq") from error
        kind = request.reqType
        if kind == attest_pb2.ATTEST_REQ_CERT:
            response = await self._take_certs(device, request)
        elif kind == attest_pb2.ATTEST_REQ_NONCE:
            response = self._give_nonce(device)
        elif kind == attest_pb2.ATTEST_REQ_QUOTE:
            response = await self._judge(device, request.quote)
        elif kind == attest_pb2.Z_ATTEST_REQ_TYPE_STORE_KEYS:
            response = await self._store_keys(device, request.storage_keys)
        else:
            raise UnprocessableError(f"unknown attestation request {kind}")
        return response.SerializeToString()

    async def _take_certs(self, device: Device, request: attest_pb2.ZAttestReq) -> attest_pb2.ZAttestResponse:
        if len(request.certs) > _MAX_CERTS:
            raise UnprocessableError(f"{len(request.certs)} certificates, at most {_MAX_CERTS} are allowed")
        known = parse_certs(device.record.certs)
        merged = dict(known)
        for cert in request.certs:
            if cert.type in _LATER_TYPES:
                continue
            _check_device_cert(cert, device, known.get(cert.type))
            merged[cert.type] = cert
        # A type that is not sent any more stays known: leaving it out must not make a TPM forgotten.
        if {key: cert.cert for key, cert in merged.items()} != {key: cert.cert for key, cert in known.items()}:
            encoded = [merged[key].SerializeToString(deterministic=True) for key in sorted(merged)]
            self._devices.update(device, await self._registry.save_certs(device.id, encoded))
            self._on_certs(device.id)
        return attest_pb2.ZAttestResponse(respType=attest_pb2.ATTEST_RESP_CERT)

    def _give_nonce(self, device: Device) -> attest_pb2.ZAttestResponse:
        return attest_pb2.ZAttestResponse(
            respType=attest_pb2.ATTEST_RESP_NONCE, nonce=attest_pb2.ZAttestNonceResp(nonce=self._nonces.give(device.id))
        )

    async def _judge(self, device: Device, quote: attest_pb2.ZAttestQuote) -> attest_pb2.ZAttestResponse:
        nonce = self._nonces.take(device.id)
        certs = parse_certs(device.record.certs)
        code, message = _judge_quote(quote, nonce, certs, device.record.has_tpm)
        self._on_verdict(device.id, code == _SUCCESS, message)
        answer = attest_pb2.ZAttestQuoteResp(response=code)
        if code == _SUCCESS:
            token = secrets.token_bytes(TOKEN_BYTES)
            has_tpm = device.record.has_tpm or bool(quote.attestData) or ENDORSEMENT in certs
            record = await self._registry.save_token(device.id, hash_token(token), has_tpm=has_tpm)
            self._devices.update(device, record)
            answer.integrity_token = token
            for key in record.keys:
                answer.keys.add().ParseFromString(key)
        return attest_pb2.ZAttestResponse(respType=attest_pb2.ATTEST_RESP_QUOTE_RESP, quoteResp=answer)

    async def _store_keys(self, device: Device, storage: attest_pb2.AttestStorageKeys) -> attest_pb2.ZAttestResponse:
        code = attest_pb2.ATTEST_STORAGE_KEYS_RESPONSE_CODE_ITOKEN_MISMATCH
        if device.has_token(storage.integrity_token):
            if len(storage.keys) > _MAX_KEYS or any(key.ByteSize() > _MAX_KEY_BYTES for key in storage.keys):
                raise UnprocessableError("more or longer vault keys than there can be")
            keys = [key.SerializeToString(deterministic=True) for key in storage.keys]
            # Without any there is nothing to store; what was escrowed opens the vault yet.
            if keys:
                self._devices.update(device, await self._registry.save_keys(device.id, keys))
            code = attest_pb2.ATTEST_STORAGE_KEYS_RESPONSE_CODE_SUCCESS
        return attest_pb2.ZAttestResponse(
            respType=attest_pb2.Z_ATTEST_RESP_TYPE_STORE_KEYS,
            storage_keys_resp=attest_pb2.AttestStorageKeysResp(response=code),
        )


def _judge_quote(
    quote: attest_pb2.ZAttestQuote, nonce: bytes | None, certs: dict[int, certs_pb2.ZCert], has_tpm: bool
) -> tuple[attest_pb2.ZAttestResponseCode.ValueType, str]:
    """Code for the device, message for people."""
    if nonce is None:
        return _NONCE_MISMATCH, "the quote was not asked for, or its nonce is used up"
    if not quote.attestData and not quote.pcr_values:
        if has_tpm or ENDORSEMENT in certs:
            return _QUOTE_FAILED, "the device has a TPM but sent no quote"
        return _SUCCESS, "the device has no TPM; its software state is not proven"
    if QUOTE not in certs:
        return _NO_CERT_FOUND, "the device has not sent the certificate of its quote key"
    key = certificates.parse_certificate_pem(certs[QUOTE].cert).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return _QUOTE_FAILED, "the quote key is not an elliptic curve key"
    try:
        check_quote(quote, nonce, key)
    except StaleQuoteError as error:
        return _NONCE_MISMATCH, f"the quote was {error.message}"
    except QuoteError as error:
        return _QUOTE_FAILED, f"the quote's {error.message}"
    return _SUCCESS, "the TPM's quote is good"


def _check_device_cert(cert: certs_pb2.ZCert, device: Device, known: certs_pb2.ZCert | None) -> None:
    """Refuse a certificate that the device's own key did not sign, or that may not be replaced."""
    if cert.type not in _DEVICE_TYPES:
        raise UnprocessableError(f"certificates of type {cert.type} are not taken here")
    try:
        certificate = certificates.parse_certificate_pem(cert.cert)
    except MalformedCertificateError as error:
        raise UnprocessableError(error.message) from error
    if cert.type in _CURVES_OF and not _has_curve(certificate, _CURVES_OF[cert.type]):
        raise UnprocessableError(f"key of a certificate of type {cert.type} is on none of the curves that serve it")
    if not _is_signed_by(certificate, device.public_key):
        raise MalformedError("certificate is not signed by the device's key", code="CertificateRefused")
    expected = certificates.hash_of_pem(cert.cert, len(cert.certHash)) if len(cert.certHash) in (16, 32) else b""
    if not hmac.compare_digest(expected, cert.certHash) or not expected:
        raise UnprocessableError("certHash does not fit the certificate")
    if known is not None and known.cert != cert.cert and _is_immutable(known):
        raise MalformedError("this certificate may not be replaced", code="CertificateRefused")


def _has_curve(certificate: x509.Certificate, curves: frozenset[str]) -> bool:
    key = certificate.public_key()
    return isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in curves


def _is_immutable(known: certs_pb2.ZCert) -> bool:
    """Only a device that says so: those in the field leave the attributes unset and do renew certificates."""
    return known.HasField("attributes") and not known.attributes.is_mutable


def _is_signed_by(certificate: x509.Certificate, key: certificates.PublicKey) -> bool:
    algorithm = certificate.signature_hash_algorithm
    if not isinstance(key, ec.EllipticCurvePublicKey) or algorithm is None:
        return False
    try:
        key.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(algorithm))
    except InvalidSignature:
        return False
    return True
