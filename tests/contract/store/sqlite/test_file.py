"""What is SQLite's own: the file, its lock, its mode, its bound, its damage."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from eaves.store.abc import ObjectStore, Put, Remove
from eaves.store.errors import CorruptError, DiskFullError, SchemaError, StoreUnavailableError
from eaves.store.sqlite.database import DatabaseOptions
from eaves.store.sqlite.objects import SqliteStore
from eaves.testing.stores import key_of, make_document


async def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "main.db")
    await store.commit([Put(key_of("a"), make_document(), 0)])
    assert modes_in(tmp_path) == {"main.db": 0o600, "main.db-shm": 0o600, "main.db-wal": 0o600, "main.db.lock": 0o600}
    await store.close()


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


async def test_a_file_in_use_is_refused_with_the_remedy(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "main.db")
    with pytest.raises(StoreUnavailableError, match="another process") as caught:
        await SqliteStore.open(tmp_path / "main.db")
    assert "stop the other" in caught.value.resolution
    await store.close()
    await (await SqliteStore.open(tmp_path / "main.db")).close()


async def test_a_file_of_a_newer_incompatible_release_is_refused_with_the_remedy(tmp_path: Path) -> None:
    await (await SqliteStore.open(tmp_path / "main.db")).close()
    with sqlite3.connect(tmp_path / "main.db") as connection:
        connection.execute("UPDATE schema_version SET version = 99, compat = 98")
    connection.close()
    with pytest.raises(SchemaError) as caught:
        await SqliteStore.open(tmp_path / "main.db")
    assert "newer" in caught.value.resolution


async def test_a_file_of_a_newer_compatible_release_is_used(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "main.db")
    (created,) = await store.commit([Put(key_of("a"), make_document(), 0)])
    await store.close()
    with sqlite3.connect(tmp_path / "main.db") as connection:
        connection.execute("UPDATE schema_version SET version = 99, compat = 1")
    connection.close()
    store = await SqliteStore.open(tmp_path / "main.db")
    assert await store.get(key_of("a")) == created
    await store.close()


async def test_a_damaged_file_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "main.db").write_bytes(b"this is no database, and longer than a header must be" * 100)
    with pytest.raises(CorruptError) as caught:
        await SqliteStore.open(tmp_path / "main.db")
    assert "backup" in caught.value.resolution


async def fill(store: ObjectStore, prefix: str) -> int:
    """Write until the disk is full; answers how many were acknowledged."""
    acknowledged = 0

    async def write() -> None:
        nonlocal acknowledged
        while acknowledged < 100_000:
            await store.commit([Put(key_of(f"{prefix}{acknowledged:05d}"), make_document("x" * 4000), 0)])
            acknowledged += 1

    with pytest.raises(DiskFullError) as caught:
        await write()
    assert caught.value.retryable
    assert "free space" in caught.value.resolution
    return acknowledged


async def test_at_its_bound_writes_are_refused_reads_go_on_and_removing_makes_room(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "main.db", database_options=DatabaseOptions(max_bytes=1 << 20))
    count = await fill(store, "a")
    assert len((await store.list("apps.eaves.dev")).items) == count
    answers = await asyncio.gather(
        *(store.commit([Put(key_of(f"b{number}"), make_document("x" * 4000), 0)]) for number in range(5)),
        return_exceptions=True,
    )
    assert {type(answer) for answer in answers} == {DiskFullError}
    revision = await store.revision()
    for number in range(10):
        await store.commit([Remove(key_of(f"a{number:05d}"), make_document(), None)])
        await store.compact(await store.revision() - 1)
    (written,) = await store.commit([Put(key_of("c"), make_document("x" * 4000), 0)])
    assert written.revision == revision + 11
    await store.close()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 3 MB of its own."""
    with tempfile.TemporaryDirectory(prefix="eaves-small-disk-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "eaves-small-disk", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


async def test_on_a_full_disk_nothing_acknowledged_is_lost_and_writing_resumes_with_space(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * (1 << 20))
    store = await SqliteStore.open(small_disk / "main.db")
    count = await fill(store, "a")
    assert len((await store.list("apps.eaves.dev")).items) == count
    ballast.unlink()
    (written,) = await store.commit([Put(key_of("later"), make_document("x" * 4000), 0)])
    assert written.revision == count + 1
    more = await fill(store, "b")
    await store.close()
    store = await SqliteStore.open(small_disk / "main.db")
    assert len((await store.list("apps.eaves.dev")).items) == count + 1 + more
    await store.close()


async def test_a_disk_too_full_to_create_the_file_is_a_full_disk(small_disk: Path) -> None:
    subprocess.run(["dd", "if=/dev/zero", f"of={small_disk}/ballast", "bs=4k"], check=False, stderr=subprocess.DEVNULL)  # noqa: ASYNC221
    with pytest.raises(DiskFullError):
        await SqliteStore.open(small_disk / "main.db")
