"""Getting a UUID: certificates, register with the onboarding key, ask for the UUID; again and again until it works.

A node with a saved UUID starts with it at once and never registers again, since the UUID is the controller's word. Some
controllers answer a repeated registration with 409 or 500, so neither ends the attempt: the answer of ``/uuid`` alone decides.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable
from pathlib import Path

from eaves.kit import files
from eaves.kit.retry import Backoff
from eaves.node.link.calls import LINK_ERRORS, Controller, check_success, parse_payload
from eaves.node.link.certs import CertificateKeeper
from eaves.node.link.errors import AnswerError, RefusedError
from eaves.wire import certificates
from eaves.wire.envelope import Signer
from eaves.wire.errors import IdentifierError
from eaves.wire.identifiers import DeviceId, parse_device_id
from eaves.wire.paths import Endpoint
from eaves.wire.pb.eveuuid.eveuuid_pb2 import UuidRequest, UuidResponse
from eaves.wire.pb.register.register_pb2 import ZRegisterMsg

log = logging.getLogger(__name__)

FIRST_RETRY_S, LIMIT_RETRY_S = 1.0, 600.0
UUID_PAUSE_S = 600.0
"""A doubted UUID is asked for at most this often."""

_REMEDIES = {
    400: "check that controller and node are of versions that know each other",
    401: "check the clock of this machine and that the onboarding key is the one of the OnboardingKey object",
    403: "the controller does not admit this node: check the OnboardingKey's expiry, uses and serial numbers",
}


class Onboarding:
    """Obtains and keeps the device UUID."""

    def __init__(
        self,
        controller: Controller,
        certs: CertificateKeeper,
        path: Path,
        *,
        load_signer: Callable[[], Signer] | None,
        serial: str,
        soft_serial: str,
    ) -> None:
        self._controller = controller
        self._certs = certs
        self._path = path
        self._load_signer = load_signer
        self._serial = serial
        self._soft_serial = soft_serial
        self._asked_at: float | None = None
        self.waiting_for = ""
        """For people: why there is no UUID yet."""
        self.changed: Callable[[], None] = lambda: None
        """Called after the controller gave another UUID than before."""

    async def load(self) -> DeviceId | None:
        """The saved UUID, which the controller's calls then use."""
        saved = await asyncio.to_thread(files.load_file, self._path)
        if saved is None:
            return None
        try:
            self._controller.device_id = parse_device_id(saved.decode("ascii", "replace").strip())
        except IdentifierError as error:
            log.warning("saved UUID is not used: error=%s", error)
        return self._controller.device_id

    async def obtain(self) -> DeviceId:
        """Return the UUID, waiting for the controller as long as it takes."""
        backoff = Backoff(FIRST_RETRY_S, LIMIT_RETRY_S, jitter=0.1)
        while True:
            try:
                device_id = await self._try()
            except LINK_ERRORS as error:
                self.waiting_for = str(error)
                delay_s = backoff.next_s()
                log.warning(
                    "onboarding waits: error=%s details=%s remedy=%s retry_s=%.0f",
                    error, error.details, error.resolution, delay_s,
                )  # fmt: skip
                await asyncio.sleep(delay_s)
            else:
                self.waiting_for = ""
                return device_id

    async def ask_again(self) -> bool:
        """Ask whether the UUID has changed, at most once in ten minutes; true when it has.

        A controller that does not know this device any more gets it registered anew.
        """
        now = asyncio.get_running_loop().time()
        if self._asked_at is not None and now - self._asked_at < UUID_PAUSE_S:
            return False
        self._asked_at = now
        before = self._controller.device_id
        try:
            try:
                device_id = await self._ask_uuid()
            except RefusedError:
                device_id = await self._try()
        except LINK_ERRORS as error:
            log.warning("UUID cannot be confirmed: error=%s", error)
            return False
        if device_id == before:
            return False
        self.changed()
        return True

    async def _try(self) -> DeviceId:
        await self._certs.want_current()
        if self._load_signer is not None:
            await self._register(await asyncio.to_thread(self._load_signer))
        return await self._ask_uuid()

    async def _register(self, signer: Signer) -> None:
        certificate = certificates.encode_certificate_pem(self._controller.keys.certificate)
        message = ZRegisterMsg(pemCert=base64.b64encode(certificate), serial=self._serial, softSerial=self._soft_serial)
        reply = await self._controller.post(
            Endpoint.REGISTER,
            message.SerializeToString(),
            seal=lambda payload: signer.seal(payload, with_certificate=True),
        )
        if reply.is_success:
            log.info("registered: serial=%s", self._serial)
        else:
            # Also seen for a node that is registered already; /uuid tells.
            self.waiting_for = f"register was answered {reply.status}"
            log.info("register refused, asking for the UUID all the same: status=%d", reply.status)

    async def _ask_uuid(self) -> DeviceId:
        refused = self.waiting_for
        reply = await self._controller.post(Endpoint.UUID, UuidRequest().SerializeToString())
        check_success(reply, "/uuid" if not refused else f"/uuid ({refused})", _REMEDIES.get(reply.status, ""))
        text = parse_payload(UuidResponse, reply.payload, "/uuid").uuid
        try:
            device_id = parse_device_id(text)
        except IdentifierError as error:
            raise AnswerError("the controller gave no UUID", element="/uuid", details=str(error)) from error
        if device_id != self._controller.device_id:
            log.info("this node's UUID: uuid=%s", device_id)
            await asyncio.to_thread(self._save, device_id)
            self._controller.device_id = device_id
        return device_id

    def _save(self, device_id: DeviceId) -> None:
        try:
            files.save_file(files.want_folder(self._path.parent) / self._path.name, f"{device_id}\n".encode())
        except OSError as error:
            log.warning("UUID cannot be saved, it will be asked for again at the next start: error=%s", error)
