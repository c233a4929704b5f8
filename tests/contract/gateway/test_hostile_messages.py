"""Messages that no honest device would send, well formed as HTTP: each gets the status that the device API's text has for its fault."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.x509.oid import NameOID

from eaves.testing.device import Device, issue_below, make_cert, make_onboarding_pair
from eaves.testing.device_transport import TlsTransport
from eaves.testing.gateway_server import RunningGateway, start_gateway
from eaves.testing.hostile import change_envelope, nest_messages
from eaves.wire import certificates, logfile, paths
from eaves.wire.envelope import Signer
from eaves.wire.identifiers import AppId
from eaves.wire.paths import Endpoint
from eaves.wire.pb.attest import attest_pb2
from eaves.wire.pb.certs import certs_pb2
from eaves.wire.pb.config.devconfig_pb2 import ConfigRequest
from eaves.wire.pb.flowlog.flowlog_pb2 import FlowMessage
from eaves.wire.pb.hardwarehealth.hardware_health_pb2 import ZHardwareHealth
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.register.register_pb2 import ZRegisterMsg

pytestmark = pytest.mark.contract

Case = tuple[str, str, bytes, int]
"""Name, path, body, status."""

ECDH, SIGNING = certs_pb2.CERT_TYPE_DEVICE_ECDH_EXCHANGE, certs_pb2.CERT_TYPE_CONTROLLER_SIGNING
APP = AppId("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the curve P-256."""
REGISTER = paths.render_path(Endpoint.REGISTER)
ANSWER_LIMIT_S = 60.0
GROWTH_BYTES = 64 << 20
MOMENTS = (-(2**63), -5, 0, 9223372036, 9223372037, 253402300799, 2**63 - 1)
"""Unix seconds: before all time, around the end of 64 bits of nanoseconds, the year 9999, after all time."""


def self_sign(key: CertificateIssuerPrivateKeyTypes) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 4711, now, now + datetime.timedelta(days=9))
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def list_signatures(device: Device, other: Device) -> Iterator[Case]:
    """Around a payload that is good; whoever is not shown to have signed it is 401."""
    path, good = paths.render_path(Endpoint.UUID), device.signer.seal(b"")
    der = device.key.sign(b"", ec.ECDSA(hashes.SHA256()))
    r, s = decode_dss_signature(der)

    def raw(left: int, right: int) -> bytes:
        return left.to_bytes(32, "big") + right.to_bytes(32, "big")

    refused = {
        "r 0": raw(0, s),
        "s 0": raw(r, 0),
        "both 0": bytes(64),
        "r the order": raw(ORDER, s),
        "s the order": raw(r, ORDER),
        "swapped": raw(s, r),
        "all ones": b"\xff" * 64,
        "twice": raw(r, s) * 2,
        "DER and a byte": der + b"\0",
        "DER with a long length": b"\x30\x81" + der[1:],
        "DER of a negative number": b"\x30\x06\x02\x01\xff\x02\x01\x01",
        "DER longer than all memory": b"\x30\x84\xff\xff\xff\xff" + bytes(100),
        "DER of 0 and 0": encode_dss_signature(0, 0),
        "with SHA-384": device.key.sign(b"", ec.ECDSA(hashes.SHA384())),
        "over the envelope": device.key.sign(good, ec.ECDSA(hashes.SHA256())),
        "of another device": other.key.sign(b"", ec.ECDSA(hashes.SHA256())),
    }
    for name, signature in refused.items():
        yield f"signature {name}", path, change_envelope(good, {"signatureHash": signature}), 401
    # The same signature in other words is no other signer.
    for name, signature in {"raw": raw(r, s), "with the other s": raw(r, ORDER - s), "DER": der}.items():
        yield f"signature {name}", path, change_envelope(good, {"signatureHash": signature}), 200
    pem = certificates.encode_certificate_pem(device.certificate)
    yield "hash of the PEM", path, change_envelope(good, {"senderCertHash": certificates.hash_of_pem(pem)}), 400
    yield "half a hash of the whole", path, change_envelope(good, {"senderCertHash": device.signer.cert_hash[:16]}), 401
    yield "a stranger with his certificate", path, make_stranger().signer.seal(b"", with_certificate=True), 400


def make_stranger() -> Device:
    return Device(TlsTransport("127.0.0.1", 1, None), make_onboarding_pair(), serial="S1")  # type: ignore[arg-type]  # never calls


