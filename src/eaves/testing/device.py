"""A device that speaks the real device API with real keys: for tests of the gateway, benchmarks, and floods.

Unlike the node it does as it is told, one call at a time, good or bad. :class:`Device` holds identity and state; a transport carries its
calls, into an ASGI app (:class:`AsgiTransport`) or over TLS (:class:`TlsTransport`).
"""

from __future__ import annotations

import datetime
import hashlib
import struct
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf.message import Message
from msgspec import Struct

from eaves.testing.device_transport import Reply, Transport
from eaves.wire import certificates, cipher, controller_certs, logfile, newlog, paths
from eaves.wire.controller_certs import ControllerCerts
from eaves.wire.envelope import Signer, open_envelope, parse_envelope
from eaves.wire.identifiers import AppId, DeviceId
from eaves.wire.paths import Endpoint
from eaves.wire.pb.attest import attest_pb2
from eaves.wire.pb.certs import certs_pb2
from eaves.wire.pb.config.devconfig_pb2 import ConfigRequest, ConfigResponse, EdgeDevConfig
from eaves.wire.pb.evecommon import evecommon_pb2
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock, EncryptionBlock
from eaves.wire.pb.eveuuid.eveuuid_pb2 import UuidResponse
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.metrics.metrics_pb2 import ZMetricMsg
from eaves.wire.pb.register.register_pb2 import ZRegisterMsg


