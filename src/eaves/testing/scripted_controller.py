"""A controller without a network: answers calls of the link from a script, and notes when each came.

For tests in virtual time, where no real connection can be waited for.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from eaves.node.link.calls import Controller, Reply
from eaves.node.link.client import HttpClient, Server
from eaves.node.link.errors import LinkError
from eaves.node.link.identity import FileKeys
from eaves.node.link.tls import want_context
from eaves.node.link.uplinks import Uplinks
from eaves.wire.identifiers import AppId, DeviceId
from eaves.wire.paths import Endpoint

DEVICE_ID = DeviceId("a0000000-0000-4000-8000-000000000001")

Script = Callable[[bytes], Reply | LinkError]


class Call(Struct, frozen=True):
    """One call; ``at`` is the loop's time."""

    at: float
    endpoint: Endpoint
    payload: bytes
    app_id: str = ""


class ScriptedController(Controller):
    """Answers by ``answers[endpoint]``; 201 without a body where there is none."""

    def __init__(self, folder: Path) -> None:
        keys = FileKeys.open(folder / "keys", datetime.datetime.now(datetime.UTC))
        super().__init__(
            HttpClient(Server("controller.invalid"), want_context(b"", use_system=False)), Uplinks([]), keys
        )
        self.device_id = DEVICE_ID
        self.calls: list[Call] = []
        self.answers: dict[Endpoint, Script] = {}

    def times(self, endpoint: Endpoint) -> list[float]:
        """When ``endpoint`` was called."""
        return [call.at for call in self.calls if call.endpoint is endpoint]

    async def post(
        self,
        endpoint: Endpoint,
        payload: bytes,
        *,
        app_id: AppId | None = None,
        seal: Callable[[bytes], bytes] | None = None,
    ) -> Reply:
        self.calls.append(Call(asyncio.get_running_loop().time(), endpoint, payload, app_id or ""))
        answer = self.answers.get(endpoint, _accept)(payload)
        if isinstance(answer, LinkError):
            raise answer
        return answer


def _accept(_: bytes) -> Reply:
    return Reply(201)
