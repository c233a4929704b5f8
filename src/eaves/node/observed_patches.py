"""What the node sees of patch envelopes: how far each is, and how often apps asked for it."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class PatchState(StrEnum):
    """In the order of an envelope's life; only an ACTIVE one is shown to apps."""

    ERROR = "Error"
    RECEIVED = "Received"
    DOWNLOADING = "Downloading"
    DOWNLOADED = "Downloaded"
    READY = "Ready"
    ACTIVE = "Active"


class PatchStatus(Struct, frozen=True):
    id: str
    name: str
    version: str
    state: PatchState
    size_bytes: int = 0
    errors: tuple[str, ...] = ()


class PatchUse(Struct, frozen=True):
    """Counted since the daemon started."""

    patch_id: str
    version: str
    calls: int = 0
    downloads: int = 0
