"""A process killed at any moment loses nothing that it acknowledged."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path

from eaves.store.abc import Change, ChangeType
from eaves.testing.stores import key_of, open_store, take_changes

ROUNDS = 12


async def run_and_kill(engine: str, folder: Path, after_s: float) -> list[tuple[str, int]]:
    """Run the writing process, kill it ``after_s`` after it was ready; answers what it acknowledged."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "eaves.testing.store_writer", engine, str(folder), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        await process.stdout.readline()
        reading = asyncio.create_task(process.stdout.read())
        # The moment of the kill is what is random here; nothing is waited for.
        await asyncio.sleep(after_s)
        process.send_signal(signal.SIGKILL)
        output = (await reading).decode()
        await process.wait()
    whole_lines = output.splitlines()[: output.count("\n")]
    return [(name, int(revision)) for name, revision in (line.split() for line in whole_lines)]


async def test_nothing_acknowledged_is_lost(engine: str, tmp_path: Path) -> None:
    acknowledged: list[tuple[str, int]] = []
    for _ in range(ROUNDS):
        acknowledged += await run_and_kill(engine, tmp_path, random.uniform(0.0, 0.15))
        store = await open_store(engine, tmp_path)
        revision = await store.revision()
        assert revision >= max((abs(number) for _, number in acknowledged), default=0)
        await store.close()
    assert len(acknowledged) > 50
    store = await open_store(engine, tmp_path)
    changes = await take_changes(store.watch("apps.eaves.dev", after=0), await store.revision())
    assert [change.revision for change in changes] == list(range(1, len(changes) + 1))
    for name, number in acknowledged:
        change = changes[abs(number) - 1]
        assert change.object.key.name == name
        assert (change.type is ChangeType.DELETED) == (number < 0)
    for name, latest in _latest_by_name(changes).items():
        current = await store.get(key_of(name))
        assert current == (None if latest.type is ChangeType.DELETED else latest.object)
    await store.close()


def _latest_by_name(changes: list[Change]) -> dict[str, Change]:
    return {change.object.key.name: change for change in changes}
