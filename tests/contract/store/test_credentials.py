"""Bearer tokens by hash and settings by name."""

from __future__ import annotations

import asyncio
from pathlib import Path

from eaves.store.credentials import TokenRecord
from eaves.testing.stores import Stores, open_stores

TOKEN = TokenRecord(b"h" * 32, "admin", ("system:masters", "x"), None, 1.5, "first")


async def test_tokens_are_found_by_hash_until_removed(engine: str, tmp_path: Path) -> None:
    stores = await open_stores(engine, tmp_path)
    other = TokenRecord(b"o" * 32, "guest", (), 99.5, 0.5)
    await stores.tokens.save_token(TOKEN)
    await stores.tokens.save_token(other)
    await stores.close()
    stores = await open_stores(engine, tmp_path)
    assert await stores.tokens.find_token(TOKEN.token_hash) == TOKEN
    assert await stores.tokens.find_token(b"unknown") is None
    assert await stores.tokens.list_tokens() == [other, TOKEN]
    assert await stores.tokens.remove_token(TOKEN.token_hash)
    assert not await stores.tokens.remove_token(TOKEN.token_hash)
    assert await stores.tokens.list_tokens() == [other]
    await stores.close()


async def test_a_setting_is_what_was_saved_last(stores: Stores) -> None:
    assert await stores.settings.load_setting("a") is None
    await stores.settings.save_setting("a", b"1")
    await stores.settings.save_setting("a", b"\x00\xff")
    assert await stores.settings.load_setting("a") == b"\x00\xff"
    await stores.settings.remove_setting("a")
    assert await stores.settings.load_setting("a") is None


async def test_of_several_that_want_a_setting_the_first_decides(stores: Stores) -> None:
    answers = await asyncio.gather(*(stores.settings.want_setting("id", str(n).encode()) for n in range(5)))
    assert set(answers) == {b"0"}
    assert await stores.settings.load_setting("id") == b"0"
