"""Keeps what a device says within what an object may hold, whoever controls the device. Every planned update passes here.

Objects are listed, watched and shown in terminals: a text of megabytes or a terminal's control sequence in a status is an attack on those
who look at it. What is cut is told by an ellipsis. Bounding what was bounded changes nothing, so statuses settle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

TEXT_CHARS = 4096
ENTRIES = 512
"""Of a list or map; the inventory of devices on the buses is as long."""
STATUS_CHARS = 256 * 1024

_STEPS = ((TEXT_CHARS, ENTRIES), (512, 256), (64, 64))
"""Characters of a text and entries of a list; the next when the whole is too long by the one before."""

_UNSHOWABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and line feed, what turns the direction of writing, lone surrogates."""


def bound_text(text: str, limit_chars: int = TEXT_CHARS) -> str:
    """The text with replacement characters for what no terminal should get, cut where it is too long."""
    if len(text) > limit_chars:
        text = text[: limit_chars - 1] + "…"
    return text if text.isprintable() else _UNSHOWABLE.sub("\ufffd", text)


def bound_status(status: Mapping[str, Any]) -> dict[str, Any]:
    """A status that an object may have."""
    bounded: dict[str, Any] = {}
    for text_chars, entries in _STEPS:
        bounded = _bound(status, text_chars, entries)
        if _count_chars(bounded) <= STATUS_CHARS:
            break
    return bounded


def _bound(value: Any, text_chars: int, entries: int) -> Any:
    if isinstance(value, str):
        # A plain text, which keeps members of enums out of what is stored and compared.
        return bound_text(str(value), text_chars)
    if isinstance(value, Mapping):
        kept = list(value.items())[:entries]
        return {bound_text(key, text_chars): _bound(entry, text_chars, entries) for key, entry in kept}
    if isinstance(value, list | tuple):
        return [_bound(entry, text_chars, entries) for entry in value[:entries]]
    return value


def _count_chars(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(key) + _count_chars(entry) for key, entry in value.items())
    if isinstance(value, list):
        return sum(map(_count_chars, value))
    return 8
