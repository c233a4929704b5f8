"""The outcome of a list, between the reader that found it and the form that renders it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from eaves.store.abc import StoredObject


class Listed(Struct, frozen=True):
    """Objects at one revision. ``continuation`` is the token of the next page, ``remaining`` how many come after."""

    items: Sequence[StoredObject]
    revision: int
    continuation: str = ""
    remaining: int | None = None
