"""What a config says about patch envelopes, in the node's own words."""

from __future__ import annotations

import hashlib

from msgspec import Struct

from eaves.node.desired.secret import SecretBytes


class PatchFile(Struct, frozen=True):
    """One artifact: its ``content``, or the volume that holds it. Metadata are texts that the app makes sense of."""

    name: str
    content: SecretBytes = SecretBytes(b"")
    volume_id: str = ""
    metadata: str = ""
    artifact_metadata: str = ""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content.reveal()).hexdigest()


class DesiredPatch(Struct, frozen=True):
    """``is_active``: shown to the apps in ``app_ids``; otherwise kept ready. ``errors`` are files that could not be read."""

    id: str
    name: str
    version: str
    is_active: bool
    app_ids: tuple[str, ...] = ()
    files: tuple[PatchFile, ...] = ()
    errors: tuple[str, ...] = ()
