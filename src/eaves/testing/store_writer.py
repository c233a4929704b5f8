"""A process that commits without end and prints each acknowledged revision: for tests that kill it.

``python -m eaves.testing.store_writer ENGINE FOLDER``. A line is ``KEY REVISION`` for a put and ``KEY -REVISION`` for a removal.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from pathlib import Path

from eaves.store.abc import ObjectStore, Put, Remove
from eaves.testing.stores import key_of, make_document, open_store

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


async def main(engine: str, folder: Path) -> None:
    store = await open_store(engine, folder)
    print("ready", 0, flush=True)
    async with asyncio.TaskGroup() as tasks:
        for number in range(WRITERS):
            tasks.create_task(_write(store, number))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
