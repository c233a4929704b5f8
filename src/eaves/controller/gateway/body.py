"""Reads request bodies within bounds of size, time and total memory. The gateway's app calls it for every POST.

A declared length is checked before anything is read; a chunked body is cut off at the bound. Most bodies arrive with their
headers and are taken without a timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from eaves.controller.gateway.errors import MalformedError, SlowSenderError, TooLargeError, UnsupportedMediaError
from eaves.controller.gateway.limits import Budget
from eaves.wire import paths

UNREAD_LIMIT_BYTES = 4096
"""Of a body that is passed over: an envelope around nothing."""

_MEDIA_TYPE = paths.CONTENT_TYPE.encode()
_MEDIA_TYPES = (_MEDIA_TYPE, b"application/octet-stream", b"application/x-www-form-urlencoded")
"""The API's own, and what HTTP libraries and curl put in for bytes that nobody told the type of."""

Receive = Callable[[], Awaitable[Any]]


class ClientGoneError(Exception):
    """The client closed the connection; nobody is left to answer."""


async def load_body(
    receive: Receive,
    headers: Iterable[tuple[bytes, bytes]],
    limit_bytes: int,
    timeout_s: float,
    budget: Budget,
    source: str,
) -> bytes:
    """The whole body. What arrived at once is taken; what has to be waited for counts against the budget of ``source``.

    Raises TooLargeError beyond ``limit_bytes``, SlowSenderError when it is not complete within ``timeout_s``, BusyError or
    TooManyError when bodies under way use up the budget, ClientGoneError.
    """
    declared = _declared_bytes(headers)
    if declared is not None and declared > limit_bytes:
        raise TooLargeError(f"body of {declared} bytes, at most {limit_bytes} are allowed here")
    message = await _receive_first(receive, timeout_s)
    if not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > limit_bytes:
            raise TooLargeError(f"body of {len(body)} bytes, at most {limit_bytes} are allowed here")
        return body
    reserved = limit_bytes if declared is None else declared
    budget.reserve(source, reserved)
    try:
        async with asyncio.timeout(timeout_s):
            return await _collect(receive, message.get("body", b""), limit_bytes)
    except TimeoutError:
        raise SlowSenderError(f"body did not arrive within {timeout_s:g} s") from None
    finally:
        budget.release(source, reserved)


def check_media(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raise UnsupportedMediaError for a body that is said to be no envelope, or one that would have to be unpacked first."""
    for name, value in headers:
        if name == b"content-type":
            if value != _MEDIA_TYPE and value.partition(b";")[0].strip().lower() not in _MEDIA_TYPES:
                raise UnsupportedMediaError(f"only {paths.CONTENT_TYPE} is taken here")
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            raise UnsupportedMediaError("bodies are not compressed in this API")


def check_no_body(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """For calls whose body nobody reads. Raises TooLargeError for one of more than a few bytes, or of a length not told."""
    headers = list(headers)
    is_chunked = any(name == b"transfer-encoding" for name, _ in headers)
    if is_chunked or (_declared_bytes(headers) or 0) > UNREAD_LIMIT_BYTES:
        raise TooLargeError("this call has no body")


def _declared_bytes(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    for name, value in headers:
        if name == b"content-length":
            try:
                return int(value)
            except ValueError:
                raise MalformedError("Content-Length is not a number") from None
    return None


async def _receive_first(receive: Receive, timeout_s: float) -> Any:
    """The first part. The timer costs a few microseconds, hence it guards only what is not there yet."""
    try:
        async with asyncio.timeout(timeout_s):
            message = await receive()
    except TimeoutError:
        raise SlowSenderError(f"body did not begin within {timeout_s:g} s") from None
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    return message


async def _collect(receive: Receive, part: bytes, limit_bytes: int) -> bytes:
    parts: list[bytes] = []
    size_bytes, is_more = 0, True
    while True:
        size_bytes += len(part)
        if size_bytes > limit_bytes:
            raise TooLargeError(f"body grows beyond the {limit_bytes} bytes that are allowed here")
        parts.append(part)
        if not is_more:
            return b"".join(parts)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part, is_more = message.get("body", b""), message.get("more_body", False)
