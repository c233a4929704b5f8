"""Which request gets which answer. Everything here acts for the one app that asks."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from eaves.node.metadata import documents, facts
from eaves.node.metadata.model import Answer, AppDataKind, Caller, Request, World
from eaves.node.metadata.patches import Patches

log = logging.getLogger(__name__)

APP_DATA_LIMIT_BYTES = 32 << 10
_NO_CONTENT = Answer(204)


class Deeds(Protocol):
    """What an app can have done on its behalf."""

    def note_app_data(self, app_id: str, kind: AppDataKind, data: bytes) -> None:
        """Report ``data`` to the controller; the newest of each kind counts."""

    async def seal_payload(self, payload: bytes) -> bytes | None:
        """The signed envelope around ``payload``; None while the device's key is out of reach."""


Handler = Callable[[Caller, Request], Awaitable[Answer]]


class Routes:
    """Answers requests over the newest :class:`World`."""

    def __init__(self, deeds: Deeds, patches: Patches) -> None:
        self.world = World()
        self.patches = patches
        self._deeds = deeds
        self._host_metrics = facts.HostMetrics()
        self._get: dict[str, Handler] = {
            "/eve/v1/network.json": self._network,
            "/eve/v1/external_ipv4": self._external,
            "/eve/v1/hostname": self._hostname,
            "/eve/v1/location.json": self._nothing,
            "/eve/v1/wwan/status.json": self._nothing,
            "/eve/v1/wwan/metrics.json": self._nothing,
            "/eve/v1/diag": self._diag,
            "/eve/v1/discover-network.json": self._discover,
            "/eve/v1/networks/metrics.json": self._interfaces,
            "/eve/v1/app/info.json": self._app_info,
            "/eve/v1/patch/description.json": self._patches,
            "/metrics": self._metrics,
        }
        self._post: dict[str, Handler] = {
            "/eve/v1/kubeconfig": self._kubeconfig,
            "/eve/v1/app/appCustomStatus": self._custom_status,
            "/eve/v1/tpm/signer": self._sign,
        }

    async def answer(self, caller: Caller, request: Request) -> Answer:
        """Raises nothing that a request can cause."""
        path = request.path.rstrip("/") or "/"
        known = {"GET": self._get, "HEAD": self._get, "POST": self._post}.get(request.method, {})
        if (handler := known.get(path)) is not None:
            return await handler(caller, request)
        if path in self._get or path in self._post:
            allowed = "GET" if path in self._get else "POST"
            refusal = documents.want_error(405, f"use {allowed}")
            return Answer(refusal.status, refusal.body, refusal.media_type, headers=(("allow", allowed),))
        if request.method in ("GET", "HEAD"):
            return await self._get_below(caller, path)
        return documents.want_error(404, f"there is no {path[:256]}")

    async def _get_below(self, caller: Caller, path: str) -> Answer:
        parts = path.strip("/").split("/")
        if parts[:4] == ["eve", "v1", "patch", "download"] and len(parts) in (5, 6):
            return await self.patches.download(caller.app.id, parts[4], parts[5] if len(parts) == 6 else "")
        if parts[0] == "openstack" and len(parts) <= 3:
            return documents.want_openstack(caller.app, parts[-1])
        return documents.want_error(404, f"there is no {path[:256]}")

    async def _network(self, caller: Caller, _: Request) -> Answer:
        return documents.want_network(caller, self.world, await facts.find_external(caller.bridge))

    async def _external(self, caller: Caller, _: Request) -> Answer:
        address = await facts.find_external(caller.bridge)
        return documents.want_text(f"{address}\n") if address else _NO_CONTENT

    async def _hostname(self, caller: Caller, _: Request) -> Answer:
        return documents.want_text(f"{caller.app.id}\n")

    async def _nothing(self, _: Caller, __: Request) -> Answer:
        """For what this node does not know: where it is, and cellular modems."""
        return _NO_CONTENT

    async def _diag(self, caller: Caller, _: Request) -> Answer:
        return documents.want_diag(caller, self.world)

    async def _discover(self, caller: Caller, _: Request) -> Answer:
        return documents.want_peers(caller, self.world)

    async def _interfaces(self, caller: Caller, _: Request) -> Answer:
        return documents.want_interface_metrics(await facts.load_interfaces(caller.app.id, self.world.layout))

    async def _app_info(self, caller: Caller, _: Request) -> Answer:
        return documents.want_app(caller, self.world)

    async def _patches(self, caller: Caller, _: Request) -> Answer:
        return await self.patches.describe(caller.app.id)

    async def _metrics(self, _: Caller, __: Request) -> Answer:
        text = await self._host_metrics.render()
        if text is None:
            refusal = documents.want_error(429, "once a second, for all apps together")
            return Answer(refusal.status, refusal.body, refusal.media_type, headers=(("retry-after", "1"),))
        return Answer(200, text.encode(), "text/plain; version=0.0.4")

    async def _kubeconfig(self, caller: Caller, request: Request) -> Answer:
        return self._take_data(caller, request, AppDataKind.KUBECONFIG)

    async def _custom_status(self, caller: Caller, request: Request) -> Answer:
        return self._take_data(caller, request, AppDataKind.CUSTOM_STATUS)

    def _take_data(self, caller: Caller, request: Request, kind: AppDataKind) -> Answer:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return documents.want_error(415, "send application/json")
        if len(request.body) > APP_DATA_LIMIT_BYTES:
            return documents.want_error(413, f"at most {APP_DATA_LIMIT_BYTES} bytes")
        try:
            json.loads(request.body)
        except (ValueError, RecursionError):
            return documents.want_error(400, "the body is no JSON")
        self._deeds.note_app_data(caller.app.id, kind, request.body)
        return Answer(200)

    async def _sign(self, _: Caller, request: Request) -> Answer:
        """EVE signs for every app. What is signed could as well be a message of the device itself, so it is asked for here."""
        if not self.world.is_signing:
            return documents.want_error(
                403, "this node signs nothing for apps; set its property eaves.app.signer to true"
            )
        sealed = await self._deeds.seal_payload(request.body)
        if sealed is None:
            return documents.want_error(503, "the device's key is out of reach now; try again later")
        return Answer(200, sealed, "application/x-proto-binary")
