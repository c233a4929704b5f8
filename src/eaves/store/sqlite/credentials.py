"""Tokens and settings on SQLite, in the file of the objects. Promises: :mod:`eaves.store.credentials`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from eaves.store.credentials import TokenRecord
from eaves.store.sqlite.objects import SqliteStore

_SELECT_TOKEN = "SELECT token_hash, user, groups, expires_at, created_at, description FROM tokens"  # noqa: S105

_UPSERT_TOKEN = """
INSERT OR REPLACE INTO tokens (token_hash, user, groups, expires_at, created_at, description) VALUES (?, ?, ?, ?, ?, ?)
"""  # noqa: S105

_decode_groups = msgspec.json.Decoder(tuple[str, ...]).decode


class SqliteCredentials:
    """A CredentialStore and a SettingStore beside the objects of ``store``."""

    def __init__(self, store: SqliteStore) -> None:
        self._database = store.database

    async def save_token(self, token: TokenRecord) -> None:
        groups = msgspec.json.encode(token.groups).decode()
        row = (token.token_hash, token.user, groups, token.expires_at, token.created_at, token.description)
        await self._database.writer.submit(lambda connection: _run(connection, _UPSERT_TOKEN, row))

    async def find_token(self, token_hash: bytes) -> TokenRecord | None:
        rows = self._database.read(_SELECT_TOKEN + " WHERE token_hash = ?", (token_hash,))
        return _decode_token(rows[0]) if rows else None

    async def remove_token(self, token_hash: bytes) -> bool:
        statement = "DELETE FROM tokens WHERE token_hash = ?"
        return await self._database.writer.submit(lambda connection: _run(connection, statement, (token_hash,)) > 0)

    async def list_tokens(self) -> Sequence[TokenRecord]:
        return [_decode_token(row) for row in self._database.read(_SELECT_TOKEN + " ORDER BY created_at, token_hash")]

    async def load_setting(self, name: str) -> bytes | None:
        rows = self._database.read("SELECT value FROM settings WHERE name = ?", (name,))
        return bytes(rows[0][0]) if rows else None

    async def save_setting(self, name: str, value: bytes) -> None:
        statement = "INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)"
        await self._database.writer.submit(lambda connection: _run(connection, statement, (name, value)))

    async def remove_setting(self, name: str) -> None:
        statement = "DELETE FROM settings WHERE name = ?"
        await self._database.writer.submit(lambda connection: _run(connection, statement, (name,)))

    async def want_setting(self, name: str, value: bytes) -> bytes:
        def run(connection: sqlite3.Connection) -> bytes:
            connection.execute("INSERT OR IGNORE INTO settings (name, value) VALUES (?, ?)", (name, value))
            return bytes(connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()[0])

        return await self._database.writer.submit(run)


def _run(connection: sqlite3.Connection, statement: str, parameters: Sequence[Any]) -> int:
    return connection.execute(statement, parameters).rowcount


def _decode_token(row: tuple[Any, ...]) -> TokenRecord:
    token_hash, user, groups, expires_at, created_at, description = row
    return TokenRecord(token_hash, user, _decode_groups(groups), expires_at, created_at, description)
