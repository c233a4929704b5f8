"""Runs the node's part of K3s clusters alone: ``python -m eaves.testing.cluster_runner FOLDER NAME``, on a machine of the test's.

Driven by files of ``FOLDER``: ``config.pb`` is an EdgeDevConfig, whose cipher blocks hold their plaintext; ``pins.json`` maps content trees
to files. ``own_binary`` holds the path that a node's settings may give.
``status.json`` is what was observed last, ``log.txt`` what K3s wrote. When ``teardown`` appears, everything is removed and it
ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from pathlib import Path

import msgspec

from eaves.kit import files
from eaves.node.clusters.service import Clusters
from eaves.node.desired.parse import parse_config
from eaves.node.images.model import DiskImage, Part, PartFormat, PartRole
from eaves.node.images.plan import Pin
from eaves.node.instance import Instance
from eaves.node.observed import ClusterStatus, Observations, list_statuses
from eaves.wire.newlog import LogRecord
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig

POLL_S = 0.1

log = logging.getLogger(__name__)


class Runner:
    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._instance = Instance(name, folder / "state", folder / "run")
        self._instance.prepare()
        self._observations = Observations()
        self._pins: dict[str, str] = {}
        self._read = b""
        own = files.load_file(folder / "own_binary") or b""
        self._clusters = Clusters(self._instance, self._observations, find_pin=self._find_pin, own_binary=own.decode())
        self._clusters.note_line = self._note_line

    async def run(self) -> None:
        await self._clusters.open()
        tasks = [asyncio.create_task(run()) for run in (self._clusters.run, self._publish, self._take_config)]
        try:
            while not (self._folder / "teardown").exists() and not any(task.done() for task in tasks):  # noqa: ASYNC110 - files drive it
                await asyncio.sleep(POLL_S)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        await self._clusters.teardown()
        self._write_status()

    async def _take_config(self) -> None:
        while True:
            raw = files.load_file(self._folder / "config.pb")
            if raw is not None and raw != self._read:
                self._read = raw
                self._pins = msgspec.json.decode(files.load_file(self._folder / "pins.json") or b"{}")
                desired = parse_config(EdgeDevConfig.FromString(raw), "hash", lambda block: block.cipherData)
                log.info("config: cluster=%s problems=%s", desired.cluster is not None, desired.problems)
                self._clusters.set_desired(desired)
            await asyncio.sleep(POLL_S)

    async def _publish(self) -> None:
        version = -1
        while True:
            self._write_status()
            version = await self._observations.changed(version)

    def _write_status(self) -> None:
        statuses = list_statuses(self._observations, ClusterStatus)
        files.save_file(self._folder / "status.json", msgspec.json.encode(statuses))

    def _find_pin(self, image_id: str) -> Pin | None:
        path = self._pins.get(image_id, "")
        if not path:
            return None
        part = Part(PartRole.ROOT, path, PartFormat.RAW, 1)
        return Pin(0, Path(path).name, f"sha256:{image_id}", disk=DiskImage((part,)))

    def _note_line(self, record: LogRecord) -> None:
        with (self._folder / "log.txt").open("a") as file:
            file.write(f"{record.severity} {record.content}\n")


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Runner(Path(sys.argv[1]), sys.argv[2]).run())


if __name__ == "__main__":
    main()
