"""The tunnel's protocol, without any I/O: how a node dials back for one stream, how both sides prove who they are, and what travels.

A stream is one WebSocket, opened by the node when the notify channel says :attr:`~eaves.wire.notify.Notice.stream`. In order:

1. node → controller: WebSocket to ``/api/v2/edgedevice/id/{uuid}/ext/eaves/streams/{id}``; the id was drawn for this stream alone
2. controller → node, text: ``{"challenge": "<base64 of 32 random bytes>"}``
3. node → controller, binary: AuthContainer signed by the device key over :func:`want_proof`: challenge, stream id, a fresh X25519 key
4. controller → node, binary: AuthContainer signed by the controller's signing key over :func:`encode_opening`: stream id, device, the
   node's fresh key, one of its own, and the request
5. both ways, binary: frames of a :class:`Session`, encrypted by the key that the two fresh ones agree on. The node's first frame
   accepts or refuses; data, an end of data each way, and the close with its cause follow.

So whoever ends TLS in between can neither open a stream, nor change the request, nor read or change what travels; all it can do is cut,
and a stream that ends without a close frame is known as cut. A WebSocket message is one frame; flow control is the socket's.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any, NewType, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

from eaves.kit.errors import EavesError

StreamId = NewType("StreamId", str)
"""43 characters of base64url: 32 random bytes, good for one stream."""

ID_BYTES = 32
CHALLENGE_BYTES = 32
KEY_BYTES = 32
DATA_LIMIT_BYTES = 64 << 10
"""Of the data in one frame; what is longer travels as several."""
FRAME_LIMIT_BYTES = DATA_LIMIT_BYTES + 17
"""Of a WebSocket message: kind, data, tag. Neither side accepts a longer one."""
REQUEST_LIMIT_BYTES = 48 << 10
"""Of the request as JSON, so that it fits into one message with its signature."""
PROOF_LIMIT_BYTES = 4096
NODE_STREAMS = 256
"""Streams of one node at the same time."""
OPEN_TIMEOUT_S = 10.0
"""From the wish for a stream to the end of the handshake with the node that dialled back."""
CONNECT_TIMEOUT_S = 40.0
"""In which a node reaches a port of an app. While a program takes connections slower than they come, its kernel drops new ones without a
word (listen(2)), and the kernel of who connects tries again: after 1, 3, 7, 15 and 31 s, or since Linux 6.5 after 1, 2, 3, 4, 5, 7, 11, 19
and 35 s (tcp_syn_linear_timeouts). A kubelet's runtime waits until the kernel gives up, two minutes (containerd's portForward dials without
a limit of its own)."""
ANSWER_TIMEOUT_S = CONNECT_TIMEOUT_S + 10.0
"""From the handshake to the node's acceptance."""
IDLE_TIMEOUT_S = 4 * 3600.0
"""A stream on which nothing travels for so long is closed; as long as a kubelet's ``streamingConnectionIdleTimeout``."""

EXTENSION_PREFIX = "streams/"
"""Below ``ext/eaves/``; the stream's id follows."""

_ID = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_PROOF_PREFIX = b"eaves-tunnel-proof-v1\0"
_OPENING_PREFIX = b"eaves-tunnel-open-v1\0"
_KEYS_INFO = b"eaves-tunnel-keys-v1\0"
_MESSAGE_LIMIT = 1000


class TunnelProtocolError(EavesError):
    """The other side does not keep to the protocol, or is not who it must be; the stream ends."""

    code = "TunnelProtocol"


class StreamKind(StrEnum):
    """What a stream is for; each has a handler on the node."""

    EXEC = "exec"
    ATTACH = "attach"
    PORT_FORWARD = "portforward"
    LOGS = "logs"
    CONSOLE = "console"
    VNC = "vnc"
    EXPORT = "export"
    HTTP = "http"


class StreamRequest(Struct, frozen=True):
    """What the node shall connect the stream to. ``parameters`` is what the kind's handler takes, as JSON types."""

    kind: str
    parameters: Mapping[str, Any] = {}


class CloseCode(StrEnum):
    """Why a stream ended."""

    DONE = "Done"
    GONE = "Gone"
    """The one who used it went away."""
    IDLE = "Idle"
    STOPPING = "Stopping"
    """A daemon stops, or the node is no longer part of the fleet."""
    FAILED = "Failed"
    CUT = "Cut"
    """The connection ended without a word."""


