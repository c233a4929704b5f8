"""A process killed at any moment loses nothing that it acknowledged."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path

from eaves.store.abc import ChangeType
from eaves.store.telemetry import LogSource
from eaves.testing.stores import Stores, key_of, open_stores, take_changes

ROUNDS = 12


async def run_and_kill(engine: str, folder: Path, round_: int, after_s: float) -> list[tuple[str, int]]:
    """Run the writing process, kill it ``after_s`` after it was ready; answers what it acknowledged."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "eaves.testing.store_writer",
        engine,
        str(folder),
        str(round_),
        stdout=asyncio.subprocess.PIPE,
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
    for round_ in range(ROUNDS):
        acknowledged += await run_and_kill(engine, tmp_path, round_, random.uniform(0.0, 0.15))
        stores = await open_stores(engine, tmp_path)
        await check_objects(stores, [entry for entry in acknowledged if entry[0].startswith("w")])
        await check_reports(stores, acknowledged)
        await stores.close()
    assert {name[0] for name, _ in acknowledged} == {"w", "l", "i"}


async def check_objects(stores: Stores, acknowledged: list[tuple[str, int]]) -> None:
    revision = await stores.objects.revision()
    changes = await take_changes(stores.objects.watch("apps.eaves.dev", after=0), revision)
    assert [change.revision for change in changes] == list(range(1, revision + 1))
    for name, number in acknowledged:
        change = changes[abs(number) - 1]
        assert change.object.key.name == name
        assert (change.type is ChangeType.DELETED) == (number < 0)
    for name, latest in {change.object.key.name: change for change in changes}.items():
        current = await stores.objects.get(key_of(name))
        assert current == (None if latest.type is ChangeType.DELETED else latest.object)


async def check_reports(stores: Stores, acknowledged: list[tuple[str, int]]) -> None:
    page = await stores.telemetry.read_logs(LogSource("dev", "app"), limit_lines=1_000_000, limit_bytes=1 << 30)
    assert {number for name, number in acknowledged if name == "log"} <= {line.number for line in page.lines}
    pending = await stores.devices.pending(1_000_000)
    things = {int(entry.message.object_id) for entry in pending}
    assert {number for name, number in acknowledged if name == "info"} <= things