def list_registrations(gateway: RunningGateway, known: Device) -> Iterator[Case]:
    pair = gateway.onboarding
    signer = Signer.for_device(pair.key, pair.certificate)
    device = gateway.device(serial="R1")

    def register(serial: str = "R1", soft: str = "", cert: bytes | None = None, by: Signer = signer) -> bytes:
        cert = certificates.encode_certificate_base64(device.certificate) if cert is None else cert
        message = ZRegisterMsg(pemCert=cert, serial=serial, softSerial=soft)
        return by.seal(message.SerializeToString(), with_certificate=True)

    stranger = make_stranger()
    strange = Signer.for_device(stranger.onboarding.key, stranger.onboarding.certificate)
    public = pair.pem.encode()
    two = base64.b64encode(public + stranger.onboarding.pem.encode())
    yield "register: unknown key", REGISTER, register(by=strange), 403
    yield "register: by a device's key", REGISTER, register(by=known.signer), 403
    yield "register: serial of another", REGISTER, register(known.serial), 409
    for name, fields, status in (
        ("no certificate along", {"senderCert": b""}, 400),
        ("certificate as PEM", {"senderCert": public}, 400),
        ("two certificates", {"senderCert": two}, 400),
        ("the public certificate, another's signature", {"signatureHash": strange.seal(b"")[-64:]}, 401),
        ("no signature", {"signatureHash": b""}, 401),
        ("hash of nothing", {"senderCertHash": b""}, 401),
        ("hash of another certificate", {"senderCertHash": strange.cert_hash}, 401),
        ("unknown algorithm", {"algo": 9}, 401),
    ):
        yield f"register: {name}", REGISTER, change_envelope(register(), fields), status
    for name, content in {
        "serial of 300 letters": register("a" * 300),
        "serial of two lines": register("a\nb"),
        "serial that moves a terminal": register("a\x1b[31m"),
        "soft serial that is a path": register(soft="../../x"),
        "no device certificate": register(cert=b""),
        "garbage for a device certificate": register(cert=bytes(range(256))),
        "device certificate of 11 kB": register(cert=b"A" * 11_000),
        "the onboarding certificate itself": register(cert=certificates.encode_certificate_base64(pair.certificate)),
    }.items():
        yield f"register: {name}", REGISTER, content, 422
    keys: Mapping[str, CertificateIssuerPrivateKeyTypes] = {
        "RSA": rsa.generate_private_key(65537, 2048),
        "Ed25519": ed25519.Ed25519PrivateKey.generate(),
        "P-521": ec.generate_private_key(ec.SECP521R1()),
        "P-224": ec.generate_private_key(ec.SECP224R1()),
        "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    }
    for name, key in keys.items():
        cert = certificates.encode_certificate_base64(self_sign(key))
        yield f"register: device key {name}", REGISTER, register(cert=cert), 422


def list_attestations(device: Device, other: Device) -> Iterator[Case]:
    path = paths.render_path(Endpoint.ATTEST, device.id)

    def ask(**fields: Any) -> bytes:
        return device.signer.seal(attest_pb2.ZAttestReq(**fields).SerializeToString())

    def certs(*found: Any) -> bytes:
        return ask(reqType=attest_pb2.ATTEST_REQ_CERT, certs=found)

    yield "attest: nothing asked", path, ask(), 422
    yield "attest: unknown question", path, ask(reqType=77), 422
    yield "attest: 200 certificates", path, certs(*[make_cert(ECDH, device.ecdh_pem)] * 200), 422
    yield "attest: certificate of another device", path, certs(make_cert(ECDH, other.ecdh_pem)), 400
    yield "attest: certificate of a controller's type", path, certs(make_cert(SIGNING, device.ecdh_pem)), 422
    yield "attest: garbage for a certificate", path, certs(make_cert(ECDH, bytes(200))), 422
    wrong = make_cert(ECDH, device.ecdh_pem)
    wrong.certHash = bytes(16)
    yield "attest: hash of another certificate", path, certs(wrong), 422
    keys: Mapping[str, certificates.PublicKey] = {
        "RSA": rsa.generate_private_key(65537, 2048).public_key(),
        "P-384": ec.generate_private_key(ec.SECP384R1()).public_key(),
    }
    for name, key in keys.items():
        pem = issue_below(device.key, device.certificate, key, "ecdh")
        yield f"attest: {name} key to agree on others", path, certs(make_cert(ECDH, pem)), 422
    keys_of = attest_pb2.AttestStorageKeys(integrity_token=device.token, keys=[attest_pb2.AttestVolumeKey()] * 1000)
    stored = ask(reqType=attest_pb2.Z_ATTEST_REQ_TYPE_STORE_KEYS, storage_keys=keys_of)
    yield "attest: a thousand vault keys", path, stored, 422
    # Refused, but in words: the state machine of a device acts on codes inside the answer.
    quote = attest_pb2.ZAttestQuote(attestData=bytes(60_000), signature=bytes(64))
    yield "attest: quote that nobody asked for", path, ask(reqType=attest_pb2.ATTEST_REQ_QUOTE, quote=quote), 201


def list_configs(device: Device, other: Device) -> Iterator[Case]:
    path = paths.render_path(Endpoint.CONFIG, device.id)
    for name, token, config_hash, status in (
        ("no token", b"", device.config_hash, 403),
        ("wrong token", bytes(48), device.config_hash, 403),
        ("another device's token", other.token, device.config_hash, 403),
        ("a hash of old", device.token, "stale", 200),
        ("a hash of 7 kB", device.token, "h" * 7000, 200),
        ("a hash that moves a terminal", device.token, "\x1b]0;x\x07\n\0", 200),
    ):
        request = ConfigRequest(configHash=config_hash, integrity_token=token)
        yield f"config: {name}", path, device.signer.seal(request.SerializeToString()), status
    yield "config: a hash that is no text", path, device.signer.seal(b"\x0a\x03\xff\xfe\xfd"), 422


def list_infos(device: Device, other: Device) -> Iterator[Case]:
    path = paths.render_path(Endpoint.INFO, device.id)

    def info(edit: Callable[[info_pb2.ZInfoMsg], object]) -> bytes:
        message = device.info()
        edit(message)
        return device.signer.seal(message.SerializeToString())

    def app(app_id: str) -> bytes:
        message = info_pb2.ZInfoMsg(ztype=info_pb2.ZiApp, devId=device.id)
        message.ainfo.AppID = app_id
        message.ainfo.state = 999  # type: ignore[assignment]  # a number that the enum lacks
        return device.signer.seal(message.SerializeToString())

    nothing = info_pb2.ZInfoMsg(ztype=info_pb2.ZiDevice, devId=device.id).SerializeToString()
    yield "info: about another device", path, info(lambda message: setattr(message, "devId", other.id)), 422
    yield "info: about no device", path, info(lambda message: setattr(message, "devId", "")), 422
    yield "info: of nothing", path, device.signer.seal(nothing), 422
    yield "info: app of 500 letters", path, app("x" * 500), 422
    yield "info: app that is a path", path, app("../../../etc/passwd"), 201
    yield "info: type of another content", path, info(lambda message: setattr(message, "ztype", info_pb2.ZiApp)), 201
    yield "info: unknown type", path, info(lambda message: setattr(message, "ztype", -7)), 201
    for seconds in MOMENTS:
        moment = info(lambda message, at=seconds: setattr(message.atTimeStamp, "seconds", at))  # type: ignore[misc]
        yield f"info: at {seconds} s", path, moment, 201
    names = [info_pb2.ZInfoNetwork(devName="\x1b[2J", macAddr="<script>")] * 10_000
    yield "info: 10,000 ports", path, info(lambda message: message.dinfo.network.extend(names)), 201
    yield "info: enormous numbers", path, info(lambda message: setattr(message.dinfo, "memory", 2**64 - 1)), 201
    yield (
        "info: text of 200 kB",
        path,
        info(lambda message: setattr(message.dinfo.minfo, "manufacturer", "a" * 200_000)),
        201,
    )
    yield (
        "info: half a MB of unknown fields",
        path,
        device.signer.seal(device.info().SerializeToString() + b"\xfa\x7f\x80\x80\x20" + bytes(0x80000)),
        201,
    )


def list_telemetry(device: Device, other: Device) -> Iterator[Case]:
    def path_of(endpoint: Endpoint) -> str:
        return paths.render_path(endpoint, device.id)

    seal = device.signer.seal
    metrics = device.metrics()
    metrics.devID = other.id
    yield "metrics: of another device", path_of(Endpoint.METRICS), seal(metrics.SerializeToString()), 422
    metrics = device.metrics()
    metrics.dm.memory.usedPercentage, metrics.dm.memory.availPercentage = float("nan"), float("inf")
    metrics.am.add(AppID="../x").memory.usedPercentage = float("-inf")
    yield "metrics: no numbers", path_of(Endpoint.METRICS), seal(metrics.SerializeToString()), 201
    metrics = device.metrics()
    for _ in range(2200):
        metrics.am.add(AppID="x" * 1000)
    yield "metrics: of 2 MB", path_of(Endpoint.METRICS), seal(metrics.SerializeToString()), 413
    for seconds in MOMENTS:
        metrics, health = device.metrics(), ZHardwareHealth(dev_id=device.id)
        metrics.atTimeStamp.seconds = health.at_time_stamp.seconds = seconds
        yield f"metrics: at {seconds} s", path_of(Endpoint.METRICS), seal(metrics.SerializeToString()), 201
        yield f"health: at {seconds} s", path_of(Endpoint.HARDWARE_HEALTH), seal(health.SerializeToString()), 201
    flows = FlowMessage(devId=other.id).SerializeToString()
    yield "flows: of another device", path_of(Endpoint.FLOWLOG), seal(flows), 422
    health = ZHardwareHealth(dev_id=other.id)
    yield "health: of another device", path_of(Endpoint.HARDWARE_HEALTH), seal(health.SerializeToString()), 422
    yield "scep", path_of(Endpoint.SCEP), seal(b"\x0a\x05hello"), 403
    for endpoint in (Endpoint.CONFIG, Endpoint.ATTEST, Endpoint.INFO, Endpoint.METRICS, Endpoint.FLOWLOG):
        yield f"{endpoint}: nested messages", path_of(endpoint), seal(nest_messages(2000)), 422
        yield f"{endpoint}: length that lies", path_of(endpoint), seal(b"\x0a\xff\xff\xff\xff\x0f"), 422


def list_logs(device: Device) -> Iterator[Case]:
    path = paths.render_path(Endpoint.NEWLOGS, device.id)
    app_path = paths.render_path(Endpoint.APP_NEWLOGS, device.id, APP)
    lines = b'{"content":"x"}\n'

    def pack(content: bytes) -> bytes:
        return logfile.encode_gzip(content, 1)

    times: list[Any] = [{"seconds": -(2**63), "nanos": -1}, {"seconds": 2**63 - 1}, "9999-12-31T23:59:59Z", "0000"]
    odd = [json.dumps({"content": "a", "timestamp": time, "msgid": 10**30}).encode() for time in times]
    escapes = json.dumps({"content": "\x1b[2J" * 9, "source": "../../etc/passwd", "severity": "x" * 5000}).encode()
    for name, content, status in (
        ("nothing", b"", 422),
        ("plain text", lines, 422),
        ("bomb in a bomb", pack(pack(bytes(40 << 20)) * 400), 413),
        ("cut off", pack(lines * 1000)[:-20], 422),
        ("size that lies", pack(lines * 1000)[:-4] + b"\xff" * 4, 422),
        ("junk after the end", pack(lines) + b"junk", 422),
        ("line of 2 MB", pack(b'{"content":"' + b"a" * 2_000_000 + b'"}\n'), 201),
        ("deep JSON", pack(b"[" * 100_000 + b"\n"), 201),
        ("no UTF-8", pack(b'{"content":"\xff\xfe"}\n'), 201),
        ("half a character", pack(b'{"content":"\\ud800"}\n'), 201),
        ("what moves a terminal", pack(escapes + b"\n"), 201),
        ("impossible times", pack(b"\n".join(odd) + b"\n"), 201),
        ("no objects", pack(b'null\n[]\n"x"\n{"content":null}\n{"msgid":1e400}\n'), 201),
    ):
        yield f"logs: {name}", path, device.signer.seal(content), status
    yield "logs: of an app that it does not have", app_path, device.signer.seal(pack(lines)), 403
    short = f"{paths.BASE}/apps/instanceid/{APP}/newlogs"
    yield "logs: the same on the short path", short, device.signer.seal(pack(lines)), 403


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with start_gateway(tmp_path) as gateway:
        yield gateway


async def test_each_gets_its_status_and_changes_nothing(
    gateway: RunningGateway, capfd: pytest.CaptureFixture[str]
) -> None:
    device, other = gateway.device(serial="A1"), gateway.device(serial="B2")
    for one in (device, other):
        await one.onboard(gateway.root_pem)
    cases = [
        *list_signatures(device, other),
        *list_registrations(gateway, device),
        *list_attestations(device, other),
        *list_configs(device, other),
        *list_infos(device, other),
        *list_telemetry(device, other),
        *list_logs(device),
    ]
    assert len(cases) > 120
    before = gateway.resident_bytes()
    wrong: dict[str, int] = {}
    bodies: list[str] = []
    for name, path, body, status in cases:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            reply = await device.transport.call("POST", path, body)
        while reply.status == 429:
            await asyncio.sleep(0.1)
            reply = await device.transport.call("POST", path, body)
        if reply.status != status:
            wrong[name] = reply.status
        if reply.status >= 400 and reply.body:
            bodies.append(name)
    assert wrong == {}
    assert bodies == []
    assert gateway.resident_bytes() - before < GROWTH_BYTES
    # Each still has its token and config, and may be known again.
    for one in (device, other):
        assert (await one.poll()).status == 304
        assert (await one.register()).status == 200
        assert isinstance(one.transport, TlsTransport)
        await one.transport.close()
    assert "Traceback" not in capfd.readouterr().err
