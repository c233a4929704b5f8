"""Opens a listener on each Local network's bridge and tells who asks. Owned by ``manager``; ``networks`` asks for the ports."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable, Mapping

from eaves.node.desired.model import DesiredNode
from eaves.node.engine import Seal
from eaves.node.metadata.listener import Listener
from eaves.node.metadata.model import Answer, AppDataKind, Caller, Request, World
from eaves.node.metadata.patches import Patches
from eaves.node.metadata.routes import Routes
from eaves.node.networks.model import Layout, WantedBridge
from eaves.node.observed import Observations
from eaves.wire.timers import parse_value

SIGNER_ITEM = "eaves.app.signer"

log = logging.getLogger(__name__)


class MetadataServer:
    """``seal`` is None until the daemon lends its key."""

    def __init__(self, observations: Observations, patches: Patches | None = None) -> None:
        self.seal: Seal | None = None
        self.patches = patches or Patches()
        self._observations = observations
        self._routes = Routes(self, self.patches)
        self._listeners: dict[str, Listener] = {}
        self._callers: dict[tuple[str, str], Caller] = {}

    async def listen(self, bridges: Iterable[WantedBridge]) -> dict[str, int]:
        """Make exactly these bridges be served; answers link → port. A bridge that cannot be is left out and told in the log."""
        wanted = {bridge.link: bridge for bridge in bridges}
        for link in [link for link in self._listeners if link not in wanted]:
            self._listeners.pop(link).close()
        for link, bridge in wanted.items():
            try:
                await self._want_listener(link, bridge)
            except OSError as error:
                log.warning("metadata are not served: bridge=%s error=%s", link, error)
        return {link: listener.port for link, listener in self._listeners.items()}

    async def set_layout(self, desired: DesiredNode, layout: Layout, faults: Mapping[str, str]) -> None:
        """Who is who from now on."""
        apps = {app.id: app for app in desired.apps}
        bridges = {bridge.network_id: bridge for bridge in layout.bridges}
        self._callers = {
            (bridges[vif.network_id].link, vif.address): Caller(apps[vif.app_id], vif, bridges[vif.network_id], "")
            for vif in layout.vifs
            if vif.app_id in apps and vif.network_id in bridges and vif.address
        }
        is_signing, _ = parse_value(SIGNER_ITEM, desired.config_items.get(SIGNER_ITEM, "false"))
        self._routes.world = World(desired, layout, faults, is_signing=bool(is_signing))
        self.patches.set_desired(desired.patches)
        self._observations.note_patches(await asyncio.to_thread(self.patches.statuses))
        self._observations.forget_app_data(apps.keys())

    def close(self) -> None:
        """Stop listening; the next daemon listens anew."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()

    def note_app_data(self, app_id: str, kind: AppDataKind, data: bytes) -> None:
        self._observations.note_app_data(app_id, kind.value, data)

    async def seal_payload(self, payload: bytes) -> bytes | None:
        return await asyncio.to_thread(self.seal, payload) if self.seal is not None else None

    async def _want_listener(self, link: str, bridge: WantedBridge) -> None:
        known = self._listeners.get(link)
        address = bridge.gateway
        if known is not None and (known.ifindex, known.address) == (socket.if_nametoindex(link), address):
            return
        if known is not None:
            self._listeners.pop(link).close()

        def is_known(peer: str) -> bool:
            return (link, peer) in self._callers

        async def respond(peer: str, port: str, request: Request) -> Answer:
            caller = self._callers.get((link, peer))
            if caller is None:  # It left while its connection was open.
                return Answer(404)
            full = Caller(caller.app, caller.vif, caller.bridge, f"{peer}:{port}")
            return await self._routes.answer(full, request)

        self._listeners[link] = await Listener.open(link, address, is_known, respond)