class CloseCause(Struct, frozen=True):
    """The end of a stream, for programs and for people."""

    code: CloseCode
    message: str = ""

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else str(self.code)


DONE = CloseCause(CloseCode.DONE)


class RefusalCode(StrEnum):
    """Why a node does not open a stream."""

    NOT_FOUND = "NotFound"
    """No such workload, container or cluster on the node."""
    NOT_RUNNING = "NotRunning"
    INVALID = "Invalid"
    """The parameters cannot be right."""
    UNSUPPORTED = "Unsupported"
    """This node, or this kind of workload, has no such stream."""
    TOO_MANY = "TooMany"
    FAILED = "Failed"


class Refusal(Struct, frozen=True):
    """The node's answer to a request that it does not serve; ``message`` is for people."""

    code: RefusalCode
    message: str


class Opening(Struct, frozen=True):
    """The controller's signed word. Bytes are base64 in JSON."""

    stream: StreamId
    device: str
    node_key: bytes
    controller_key: bytes
    request: StreamRequest


class FrameKind(IntEnum):
    """The first byte of a frame; it is authenticated with the rest."""

    DATA = 0
    END = 1
    """No more data from this side; the other way stays open."""
    CLOSE = 2
    ACCEPT = 3
    REFUSE = 4


class Frame(Struct, frozen=True):
    """A decrypted frame."""

    kind: FrameKind
    data: bytes


def encode_stream_id(raw: bytes) -> StreamId:
    """The id for 32 random bytes."""
    return StreamId(base64.urlsafe_b64encode(raw).rstrip(b"=").decode())


def parse_stream_id(text: str) -> StreamId:
    """Raises TunnelProtocolError for what is no stream id."""
    if _ID.fullmatch(text) is None:
        raise TunnelProtocolError("not a stream id")
    return StreamId(text)


def encode_challenge(challenge: bytes) -> str:
    return msgspec.json.encode({"challenge": base64.b64encode(challenge).decode()}).decode()


def parse_challenge(text: str | bytes) -> bytes:
    """Raises TunnelProtocolError when it is not as in step 2."""
    try:
        challenge = base64.b64decode(msgspec.json.decode(text, type=dict[str, str])["challenge"], validate=True)
    except (msgspec.MsgspecError, KeyError, binascii.Error, ValueError) as error:
        raise TunnelProtocolError("the first message is no challenge") from error
    if len(challenge) != CHALLENGE_BYTES:
        raise TunnelProtocolError(f"challenge of {len(challenge)} bytes, {CHALLENGE_BYTES} are due")
    return challenge


def want_proof(challenge: bytes, stream: StreamId, node_key: bytes) -> bytes:
    """The payload of the node's proof. The prefix keeps it from being good for any other call."""
    return _PROOF_PREFIX + challenge + _raw_id(stream) + node_key


def parse_proof(payload: bytes, challenge: bytes, stream: StreamId) -> bytes:
    """The node's fresh key. Raises TunnelProtocolError when the proof is for another challenge or stream."""
    start = want_proof(challenge, stream, b"")
    if not payload.startswith(start) or len(payload) != len(start) + KEY_BYTES:
        raise TunnelProtocolError("the proof is not for this challenge and stream")
    return payload[len(start) :]


def check_request(request: StreamRequest) -> None:
    """Raises TunnelProtocolError for a request that is too long to be sent."""
    size = len(msgspec.json.encode(request))
    if size > REQUEST_LIMIT_BYTES:
        raise TunnelProtocolError(f"the request is {size} bytes long, at most {REQUEST_LIMIT_BYTES} are allowed")


def encode_opening(opening: Opening) -> bytes:
    """The payload that the controller signs."""
    return _OPENING_PREFIX + msgspec.json.encode(opening)


def parse_opening(payload: bytes, stream: StreamId, device: str, node_key: bytes) -> Opening:
    """The controller's word, which must be about this stream of this device. ``payload`` has been verified.

    Raises TunnelProtocolError.
    """
    if not payload.startswith(_OPENING_PREFIX):
        raise TunnelProtocolError("the controller signed something else than the opening of a stream")
    try:
        opening = msgspec.json.decode(payload[len(_OPENING_PREFIX) :], type=Opening)
    except msgspec.MsgspecError as error:
        raise TunnelProtocolError(f"the opening cannot be read: {error}") from error
    if (opening.stream, opening.device, opening.node_key) != (stream, device, node_key):
        raise TunnelProtocolError("the opening is for another stream")
    return opening


