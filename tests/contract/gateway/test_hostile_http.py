"""Over a hundred requests that no device would send, at a gateway in a process of its own: each is refused at once, with a reason."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from eaves.testing.device import Device
from eaves.testing.device_transport import TlsTransport
from eaves.testing.gateway_server import RunningGateway, start_gateway
from eaves.testing.hostile import change_envelope, nest_messages
from eaves.wire import logfile, paths
from eaves.wire.paths import Endpoint

pytestmark = pytest.mark.contract

BASE = paths.BASE
ANSWER_LIMIT_S = 60.0
"""A machine with ten suites under way is slow; a request without an answer is none in a minute either."""
GROWTH_BYTES = 64 << 20
PARALLEL = 8
UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def head(
    method: str, path: str, *headers: str, version: str = "HTTP/1.1", host: tuple[str, ...] = ("Host: gateway",)
) -> bytes:
    return "\r\n".join([f"{method} {path} {version}", *host, *headers, "", ""]).encode("latin-1")


def post(path: str, body: bytes, *headers: str) -> bytes:
    return head("POST", path, f"Content-Length: {len(body)}", f"Content-Type: {paths.CONTENT_TYPE}", *headers) + body


def list_framings(path: str) -> Iterator[tuple[str, bytes]]:
    """Lengths that lie or contradict each other, as request smuggling uses them."""
    lengths = {
        "twice, different": ("Content-Length: 3", "Content-Length: 30"),
        "twice, the same": ("Content-Length: 3", "Content-Length: 3"),
        "a list": ("Content-Length: 3, 3",),
        "negative": ("Content-Length: -1",),
        "with a sign": ("Content-Length: +3",),
        "hexadecimal": ("Content-Length: 0x3",),
        "beyond 64 bits": ("Content-Length: 99999999999999999999999999",),
        "empty": ("Content-Length: ",),
        "with an underscore": ("Content-Length: 1_0",),
        "beyond the bound": ("Content-Length: 1073741824",),
        "and chunks": ("Content-Length: 3", "Transfer-Encoding: chunked"),
        "after chunks": ("Transfer-Encoding: chunked", "Content-Length: 3"),
    }
    for name, headers in lengths.items():
        yield f"length {name}", head("POST", path, *headers) + b"abc"
    codings = ("xchunked", "chunked, identity", "gzip, chunked", "\x0bchunked", "identity", "chunked, chunked")
    for coding in codings:
        yield f"coding {coding!r}", head("POST", path, f"Transfer-Encoding: {coding}") + b"0\r\n\r\n"
    yield "coding with a blank", head("POST", path, "Transfer-Encoding : chunked") + b"0\r\n\r\n"
    chunks = {
        "of no number": b"zz\r\nabc\r\n0\r\n\r\n",
        "negative": b"-5\r\nabc\r\n0\r\n\r\n",
        "beyond 64 bits": b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "longer than told": b"3\r\nabcdef\r\n0\r\n\r\n",
        "beyond the bound": b"7fffffffffffffff\r\n" + bytes(1 << 21),
        "with trailers without end": b"0\r\n" + b"X-Padding: x\r\n" * 20_000 + b"\r\n",
    }
    for name, body in chunks.items():
        yield f"chunks {name}", head("POST", path, "Transfer-Encoding: chunked") + body


def list_heads(path: str) -> Iterator[tuple[str, bytes]]:
    ping = f"{BASE}/ping"
    yield "no host", head("GET", ping, host=())
    yield "two hosts", head("GET", ping, "Host: other")
    yield "HTTP/0.9", f"GET {ping}\r\n\r\n".encode()
    for version in ("HTTP/2.0", "HTTP/9.9", "HTTP/1", "HTTPS/1.1", "ICY"):
        yield version, head("GET", ping, version=version)
    yield "the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)
    yield "TLS in TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)
    yield "all bytes", bytes(range(256)) * 4
    yield "SSH", b"SSH-2.0-OpenSSH_9.6\r\n"
    yield "SMTP", b"EHLO x\r\n\r\n"
    yield "bare returns", f"POST {path} HTTP/1.1\rHost: g\rContent-Length: 3\r\rabc".encode()
    for name, line in {
        "NUL": "X: a\0b",
        "no colon": "nonsense",
        "odd name": "X(y): 1",
        "folded": "X: a\r\n b",
        "long": "X: " + "a" * 100_000,
    }.items():
        yield f"header {name}", head("POST", path, line, "Content-Length: 0")
    yield "5,000 headers", head("POST", path, *(f"X-{number}: a" for number in range(5000)), "Content-Length: 0")
    yield "long path", head("GET", "/" + "a" * 60_000)
    yield "long method", b"A" * 30_000 + b" / HTTP/1.1\r\nHost: g\r\n\r\n"
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "CONNECT", "BREW"):
        yield f"{method} info", head(method, path)
        yield f"{method} ping", head(method, ping) if method != "GET" else head("POST", ping, "Content-Length: 0")
    yield "certs with a body without end", head("POST", f"{BASE}/certs", "Content-Length: 1099511627776")


def list_paths(device_id: str) -> Iterator[tuple[str, bytes]]:
    own = f"{BASE}/id/{device_id}"
    found = (
        *("/", "//", BASE, f"{BASE}/ping/", f"{BASE}//ping", f"{BASE}/./ping", f"{BASE}/../edgedevice/ping"),
        *(f"{BASE}/%70ing", f"{BASE}/ping%00", f"{BASE}/ping;x", f"{BASE}/\u202eping".encode().decode("latin-1")),
        *(f"{own}/../{device_id}/info", f"{own}/info/", f"{own}//info", f"{own}%00/info", f"{own}/nothing"),
        *(f"{BASE}/id/%2e%2e/info", f"{BASE}/id/../../../../etc/passwd", f"{BASE}/id/{'a' * 3000}/info"),
        *(f"{BASE}/id/{{{device_id}}}/info", f"{BASE}/id/{device_id.replace('-', '')}/info", f"{BASE}/id/'--/info"),
        *(f"{own}/apps/instanceid/../../newlogs", f"{own}/apps/instanceid/x/newlogs", f"{own}/ext/eaves/..%2f"),
        *(f"{own}/compound-config", f"{own}/connection/tunnel", f"{own}/ext/eaves/notify"),
        *("/api/v1/edgedevice/register", "/admin/device", "/metrics", "/apis", "/healthz"),
    )
    for path in found:
        yield f"path {path[:80]}", post(path, b"x")
    for path in (f"{own}/info", f"{BASE}/ping", "/nothing", f"{BASE}/id/x/ext/eaves/notify"):
        yield f"WebSocket at {path}", head("GET", path, *UPGRADE)
    notify = f"{own}/ext/eaves/notify"
    yield "WebSocket by POST", head("POST", notify, *UPGRADE, "Content-Length: 0")
    yield "WebSocket with a bad key", head("GET", notify, *UPGRADE[:3], "Sec-WebSocket-Key: x")
    yield "WebSocket of an old version", head("GET", notify, *UPGRADE[:2], "Sec-WebSocket-Version: 7", UPGRADE[3])
    yield "upgrade to HTTP/2", head("GET", f"{own}/info", "Connection: Upgrade", "Upgrade: h2c")


def list_envelopes(device: Device, other: Device) -> Iterator[tuple[str, bytes]]:
    path = paths.render_path(Endpoint.INFO, device.id)
    good = device.signer.seal(device.info().SerializeToString())
    bodies = {
        "empty": b"",
        "JSON": b'{"protectedPayload":{}}',
        "compressed": gzip.compress(good),
        "nested groups": b"\x0b" * 5000 + b"\x0c" * 5000,
        "nested messages": nest_messages(2000),
        "length that lies": b"\x0a\xff\xff\xff\xff\x07abc",
        "length of 63 bits": b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7fabc",
        "number without end": b"\x10" + b"\xff" * 20,
        "field 0": b"\x02\x01a",
        "unknown wire type": b"\x0f",
        "message of another device": other.signer.seal(other.info().SerializeToString()),
        "message about another device": device.signer.seal(other.info().SerializeToString()),
        "text that is not UTF-8": device.signer.seal(b"\x12\x02\xff\xfe"),
        "payload of nested messages": device.signer.seal(nest_messages(2000)),
    }
    for size in (0, 1, 15, 17, 31, 33, 1000):
        bodies[f"sender hash of {size} bytes"] = change_envelope(
            good, {"senderCertHash": (device.signer.cert_hash * 40)[:size]}
        )
    for number in (0, 1, 3, 255, -1):
        bodies[f"algorithm {number}"] = change_envelope(good, {"algo": number})
    for size in (0, 1, 32, 63, 64, 65, 96, 5000):
        bodies[f"signature of {size} bytes"] = change_envelope(good, {"signatureHash": bytes(size)})
    bodies["sender swapped"] = change_envelope(good, {"senderCertHash": other.signer.cert_hash})
    for name, body in bodies.items():
        yield f"envelope: {name}", post(path, body)
    logs = paths.render_path(Endpoint.NEWLOGS, device.id)
    for name, content in {
        "no gzip": b"hello",
        "bomb": logfile.encode_gzip(bytes(64 << 20), 1),
        "millions of lines": logfile.encode_gzip(b"{}\n" * 2_000_000, 1),
        "cut off": logfile.encode_gzip(bytes(1000), 1)[:-9],
        "wrong checksum": logfile.encode_gzip(bytes(1000), 1)[:-8] + bytes(8),
        "two members": logfile.encode_gzip(b"x\n", 1) * 2,
        "odd flags": b"\x1f\x8b\x08\xff" + bytes(20),
    }.items():
        yield f"log file: {name}", post(logs, device.signer.seal(content))


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with start_gateway(tmp_path) as gateway:
        yield gateway


async def ask(gateway: RunningGateway, request: bytes) -> str:
    """The status of the first answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, ssl=gateway.context)
    try:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            writer.write(request)
            return (await reader.readline()).decode("latin-1").split(" ")[1]
    finally:
        writer.transport.abort()


async def test_each_is_refused_at_once_and_leaves_nothing_behind(
    gateway: RunningGateway, capfd: pytest.CaptureFixture[str]
) -> None:
    device, other = gateway.device(serial="A1"), gateway.device(serial="B2")
    for one in (device, other):
        await one.onboard(gateway.root_pem)
        assert isinstance(one.transport, TlsTransport)
        await one.transport.close()
    path = paths.render_path(Endpoint.INFO, device.id)
    requests = [
        *list_framings(path),
        *list_heads(path),
        *list_paths(device.id),
        *list_envelopes(device, other),
    ]
    assert len(requests) > 120
    before = gateway.resident_bytes()
    gate = asyncio.Semaphore(PARALLEL)

    async def status_of(request: bytes) -> str:
        async with gate:
            return await ask(gateway, request)

    answers = await asyncio.gather(*(status_of(request) for _, request in requests))
    names = [name for name, _ in requests]
    assert {name: status for name, status in zip(names, answers, strict=True) if not status.startswith("4")} == {}
    assert gateway.resident_bytes() - before < GROWTH_BYTES
    assert (await device.poll()).status == 304
    assert isinstance(device.transport, TlsTransport)
    await device.transport.close()
    assert "Traceback" not in capfd.readouterr().err
