"""Polls the device config; the one door by which orders come in.

The poller owns hash, checkpoint and rhythm. What a config means is the business of its ``apply`` callback; a poll happens at random
intervals, or at once when the notify channel or anyone else calls :meth:`ConfigPoller.wake`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from eaves.node.desired.parse import parse_maintenance, parse_timestamp_ns
from eaves.node.link import pace
from eaves.node.link.attestation import Attestation
from eaves.node.link.calls import LINK_ERRORS, Controller, Reply, parse_payload
from eaves.node.link.checkpoint import Checkpoint
from eaves.node.link.onboarding import Onboarding
from eaves.wire.paths import Endpoint
from eaves.wire.pb.config.devconfig_pb2 import ConfigRequest, ConfigResponse, EdgeDevConfig

log = logging.getLogger(__name__)

FIRST_WAIT_S = 15.0
"""A first poll without a token would be refused, so attestation gets this much time."""

_DOUBTFUL = (400, 401, 404)
"""The controller may not know this device, or by another UUID. It may as well have no config yet: asking costs one call in ten minutes."""

Apply = Callable[[EdgeDevConfig, str], Awaitable[None]]
"""Acts on a config and its hash; collects problems instead of raising."""


class ConfigPoller:
    """Fetches, checks, saves and hands on configs."""

    def __init__(
        self,
        controller: Controller,
        attestation: Attestation,
        onboarding: Onboarding,
        checkpoint: Checkpoint,
        apply: Apply,
    ) -> None:
        self._controller = controller
        self._attestation = attestation
        self._onboarding = onboarding
        self._checkpoint = checkpoint
        self._apply = apply
        self._wake = asyncio.Event()
        self._hash = ""
        self._timestamp_ns = 0
        self.interval_s = 60.0
        self.applied_hash = ""
        """Of the config in force, also when it came from the checkpoint."""
        self.received_ns = 0
        """When the controller made the newest config that was taken, by its own word, else when it came; 0 = there is none."""
        self.processed_ns = 0
        """The same of the config in force."""
        self.applied_at = 0.0
        self.problem = ""
        """Why the last config was not taken, for people."""

    def wake(self) -> None:
        """Poll at once."""
        self._wake.set()

    def note_certificates(self) -> None:
        """The controller signs with another certificate: fetch the config anew, even if it is unchanged.

        The saved config must be signed by a certificate that is still known after the next rotation.
        """
        self._hash = ""

    async def load(self) -> bool:
        """Apply the saved config, whatever the clock says and whether or not the controller is there; true when there was one."""
        saved = await self._checkpoint.load()
        if saved is None:
            return False
        self._timestamp_ns = parse_timestamp_ns(saved.config)
        await self._take(saved.config, saved.configHash)
        log.info("saved config applied: hash=%s", saved.configHash)
        return True

    async def run(self) -> None:
        """Poll for ever."""
        await self._attestation.wait_tried(FIRST_WAIT_S)
        while True:
            try:
                await self.poll()
            except LINK_ERRORS as error:
                log.warning("config poll failed: error=%s details=%s", error, error.details)
            await pace.sleep_or_wake(pace.pick_delay_s(self.interval_s), self._wake)

    async def poll(self) -> None:
        """Ask once and act on the answer. Raises LinkError or WireError."""
        request = ConfigRequest(configHash=self._hash, integrity_token=self._attestation.token)
        reply = await self._controller.post(Endpoint.CONFIG, request.SerializeToString())
        if reply.status == 304:
            return
        if reply.is_success:
            await self._receive(reply)
        else:
            await self._react(reply.status)

    async def _react(self, status: int) -> None:
        log.info("no config: status=%d", status)
        if status == 403 and self._attestation.has_tried:
            self._attestation.restart()
        elif status in _DOUBTFUL:
            await self._doubt_identity()

    async def _doubt_identity(self) -> None:
        if await self._onboarding.ask_again():
            log.warning("the controller gave this node another UUID")
            self.wake()

    async def _receive(self, reply: Reply) -> None:
        answer = parse_payload(ConfigResponse, reply.payload, "/config")
        if not answer.HasField("config") or (answer.configHash and answer.configHash == self._hash):
            return
        if self._check(answer):
            if answer.config.id.uuid.lower() != self._controller.device_id:
                await self._doubt_identity()
            return
        self._hash = answer.configHash
        is_normal = not parse_maintenance(answer.config)
        try:
            await self._checkpoint.save(reply.body, is_normal=is_normal)
        except OSError as error:
            log.warning("config cannot be saved, it is applied all the same: error=%s", error)
        self._timestamp_ns = parse_timestamp_ns(answer.config)
        await self._take(answer.config, answer.configHash)

    def _check(self, answer: ConfigResponse) -> str:
        """Why this config must not be applied; kept in ``problem``."""
        problem = ""
        device_id = answer.config.id.uuid.lower()
        if not device_id:
            problem = "the config names no device"
        elif device_id != self._controller.device_id:
            problem = f"the config is for device {device_id[:64]}"
        elif 0 < (timestamp_ns := parse_timestamp_ns(answer.config)) < self._timestamp_ns:
            problem = f"the config is {(self._timestamp_ns - timestamp_ns) / 1e9:.0f} s older than the one in force"
        if problem and problem != self.problem:
            log.warning("config refused: problem=%s hash=%s", problem, answer.configHash)
        self.problem = problem
        return problem

    async def _take(self, config: EdgeDevConfig, config_hash: str) -> None:
        self.received_ns = parse_timestamp_ns(config) or time.time_ns()
        await self._apply(config, config_hash)
        self.processed_ns = self.received_ns
        self.applied_hash = config_hash
        self.applied_at = time.time()
