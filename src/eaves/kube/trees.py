"""Trees of decoded JSON: copies and comparisons that patches, server-side apply and writes need."""

from __future__ import annotations

from typing import Any

import msgspec

_CONTAINERS = (dict, list)
_encoder = msgspec.json.Encoder(order="deterministic")


def copy_tree(value: Any) -> Any:
    """A deep copy of decoded JSON; several times faster than ``copy.deepcopy``."""
    if isinstance(value, dict):
        return {key: copy_tree(item) if isinstance(item, _CONTAINERS) else item for key, item in value.items()}
    if isinstance(value, list):
        return [copy_tree(item) for item in value]
    return value


def is_same(one: Any, other: Any) -> bool:
    """Whether two trees are equal as JSON. Python alone would call ``true`` and ``1`` equal."""
    return bool(one == other) and (one is other or _encoder.encode(one) == _encoder.encode(other))
