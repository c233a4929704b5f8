"""Words of the notify channel: how a controller wakes an Eaves node between its polls.

The channel is a WebSocket that the node opens at ``/api/v2/edgedevice/id/{uuid}/ext/eaves/notify``. It carries hints, never
state: a node that loses it, or turns it off, polls and misses nothing but time. What travels, in order:

1. controller → node, text: ``{"challenge": "<base64 of 32 random bytes>"}``
2. node → controller, binary: an AuthContainer signed by the device key whose payload is :func:`want_answer` of the challenge.
   The prefix in it keeps the answer from being good for any other call of the device API.
3. controller → node, text, at once and on each change: ``{"config": "<configHash>"}``, ``{"certs": "<controllercert_confighash>"}``
   and, when somebody reads an app's logs, ``{"logs": {"app": "<uuid>", "seconds": 60}}``, or, when a stream is wanted, its id
   ``{"stream": "<id>"}``, for which the node dials back as :mod:`eaves.wire.tunnel` says, and when it is over ``{"hangup": "<id>"}``

One message is one JSON object; it may hold several of the words. A word that the reader does not know is skipped, so that either
side can be the newer one. The controller's gateway and the node's link are the callers.
"""

from __future__ import annotations

import base64
import binascii

import msgspec
from msgspec import Struct

from eaves.kit.errors import EavesError

CHALLENGE_BYTES = 32
MESSAGE_LIMIT_BYTES = 4096
"""Neither side sends or accepts a longer text message."""
ANSWER_LIMIT_BYTES = 4096
"""Of the node's binary frame: payload, hash and signature need about 200."""
LOGS_LIMIT_S = 3600
"""A wish for logs is cut to this; whoever still reads renews it."""

PATH_SUFFIX = "ext/eaves/notify"
"""Below ``/api/v2/edgedevice/id/{uuid}/``."""

_ANSWER_PREFIX = b"eaves-notify-v1\0"


class MalformedNotifyError(EavesError):
    """A message of the notify channel that cannot be read; the reader closes the channel and polls."""

    code = "MalformedNotify"


class LogsWanted(Struct, frozen=True):
    """Somebody reads the logs of ``app`` (its UUID): upload them each second for the next ``seconds``."""

    app: str
    seconds: int


class Notice(Struct, frozen=True, omit_defaults=True):
    """One text message from the controller; a field that is None was not said."""

    challenge: str | None = None
    config: str | None = None
    """configHash of the config that waits; the node polls when it differs from the one it holds."""
    certs: str | None = None
    """controllercert_confighash; the node fetches ``/certs`` when it differs."""
    logs: LogsWanted | None = None
    stream: str | None = None
    """Id of a stream that the node shall dial back for. What it is for is said there, signed."""
    hangup: str | None = None
    """Id of a stream that the controller has ended, in case that the node does not read it at the moment."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Notice)


def encode_notice(notice: Notice) -> str:
    """The text message for ``notice``."""
    return _encoder.encode(notice).decode()


def parse_notice(text: str | bytes) -> Notice:
    """Read a text message. Raises MalformedNotifyError for anything too long, not JSON or of wrong types."""
    size = len(text.encode(errors="replace")) if isinstance(text, str) else len(text)
    if size > MESSAGE_LIMIT_BYTES:
        raise MalformedNotifyError(f"message of {size} bytes, at most {MESSAGE_LIMIT_BYTES} are allowed")
    try:
        notice = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise MalformedNotifyError(f"message cannot be read: {error}") from error
    if notice.logs is not None:
        return msgspec.structs.replace(notice, logs=_bound_logs(notice.logs))
    return notice


def encode_challenge(challenge: bytes) -> str:
    """The text message that asks the node to prove its key."""
    return encode_notice(Notice(challenge=base64.b64encode(challenge).decode()))


def parse_challenge(text: str | bytes) -> bytes:
    """The challenge in the first message. Raises MalformedNotifyError when it is missing or not of the right length."""
    notice = parse_notice(text)
    if notice.challenge is None:
        raise MalformedNotifyError("the first message holds no challenge")
    try:
        challenge = base64.b64decode(notice.challenge, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedNotifyError(f"challenge is not base64: {error}") from error
    if len(challenge) != CHALLENGE_BYTES:
        raise MalformedNotifyError(f"challenge of {len(challenge)} bytes, {CHALLENGE_BYTES} are due")
    return challenge


def want_answer(challenge: bytes) -> bytes:
    """The payload of the AuthContainer that answers ``challenge``."""
    return _ANSWER_PREFIX + challenge


def _bound_logs(logs: LogsWanted) -> LogsWanted:
    return LogsWanted(logs.app, max(0, min(logs.seconds, LOGS_LIMIT_S)))
