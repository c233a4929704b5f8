"""Attestation: publish the device's certificates, get a nonce, hand in a quote, receive the token that ``/config`` asks for.

Runs once per boot: the token lives under the run directory. A node without a TPM hands in an empty quote, which controllers take as
"no TPM"; keys of a vault are escrowed only with one, so that step is passed over here. Config polling asks for a fresh start with
:meth:`Attestation.restart` when the controller no longer accepts the token.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from eaves.kit import files
from eaves.node.link.calls import LINK_ERRORS, Controller, check_success, parse_payload
from eaves.node.link.errors import AnswerError
from eaves.wire.paths import Endpoint
from eaves.wire.pb.attest import attest_pb2
from eaves.wire.pb.attest.attest_pb2 import ZAttestQuote, ZAttestReq, ZAttestResponse
from eaves.wire.pb.certs import certs_pb2
from eaves.wire.pb.evecommon import evecommon_pb2

log = logging.getLogger(__name__)

CERT_RETRY_S = 10.0
STEP_RETRY_S = 15.0
NONCE_BYTES = range(12, 33)
_CERT_HASH_BYTES = 16


class AttestationStep(StrEnum):
    """Where the exchange stands; the values are those of ``AttestationState`` without its prefix."""

    NONCE_WAIT = "NONCE_WAIT"
    ATTEST_WAIT = "ATTEST_WAIT"
    RESTART_WAIT = "RESTART_WAIT"
    COMPLETE = "COMPLETE"


class Attestation:
    """Owns the integrity token of this boot."""

    def __init__(self, controller: Controller, token_file: Path, *, version: str, firmware: str = "") -> None:
        self._controller = controller
        self._token_file = token_file
        self._version = version
        self._firmware = firmware
        self._wanted = asyncio.Event()
        self._tried = asyncio.Event()
        self.token = b""
        self.step = AttestationStep.NONCE_WAIT
        self.last_error = ""
        self.changed: Callable[[], None] = lambda: None
        """Called whenever step or error changes."""

    async def load(self) -> None:
        """Take up the token of this boot, if there is one; then nothing is to do until :meth:`restart`."""
        token = await asyncio.to_thread(files.load_file, self._token_file)
        self.token = token or b""
        if self.token:
            self._note(AttestationStep.COMPLETE)
            self._tried.set()
        else:
            self._wanted.set()

    @property
    def has_tried(self) -> bool:
        """Whether a whole attempt was made, with whatever result."""
        return self._tried.is_set()

    async def wait_tried(self, timeout_s: float) -> None:
        """Wait for the first attempt's end, at most ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._tried.wait()
        except TimeoutError:
            log.info("attestation takes its time, going on without")

    def restart(self) -> None:
        """Attest anew: the controller does not take the token."""
        if self.step is AttestationStep.COMPLETE:
            self._note(AttestationStep.RESTART_WAIT)
            self._wanted.set()

    async def run(self) -> None:
        """Attest whenever asked to, for ever."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self._attest()

    async def _attest(self) -> None:
        """Until there is a token."""
        has_published = False
        while True:
            try:
                if not has_published:
                    await self._publish_certificates()
                    has_published = True
                await self._exchange()
            except LINK_ERRORS as error:
                # Published certificates stay published; a controller that lost them says so by its verdict.
                delay_s = STEP_RETRY_S if has_published else CERT_RETRY_S
                has_published = has_published and error.code != "NO_CERT_FOUND"
                self._note(AttestationStep.RESTART_WAIT, str(error))
                self._tried.set()
                log.warning("attestation waits: error=%s retry_s=%.0f", error, delay_s)
                await asyncio.sleep(delay_s)
            else:
                self._note(AttestationStep.COMPLETE)
                self._tried.set()
                log.info("attested")
                return

    async def _publish_certificates(self) -> None:
        pem = self._controller.keys.ecdh_certificate_pem
        request = ZAttestReq(reqType=attest_pb2.ATTEST_REQ_CERT)
        request.certs.add(
            hashAlgo=evecommon_pb2.HASH_ALGORITHM_SHA256_16BYTES,
            certHash=hashlib.sha256(pem).digest()[:_CERT_HASH_BYTES],
            type=certs_pb2.CERT_TYPE_DEVICE_ECDH_EXCHANGE,
            cert=pem,
        )
        await self._post(request, attest_pb2.ATTEST_RESP_CERT)

    async def _exchange(self) -> None:
        self._note(AttestationStep.NONCE_WAIT, self.last_error)
        answer = await self._post(ZAttestReq(reqType=attest_pb2.ATTEST_REQ_NONCE), attest_pb2.ATTEST_RESP_NONCE)
        if len(answer.nonce.nonce) not in NONCE_BYTES:
            raise AnswerError(f"nonce of {len(answer.nonce.nonce)} bytes", element="/attest")
        self._note(AttestationStep.ATTEST_WAIT, self.last_error)
        request = ZAttestReq(reqType=attest_pb2.ATTEST_REQ_QUOTE, quote=self._want_quote())
        verdict = (await self._post(request, attest_pb2.ATTEST_RESP_QUOTE_RESP)).quoteResp
        if verdict.response != attest_pb2.Z_ATTEST_RESPONSE_CODE_SUCCESS:
            name = attest_pb2.ZAttestResponseCode.Name(verdict.response).removeprefix("Z_ATTEST_RESPONSE_CODE_")
            raise AnswerError(f"the controller does not accept the quote: {name}", element="/attest", code=name)
        if not verdict.integrity_token:
            raise AnswerError("the controller gave no integrity token", element="/attest")
        self.token = verdict.integrity_token
        await asyncio.to_thread(self._save, self.token)

    def _want_quote(self) -> ZAttestQuote:
        """Without a TPM there is nothing to quote; the versions are told all the same."""
        quote = ZAttestQuote()
        quote.versions.add(version_type=attest_pb2.ATTEST_VERSION_TYPE_EVE, version=self._version)
        if self._firmware:
            quote.versions.add(version_type=attest_pb2.ATTEST_VERSION_TYPE_FIRMWARE, version=self._firmware)
        return quote

    async def _post(self, request: ZAttestReq, wanted: attest_pb2.ZAttestRespType.ValueType) -> ZAttestResponse:
        reply = await self._controller.post(Endpoint.ATTEST, request.SerializeToString())
        check_success(reply, "/attest")
        answer = parse_payload(ZAttestResponse, reply.payload, "/attest")
        if answer.respType != wanted:
            raise AnswerError(f"answer of type {answer.respType}, {wanted} is due", element="/attest")
        return answer

    def _note(self, step: AttestationStep, error: str = "") -> None:
        if (step, error) != (self.step, self.last_error):
            self.step, self.last_error = step, error
            self.changed()

    def _save(self, token: bytes) -> None:
        try:
            files.save_file(files.want_folder(self._token_file.parent) / self._token_file.name, token)
        except OSError as error:
            log.warning("integrity token cannot be saved, the next start attests again: error=%s", error)