class OnboardingPair(Struct, frozen=True):
    """What an operator gives to a batch of devices."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return certificates.encode_certificate_pem(self.certificate).decode()

    @property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()


def make_onboarding_pair(now: datetime.datetime | None = None) -> OnboardingPair:
    key = ec.generate_private_key(ec.SECP256R1())
    now = now or datetime.datetime.now(datetime.UTC)
    return OnboardingPair(
        key, certificates.make_onboarding_certificate(key, "onboarding", now, datetime.timedelta(days=365))
    )


class Tpm:
    """The keys and registers that a TPM would hold."""

    def __init__(self, device_key: ec.EllipticCurvePrivateKey, device_certificate: x509.Certificate) -> None:
        self.quote_key = ec.generate_private_key(ec.SECP256R1())
        self.quote_pem = issue_below(device_key, device_certificate, self.quote_key.public_key(), "quote")
        endorsement = ec.generate_private_key(ec.SECP256R1())
        self.endorsement_pem = issue_below(device_key, device_certificate, endorsement.public_key(), "endorsement")
        self.pcrs = {index: hashlib.sha256(bytes([index])).digest() for index in range(24)}

    def quote(self, nonce: bytes) -> attest_pb2.ZAttestQuote:
        """TPMS_ATTEST over PCRs 0 to 15, signed by the quote key."""
        digest = hashlib.sha256(b"".join(self.pcrs[index] for index in range(16))).digest()
        data = b"".join(
            (
                struct.pack(">IHH", 0xFF544347, 0x8018, 34) + b"\x00\x0b" + bytes(32),
                struct.pack(">H", len(nonce)) + nonce,
                bytes(25),
                struct.pack(">IHB", 1, 0x000B, 3) + b"\xff\xff\x00",
                struct.pack(">H", 32) + digest,
            )
        )
        signature = self.quote_key.sign(data, ec.ECDSA(hashes.SHA256()))
        message = attest_pb2.ZAttestQuote(attestData=data, signature=signature)
        for index, value in self.pcrs.items():
            message.pcr_values.add(index=index, hash_algo=attest_pb2.TPM_HASH_ALGO_SHA256, value=value)
        return message


def issue_below(
    issuer_key: ec.EllipticCurvePrivateKey, issuer: x509.Certificate, key: certificates.PublicKey, name: str
) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
    )
    return certificates.encode_certificate_pem(builder.sign(issuer_key, hashes.SHA256()))


class Device:
    """One device. ``id`` is empty until :meth:`ask_uuid`; ``token`` until :meth:`attest`."""

    def __init__(
        self,
        transport: Transport,
        onboarding: OnboardingPair,
        *,
        serial: str = "",
        soft_serial: str = "",
        with_tpm: bool = False,
    ) -> None:
        self.transport = transport
        self.onboarding = onboarding
        self.serial = serial
        self.soft_serial = soft_serial
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = certificates.make_device_certificate(self.key, datetime.datetime.now(datetime.UTC))
        self.signer = Signer.for_device(self.key, self.certificate)
        self.ecdh_key = ec.generate_private_key(ec.SECP256R1())
        self.ecdh_pem = issue_below(self.key, self.certificate, self.ecdh_key.public_key(), "ecdh")
        self.tpm = Tpm(self.key, self.certificate) if with_tpm else None
        self.id = DeviceId("")
        self.token = b""
        self.certs: ControllerCerts | None = None
        self.config: EdgeDevConfig | None = None
        self.config_hash = ""

    async def fetch_certs(self, root_pem: bytes) -> ControllerCerts:
        """Get and check ``/certs`` as a device does."""
        reply = await self.transport.call("GET", paths.render_path(Endpoint.CERTS))
        assert reply.status == 200, reply
        payload = parse_envelope(reply.body).payload
        self.certs = controller_certs.check_controller_certs(payload, root_pem, datetime.datetime.now(datetime.UTC))
        return self.certs

    def open(self, body: bytes) -> bytes:
        """Payload of an answer that the controller must have signed."""
        assert self.certs is not None
        return open_envelope(body, self.certs.signing_sha256, self.certs.signing_key)

    def register_body(self) -> bytes:
        message = ZRegisterMsg(
            pemCert=certificates.encode_certificate_base64(self.certificate),
            serial=self.serial,
            softSerial=self.soft_serial,
        )
        signer = Signer.for_device(self.onboarding.key, self.onboarding.certificate)
        return signer.seal(message.SerializeToString(), with_certificate=True)

    async def register(self) -> Reply:
        return await self.transport.call("POST", paths.render_path(Endpoint.REGISTER), self.register_body())

    async def ask_uuid(self) -> Reply:
        reply = await self.transport.call("POST", paths.render_path(Endpoint.UUID), self.signer.seal(b""))
        if reply.status == 200:
            self.id = DeviceId(UuidResponse.FromString(self.open(reply.body)).uuid)
        return reply

    async def post(self, endpoint: Endpoint, message: Message | bytes, app_id: AppId | None = None) -> Reply:
        """Sign and send to an endpoint below the device's own path."""
        payload = message if isinstance(message, bytes) else message.SerializeToString()
        path = paths.render_path(endpoint, self.id, app_id)
        return await self.transport.call("POST", path, self.signer.seal(payload))

    async def send_certs(self, certs: Sequence[certs_pb2.ZCert] | None = None) -> Reply:
        request = attest_pb2.ZAttestReq(reqType=attest_pb2.ATTEST_REQ_CERT)
        request.certs.extend(self.own_certs() if certs is None else certs)
        return await self.post(Endpoint.ATTEST, request)

    def own_certs(self) -> list[certs_pb2.ZCert]:
        certs = [make_cert(certs_pb2.CERT_TYPE_DEVICE_ECDH_EXCHANGE, self.ecdh_pem)]
        if self.tpm is not None:
            certs.append(make_cert(certs_pb2.CERT_TYPE_DEVICE_RESTRICTED_SIGNING, self.tpm.quote_pem))
            certs.append(make_cert(certs_pb2.CERT_TYPE_DEVICE_ENDORSEMENT_RSA, self.tpm.endorsement_pem))
        return certs

    async def ask_nonce(self) -> bytes:
        answer = await self._attest(attest_pb2.ZAttestReq(reqType=attest_pb2.ATTEST_REQ_NONCE))
        return answer.nonce.nonce

    async def send_quote(self, quote: attest_pb2.ZAttestQuote) -> attest_pb2.ZAttestQuoteResp:
        answer = await self._attest(attest_pb2.ZAttestReq(reqType=attest_pb2.ATTEST_REQ_QUOTE, quote=quote))
        return answer.quoteResp

    async def store_keys(self, keys: Sequence[bytes], token: bytes | None = None) -> int:
        """The controller's code for the keys."""
        request = attest_pb2.ZAttestReq(reqType=attest_pb2.Z_ATTEST_REQ_TYPE_STORE_KEYS)
        request.storage_keys.integrity_token = self.token if token is None else token
        for key in keys:
            request.storage_keys.keys.add(key_type=attest_pb2.ATTEST_VOLUME_KEY_TYPE_VSK, key=key)
        return (await self._attest(request)).storage_keys_resp.response

    async def attest(self) -> attest_pb2.ZAttestQuoteResp:
        """Certificates, nonce and quote."""
        reply = await self.send_certs()
        assert reply.status == 201, reply
        nonce = await self.ask_nonce()
        verdict = await self.send_quote(self.tpm.quote(nonce) if self.tpm else attest_pb2.ZAttestQuote())
        if verdict.response == attest_pb2.Z_ATTEST_RESPONSE_CODE_SUCCESS:
            self.token = verdict.integrity_token
        return verdict

    async def poll(self, *, token: bytes | None = None) -> Reply:
        """Ask for the config and take it."""
        request = ConfigRequest(configHash=self.config_hash, integrity_token=self.token if token is None else token)
        reply = await self.post(Endpoint.CONFIG, request)
        if reply.status == 200:
            response = ConfigResponse.FromString(self.open(reply.body))
            self.config, self.config_hash = response.config, response.configHash
        return reply

    async def onboard(self, root_pem: bytes) -> None:
        """All steps from nothing to the first config."""
        await self.fetch_certs(root_pem)
        for step in (self.register, self.ask_uuid):
            reply = await step()
            assert reply.status in (200, 201), (step.__name__, reply)
        verdict = await self.attest()
        assert verdict.response == attest_pb2.Z_ATTEST_RESPONSE_CODE_SUCCESS, verdict
        reply = await self.poll()
        assert reply.status == 200, reply

    async def send_info(self, message: info_pb2.ZInfoMsg) -> Reply:
        return await self.post(Endpoint.INFO, message)

    def info(self, at_s: float | None = None) -> info_pb2.ZInfoMsg:
        """A device info message to fill; ``at_s`` is the device's time."""
        message = info_pb2.ZInfoMsg(ztype=info_pb2.ZiDevice, devId=self.id)
        _set_time(message, at_s)
        message.dinfo.machineArch = "x86_64"
        message.dinfo.ncpu = 4
        message.dinfo.memory = 4096
        message.dinfo.minfo.serialNumber = self.serial
        return message

    def app_info(self, app_id: str, state: int, at_s: float | None = None) -> info_pb2.ZInfoMsg:
        message = info_pb2.ZInfoMsg(ztype=info_pb2.ZiApp, devId=self.id)
        _set_time(message, at_s)
        message.ainfo.AppID = app_id
        message.ainfo.state = state  # type: ignore[assignment]  # an enum's number
        return message

    def metrics(self, at_s: float | None = None) -> ZMetricMsg:
        message = ZMetricMsg(devID=self.id)
        _set_time(message, at_s)
        message.dm.cpuMetric.total_ns = 123456789
        return message

    async def send_logs(self, lines: Sequence[newlog.LogRecord], app_id: AppId | None = None) -> Reply:
        content = b"".join(newlog.encode_line(line) for line in lines)
        name = {"name": "app"} if app_id else {"comment": '{"devID":"' + self.id + '"}'}
        endpoint = Endpoint.APP_NEWLOGS if app_id else Endpoint.NEWLOGS
        return await self.post(endpoint, logfile.encode_gzip(content, 1, **name), app_id)

    def decrypt(self, block: CipherBlock) -> EncryptionBlock:
        """Read a secret of the config."""
        assert self.config is not None
        assert self.certs is not None
        context = next(found for found in self.config.cipherContexts if found.contextId == block.cipherContextId)
        mine = certificates.hash_of_pem(self.ecdh_pem, 16)
        cipher.check_context(context, mine)
        theirs = next(cert for cert in self.certs.ecdh if cert.cert_hash == context.controllerCertHash)
        key = certificates.parse_certificate_pem(theirs.pem).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        return EncryptionBlock.FromString(cipher.decrypt_block(cipher.derive_key(self.ecdh_key, key), block))

    async def _attest(self, request: attest_pb2.ZAttestReq) -> attest_pb2.ZAttestResponse:
        reply = await self.post(Endpoint.ATTEST, request)
        assert reply.status == 201, reply
        return attest_pb2.ZAttestResponse.FromString(self.open(reply.body))


def make_cert(kind: certs_pb2.ZCertType.ValueType, pem: bytes) -> certs_pb2.ZCert:
    """A certificate as devices send it."""
    return certs_pb2.ZCert(
        hashAlgo=evecommon_pb2.HASH_ALGORITHM_SHA256_16BYTES,
        certHash=certificates.hash_of_pem(pem, 16),
        type=kind,
        cert=pem,
    )


def _set_time(message: Any, at_s: float | None) -> None:
    at_ns = int((datetime.datetime.now(datetime.UTC).timestamp() if at_s is None else at_s) * 1e9)
    message.atTimeStamp.seconds, message.atTimeStamp.nanos = divmod(at_ns, 10**9)
