"""Interface of what the controller itself must remember: bearer tokens by hash, and settings as blobs by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct


class TokenRecord(Struct, frozen=True):
    """A bearer token. Only the SHA-256 of its text is known."""

    token_hash: bytes
    user: str
    groups: tuple[str, ...]
    expires_at: float | None
    """Unix seconds; None = never."""
    created_at: float
    description: str = ""


class CredentialStore(Protocol):
    async def save_token(self, token: TokenRecord) -> None:
        """Add a token, or replace what is known of it."""
        ...

    async def find_token(self, token_hash: bytes) -> TokenRecord | None:
        """Expired ones too: the caller has the clock."""
        ...

    async def remove_token(self, token_hash: bytes) -> bool: ...

    async def list_tokens(self) -> Sequence[TokenRecord]:
        """In the order of their making."""
        ...


class SettingStore(Protocol):
    async def load_setting(self, name: str) -> bytes | None: ...

    async def save_setting(self, name: str, value: bytes) -> None: ...

    async def want_setting(self, name: str, value: bytes) -> bytes:
        """Save ``value`` unless there is one; answers the one that holds."""
        ...

    async def remove_setting(self, name: str) -> None: ...