_T = TypeVar("_T")


def parse_parameters(request: StreamRequest, shape: type[_T]) -> _T:
    """The request's parameters as the handler's own type. Raises TunnelProtocolError."""
    try:
        return msgspec.convert(dict(request.parameters), shape)
    except msgspec.ValidationError as error:
        raise TunnelProtocolError(f"parameters of {request.kind[:64]!r} cannot be used: {error}") from error


class FreshKey:
    """An X25519 key for one stream."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()
        self.public: bytes = self._private.public_key().public_bytes_raw()

    def agree(self, peer: bytes) -> bytes:
        """Raises TunnelProtocolError for a key that agrees on nothing."""
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(peer))
        except ValueError as error:
            raise TunnelProtocolError("the other side's key cannot be used") from error


class Session:
    """The encrypted frames of one stream, seen from one side. Sealed frames must be sent in the order of their making."""

    def __init__(self, send_key: bytes, receive_key: bytes) -> None:
        self._sealing = AESGCM(send_key)
        self._opening = AESGCM(receive_key)
        self._sent = 0
        self._received = 0

    @classmethod
    def of_controller(cls, key: FreshKey, node_key: bytes, challenge: bytes, stream: StreamId) -> Session:
        to_node, to_controller = _derive_keys(key.agree(node_key), challenge, stream, key.public, node_key)
        return cls(to_node, to_controller)

    @classmethod
    def of_node(cls, key: FreshKey, controller_key: bytes, challenge: bytes, stream: StreamId) -> Session:
        to_node, to_controller = _derive_keys(key.agree(controller_key), challenge, stream, controller_key, key.public)
        return cls(to_controller, to_node)

    def seal(self, kind: FrameKind, data: bytes | memoryview = b"") -> bytes:
        """The WebSocket message for a frame of at most DATA_LIMIT_BYTES."""
        head = bytes((kind,))
        nonce = self._sent.to_bytes(12, "big")
        self._sent += 1
        return head + self._sealing.encrypt(nonce, bytes(data), head)

    def open(self, message: bytes) -> Frame:
        """Raises TunnelProtocolError for anything that the other side did not send as its next frame."""
        nonce = self._received.to_bytes(12, "big")
        self._received += 1
        head = message[:1]
        try:
            kind = FrameKind(head[0])
            return Frame(kind, self._opening.decrypt(nonce, message[1:], head))
        except (InvalidTag, ValueError, IndexError) as error:
            raise TunnelProtocolError("a frame was changed, repeated or lost on the way") from error

    def seal_close(self, cause: CloseCause) -> bytes:
        short = CloseCause(cause.code, cause.message[:_MESSAGE_LIMIT])
        return self.seal(FrameKind.CLOSE, msgspec.json.encode(short))

    def seal_refusal(self, refusal: Refusal) -> bytes:
        short = Refusal(refusal.code, refusal.message[:_MESSAGE_LIMIT])
        return self.seal(FrameKind.REFUSE, msgspec.json.encode(short))


def parse_close(data: bytes) -> CloseCause:
    """The cause in a close frame; one that this version does not know is a failure."""
    return _parse_word(data, CloseCause) or CloseCause(CloseCode.FAILED, data[:_MESSAGE_LIMIT].decode(errors="replace"))


def parse_refusal(data: bytes) -> Refusal:
    """The refusal in a frame; one that this version does not know is a failure."""
    return _parse_word(data, Refusal) or Refusal(RefusalCode.FAILED, data[:_MESSAGE_LIMIT].decode(errors="replace"))


def _parse_word(data: bytes, shape: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.MsgspecError:
        return None


def split_data(data: bytes | memoryview) -> list[memoryview]:
    """``data`` in pieces that fit into frames."""
    view = memoryview(data)
    return [view[start : start + DATA_LIMIT_BYTES] for start in range(0, len(view), DATA_LIMIT_BYTES)]


def _derive_keys(shared: bytes, challenge: bytes, stream: StreamId, *publics: bytes) -> tuple[bytes, bytes]:
    """Keys (RFC 5869) of the two directions: to the node, to the controller."""
    info = _KEYS_INFO + b"".join(publics)
    made = HKDF(hashes.SHA256(), 2 * KEY_BYTES, challenge + _raw_id(stream), info).derive(shared)
    return made[:KEY_BYTES], made[KEY_BYTES:]


def _raw_id(stream: StreamId) -> bytes:
    return base64.urlsafe_b64decode(stream + "=")
