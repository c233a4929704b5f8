"""A controller that is not Eaves: it speaks the device API and nothing else, with the oddities of the field's reference controller.

A stand-in with state for tests of the node's link. It keeps everything that devices sent, can be told to misbehave, and lets
a test wait for what it expects. Its oddities: certificates of ``/certs`` in random order and with 16-byte hashes, 500 and later
409 for a repeated registration, no config (404) until somebody wrote one, 403 for a config request without the token of an
attestation, 401 for an unknown device, only 32-byte sender hashes, log files only with a JSON comment.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import secrets
import ssl
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self

import h11
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct

from eaves.kit import streams
from eaves.testing.authority import DAY, Authority, encode_key, now
from eaves.testing.device_api_http import Answer, Request, read_request, write_answer
from eaves.testing.tcp_server import TcpServer
from eaves.wire import certificates, cipher, envelope, logfile, newlog, paths
from eaves.wire.errors import WireError
from eaves.wire.pb.attest import attest_pb2
from eaves.wire.pb.attest.attest_pb2 import ZAttestReq, ZAttestResponse
from eaves.wire.pb.certs import certs_pb2
from eaves.wire.pb.config.devconfig_pb2 import ConfigRequest, ConfigResponse, EdgeDevConfig
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock, EncryptionBlock
from eaves.wire.pb.eveuuid.eveuuid_pb2 import UuidResponse
from eaves.wire.pb.info.info_pb2 import ZInfoMsg
from eaves.wire.pb.metrics.metrics_pb2 import ZMetricMsg
from eaves.wire.pb.register.register_pb2 import ZRegisterMsg


class Device(Struct):
    """What the controller knows of one device."""

    id: str
    certificate: x509.Certificate
    serial: str
    soft_serial: str
    ecdh_pem: bytes = b""
    nonce: bytes = b""
    token: bytes = b""
    config: EdgeDevConfig | None = None
    config_hash: str = ""
    attestations: int = 0


class ForeignController:
    """The server. ``async with ForeignController().running(folder) as controller`` runs it on a free loopback port."""

    def __init__(self, authority: Authority | None = None) -> None:
        self.authority = authority or Authority()
        self.onboarding_key, self.onboarding_certificate = self.authority.issue(
            certificates.Profile.CLIENT, "onboarding", now(), 365 * DAY
        )
        self.allowed_serials: set[str] | None = None
        self.devices: dict[str, Device] = {}
        self.requests: list[Request] = []
        self.infos: list[ZInfoMsg] = []
        self.metrics: list[ZMetricMsg] = []
        self.health_reports = 0
        self.device_records: list[newlog.LogRecord] = []
        self.app_records: dict[str, list[newlog.LogRecord]] = {}
        self.log_names: dict[str, str] = {}
        self.connections = 0
        self.failed_handshakes = 0
        self.resumed = 0
        self.port = 0
        self.small_talk = b""
        """Body of answers that need none."""
        self.faults: dict[str, list[int]] = {}
        """Path ending → statuses to answer next, 0 = cut the connection; the last one stays when it is negative (-503)."""
        self._changed = asyncio.Condition()
        self._server = TcpServer(self._serve)
        self._context: ssl.SSLContext | None = None

    # Life

    async def start(self, folder: Path, port: int = 0) -> None:
        """Listen; ``folder`` takes the server's key for the TLS library and the files of :meth:`want_join_files`."""
        self._context = await asyncio.to_thread(self._want_context, folder)
        await self._server.start(port or self.port)
        self.port = self._server.port

    async def stop(self) -> None:
        """Stop and cut every connection; state stays for another :meth:`start`."""
        await self._server.stop()

    @contextlib.asynccontextmanager
    async def running(self, folder: Path) -> AsyncIterator[Self]:
        await self.start(folder)
        try:
            yield self
        finally:
            await self.stop()

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    def want_join_files(self, folder: Path) -> tuple[Path, Path, Path]:
        """Root certificate, onboarding certificate and key as files for a node."""
        root, certificate, key = folder / "root.pem", folder / "onboard.cert.pem", folder / "onboard.key.pem"
        root.write_bytes(self.authority.root_pem)
        certificate.write_bytes(certificates.encode_certificate_pem(self.onboarding_certificate))
        key.write_bytes(encode_key(self.onboarding_key))
        return root, certificate, key

    # What tests do and ask

    def only_device(self) -> Device:
        (device,) = self.devices.values()
        return device

    def write_config(self, config: EdgeDevConfig, device: Device | None = None) -> str:
        """An administrator's PUT; answers the hash."""
        device = device or self.only_device()
        config.id.uuid = device.id
        device.config = EdgeDevConfig.FromString(config.SerializeToString())
        device.config.controllercert_confighash = self._certs_hash()
        encoded = device.config.SerializeToString(deterministic=True)
        device.config_hash = base64.urlsafe_b64encode(hashlib.sha256(encoded).digest()).decode()
        return device.config_hash

    def encrypt(self, config: EdgeDevConfig, block: EncryptionBlock, device: Device | None = None) -> CipherBlock:
        """``block`` encrypted to the device; the context is added to ``config``."""
        device = device or self.only_device()
        peer = certificates.parse_certificate_pem(device.ecdh_pem).public_key()
        assert isinstance(peer, ec.EllipticCurvePublicKey)
        context = cipher.want_context(
            hashlib.sha256(device.ecdh_pem).digest()[:16], hashlib.sha256(self.authority.ecdh_pem).digest()[:16]
        )
        if all(known.contextId != context.contextId for known in config.cipherContexts):
            config.cipherContexts.append(context)
        key = cipher.derive_key(self.authority.ecdh_key, peer)
        return cipher.encrypt_block(key, context.contextId, secrets.token_bytes(16), block.SerializeToString())

    def count(self, path: str) -> int:
        """Requests whose path ends so."""
        return sum(request.path.endswith(path) for request in self.requests)

    async def wait_for(self, is_so: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
        """Wait until something that depends on requests is so."""
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(is_so)
        except TimeoutError:
            seen = [(request.method, request.path) for request in self.requests[-20:]]
            raise AssertionError(f"waited {timeout_s:g} s in vain for {what}; last requests: {seen}") from None

    # The server

    def _want_context(self, folder: Path) -> ssl.SSLContext:
        folder.mkdir(parents=True, exist_ok=True)
        bundle = folder / "server.pem"
        chain = certificates.encode_certificate_pem(self.authority.server)
        bundle.write_bytes(encode_key(self.authority.server_key) + chain)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(bundle)
        return context

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            # Done here and not by the listening server, so that a failed handshake is over when this ends.
            if not await self._shake_hands(writer):
                # Aborted, and over: there is no end of it to wait for.
                return
            self.resumed += bool(writer.get_extra_info("ssl_object").session_reused)
            while (request := await read_request(connection, reader)) is not None:
                answer = self._answer(request)
                self.requests.append(request)
                async with self._changed:
                    self._changed.notify_all()
                if answer is None:
                    writer.transport.abort()
                    return
                await write_answer(connection, writer, answer)
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    break
                connection.start_next_cycle()
            await streams.close(writer)
        except (OSError, h11.RemoteProtocolError):
            return

    async def _shake_hands(self, writer: asyncio.StreamWriter) -> bool:
        assert self._context is not None
        try:
            await streams.start_tls(writer, self._context)
        except OSError:
            self.failed_handshakes += 1
            async with self._changed:
                self._changed.notify_all()
            return False
        self.connections += 1
        return True

    def _answer(self, request: Request) -> Answer | None:
        for ending, statuses in self.faults.items():
            if request.path.endswith(ending) and statuses:
                status = statuses[0] if statuses[0] < 0 else statuses.pop(0)
                return Answer(abs(status)) if status else None
        if request.path == "certs":
            return self._signed(200, self.authority.certs_payload())
        if request.path == "ping":
            return Answer(200)
        if request.headers.get("content-type") != paths.CONTENT_TYPE:
            return Answer(400)
        try:
            sealed = envelope.parse_envelope(request.body)
            if request.path == "register":
                return self._register(sealed)
            device = self._find_device(sealed)
            if device is None:
                return Answer(401)
            return self._answer_device(device, request.path.removeprefix(f"id/{device.id}/"), sealed.payload)
        except WireError:
            return Answer(400)

    def _find_device(self, sealed: envelope.Envelope) -> Device | None:
        for device in self.devices.values():
            if certificates.hash_of_device_certificate(device.certificate) == sealed.sender_cert_hash:
                envelope.check_signature(sealed, certificates.parse_public_key(device.certificate))
                return device
        return None

    def _register(self, sealed: envelope.Envelope) -> Answer:
        sender = envelope.parse_sender_certificate(sealed)
        envelope.check_signature(sealed, certificates.parse_public_key(sender))
        message = ZRegisterMsg.FromString(sealed.payload)
        certificate = certificates.parse_certificate_base64(message.pemCert)
        is_known_serial = self.allowed_serials is None or {message.serial, message.softSerial} & self.allowed_serials
        if sender != self.onboarding_certificate or not is_known_serial:
            return Answer(403)
        known = [device for device in self.devices.values() if device.certificate == certificate]
        if known:
            return Answer(409 if self.count("register") % 2 else 500)
        device_id = str(uuid.uuid4())
        self.devices[device_id] = Device(device_id, certificate, message.serial, message.softSerial)
        return Answer(201, self.small_talk)

    def _answer_device(self, device: Device, action: str, payload: bytes) -> Answer:
        match action.split("/"):
            case ["uuid"]:
                return self._signed(200, UuidResponse(uuid=device.id).SerializeToString())
            case ["attest"]:
                return self._attest(device, ZAttestReq.FromString(payload))
            case ["config"]:
                return self._config(device, ConfigRequest.FromString(payload))
            case ["info"]:
                self.infos.append(ZInfoMsg.FromString(payload))
                return Answer(201, self.small_talk)
            case ["metrics"]:
                self.metrics.append(ZMetricMsg.FromString(payload))
                return Answer(201, self.small_talk)
            case ["hardwarehealth"]:
                self.health_reports += 1
                return Answer(200, self.small_talk)
            case ["newlogs"]:
                return self._take_device_logs(payload)
            case ["apps", "instanceid", app_id, "newlogs"]:
                member, lines = logfile.decode_log_file(payload)
                self.log_names[app_id] = logfile.parse_app_name(member.name)
                self.app_records.setdefault(app_id, []).extend(lines.records)
                return Answer(201)
        return Answer(404)

    def _take_device_logs(self, payload: bytes) -> Answer:
        member, lines = logfile.decode_log_file(payload)
        logfile.parse_device_comment(member.comment)
        self.device_records.extend(lines.records)
        return Answer(201, b'{"cpu_percentage":1.5,"log_process_delay_msec":3}')

    def _attest(self, device: Device, request: ZAttestReq) -> Answer:
        answer = ZAttestResponse()
        if request.reqType == attest_pb2.ATTEST_REQ_CERT:
            answer.respType = attest_pb2.ATTEST_RESP_CERT
            for cert in request.certs:
                if cert.type == certs_pb2.CERT_TYPE_DEVICE_ECDH_EXCHANGE:
                    device.ecdh_pem = cert.cert
        elif request.reqType == attest_pb2.ATTEST_REQ_NONCE:
            device.nonce = secrets.token_bytes(16)
            answer.respType = attest_pb2.ATTEST_RESP_NONCE
            answer.nonce.nonce = device.nonce
        else:
            answer.respType = attest_pb2.ATTEST_RESP_QUOTE_RESP
            if device.nonce:
                device.attestations += 1
                device.token = device.token or secrets.token_hex(64).encode()
                answer.quoteResp.response = attest_pb2.Z_ATTEST_RESPONSE_CODE_SUCCESS
                answer.quoteResp.integrity_token = device.token
            else:
                answer.quoteResp.response = attest_pb2.Z_ATTEST_RESPONSE_CODE_NONCE_MISMATCH
        return self._signed(201, answer.SerializeToString())

    def _config(self, device: Device, request: ConfigRequest) -> Answer:
        if device.config is None:
            return Answer(404)
        if not device.token or request.integrity_token != device.token:
            return Answer(403)
        if request.configHash == device.config_hash:
            return Answer(304)
        response = ConfigResponse(config=device.config, configHash=device.config_hash)
        return self._signed(200, response.SerializeToString())

    def _signed(self, status: int, payload: bytes) -> Answer:
        return Answer(status, self.authority.signer.seal(payload))

    def _certs_hash(self) -> str:
        digest = hashlib.sha256(self.authority.signing_pem + self.authority.ecdh_pem).digest()
        return base64.urlsafe_b64encode(digest).decode()
