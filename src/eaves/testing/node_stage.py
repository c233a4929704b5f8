"""A node daemon with a pretended engine for tests of the link: settings, folders, start and stop on the same folders."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from eaves.node.bootstrap import Node
from eaves.node.settings import NodeSettings
from eaves.node.status import NotRunningError, Snapshot, fetch_snapshot
from eaves.testing.engine import PretendEngines


class JoinFiles:
    """What a node is given to join: root certificate, onboarding certificate and key, in files."""

    def __init__(self, root: Path, certificate: Path, key: Path) -> None:
        self.root = root
        self.certificate = certificate
        self.key = key


class NodeStage:
    """One machine's node; ``async with stage.node()`` runs its daemon, again and again if need be."""

    def __init__(self, server: str, joined: JoinFiles, folder: Path, *, name: str = "store-17") -> None:
        self.engines = PretendEngines()
        self.settings = NodeSettings(
            server=server,
            root_certificate_file=str(joined.root),
            onboarding_certificate_file=str(joined.certificate),
            onboarding_key_file=str(joined.key),
            trust_system_certificates=False,
            name=name,
            serial="S-1",
            state_dir=str(folder / "state"),
            run_dir=str(folder / "run"),
        )

    @contextlib.asynccontextmanager
    async def node(self) -> AsyncIterator[Node]:
        node = await Node.open(self.settings, open_engine=self.engines.open)
        task = asyncio.create_task(node.run())
        try:
            yield node
        finally:
            node.stop()
            await task

    async def snapshot(self) -> Snapshot:
        """What ``eaves node status`` would show, as soon as the daemon answers."""
        path = Path(self.settings.run_dir) / "node.sock"
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(NotRunningError):
                    return await asyncio.to_thread(fetch_snapshot, path)
                await asyncio.sleep(0.01)
