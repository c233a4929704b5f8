"""A process that writes without end and prints what was acknowledged: for tests that kill it.

``python -m eaves.testing.store_writer ENGINE FOLDER ROUND``. A line is ``KEY REVISION`` for a put, ``KEY -REVISION`` for a removal,
``log NUMBER`` for a log line and ``info NUMBER`` for an info message about the thing of that number.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from pathlib import Path

from eaves.store.abc import ObjectStore, Put, Remove
from eaves.store.devices import InfoMessage
from eaves.store.telemetry import LogLine
from eaves.testing.stores import Stores, key_of, make_document, open_stores

WRITERS = 8


async def _write(store: ObjectStore, number: int) -> None:
    choice = random.Random()
    for turn in itertools.count():
        name = f"w{number}-{choice.randrange(20)}"
        document = make_document("x" * choice.randrange(3000), labels={"turn": str(turn)})
        exists = await store.get(key_of(name)) is not None
        if exists and choice.random() < 0.3:
            (written,) = await store.commit([Remove(key_of(name), document, None)])
            print(name, -written.revision, flush=True)
        else:
            (written,) = await store.commit([Put(key_of(name), document, None)])
            print(name, written.revision, flush=True)


async def _report(stores: Stores, first: int) -> None:
    for number in itertools.count(first):
        await stores.telemetry.append_logs("dev", "app", [LogLine(number, "info", "s", "text", number)])
        print("log", number, flush=True)
        await stores.devices.save_info(InfoMessage("dev", 1, str(number), 1, b"payload"))
        print("info", number, flush=True)


async def main(engine: str, folder: Path, first: int) -> None:
    stores = await open_stores(engine, folder)
    print("ready", 0, flush=True)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_report(stores, first))
        for number in range(WRITERS):
            tasks.create_task(_write(stores.objects, number))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) * 1_000_000))
