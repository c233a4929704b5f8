"""Attestation step by step, against scripted answers in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from eaves.node.link.attestation import Attestation, AttestationStep
from eaves.node.link.calls import Reply
from eaves.testing.scripted_controller import ScriptedController
from eaves.wire.paths import Endpoint
from eaves.wire.pb.attest import attest_pb2
from eaves.wire.pb.attest.attest_pb2 import ZAttestReq, ZAttestResponse
from eaves.wire.pb.certs import certs_pb2

pytestmark = pytest.mark.looptime


class Attester:
    """A controller's side with faults to order."""

    def __init__(self) -> None:
        self.nonce = bytes(range(16))
        self.verdicts = [attest_pb2.Z_ATTEST_RESPONSE_CODE_SUCCESS]
        self.token = b"t" * 128
        self.statuses: list[int] = []
        self.steps: list[str] = []
        self.change: Callable[[ZAttestResponse], None] = lambda _: None

    def answer(self, payload: bytes) -> Reply:
        request = ZAttestReq.FromString(payload)
        self.steps.append(attest_pb2.ZAttestReqType.Name(request.reqType).removeprefix("ATTEST_REQ_"))
        if self.statuses:
            return Reply(self.statuses.pop(0))
        answer = ZAttestResponse()
        if request.reqType == attest_pb2.ATTEST_REQ_CERT:
            assert request.certs[0].type == certs_pb2.CERT_TYPE_DEVICE_ECDH_EXCHANGE
            answer.respType = attest_pb2.ATTEST_RESP_CERT
        elif request.reqType == attest_pb2.ATTEST_REQ_NONCE:
            answer.respType = attest_pb2.ATTEST_RESP_NONCE
            answer.nonce.nonce = self.nonce
        else:
            assert not request.quote.attestData
            assert not request.quote.pcr_values
            assert not request.quote.signature
            answer.respType = attest_pb2.ATTEST_RESP_QUOTE_RESP
            answer.quoteResp.response = self.verdicts[0] if len(self.verdicts) == 1 else self.verdicts.pop(0)
            answer.quoteResp.integrity_token = self.token
        self.change(answer)
        return Reply(201, answer.SerializeToString())


class Stage:
    def __init__(self, folder: Path) -> None:
        self.attester = Attester()
        self.controller = ScriptedController(folder)
        self.controller.answers[Endpoint.ATTEST] = self.attester.answer
        self.attestation = Attestation(self.controller, folder / "run" / "integrity_token", version="0.1")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Attestation]:
        await self.attestation.load()
        task = asyncio.create_task(self.attestation.run())
        try:
            yield self.attestation
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_certificate_nonce_quote_token(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.running() as attestation:
        await attestation.wait_tried(60)
        assert attestation.step is AttestationStep.COMPLETE
        assert attestation.token == stage.attester.token
    assert stage.attester.steps == ["CERT", "NONCE", "QUOTE"]


async def test_token_of_this_boot_is_used_again_without_attesting(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.running() as attestation:
        await attestation.wait_tried(60)
    again = Stage(tmp_path)
    async with again.running() as attestation:
        await asyncio.sleep(100)
        assert attestation.token == stage.attester.token
    assert again.attester.steps == []


async def test_refused_token_starts_over(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.running() as attestation:
        await attestation.wait_tried(60)
        attestation.restart()
        attestation.restart()
        await asyncio.sleep(100)
        assert attestation.step is AttestationStep.COMPLETE
    assert stage.attester.steps == ["CERT", "NONCE", "QUOTE"] * 2


async def test_errors_are_retried_after_ten_and_fifteen_seconds(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.attester.statuses = [503, 503]
    async with stage.running() as attestation:
        await asyncio.sleep(5)
        assert attestation.step is AttestationStep.RESTART_WAIT
        assert "503" in attestation.last_error
        await asyncio.sleep(60)
        assert (attestation.step, attestation.last_error) == (AttestationStep.COMPLETE, "")
    times = stage.controller.times(Endpoint.ATTEST)
    assert [round(at) for at in times] == [0, 10, 20, 20, 20]


@pytest.mark.parametrize(
    ("verdict", "again"),
    [
        (attest_pb2.Z_ATTEST_RESPONSE_CODE_QUOTE_FAILED, ["NONCE", "QUOTE"]),
        (attest_pb2.Z_ATTEST_RESPONSE_CODE_NONCE_MISMATCH, ["NONCE", "QUOTE"]),
        (attest_pb2.Z_ATTEST_RESPONSE_CODE_INVALID, ["NONCE", "QUOTE"]),
        (attest_pb2.Z_ATTEST_RESPONSE_CODE_NO_CERT_FOUND, ["CERT", "NONCE", "QUOTE"]),
    ],
)
async def test_refused_quote_starts_over(
    tmp_path: Path, verdict: attest_pb2.ZAttestResponseCode.ValueType, again: list[str]
) -> None:
    stage = Stage(tmp_path)
    stage.attester.verdicts = [verdict, attest_pb2.Z_ATTEST_RESPONSE_CODE_SUCCESS]
    async with stage.running() as attestation:
        await asyncio.sleep(60)
        assert attestation.step is AttestationStep.COMPLETE
    assert stage.attester.steps == ["CERT", "NONCE", "QUOTE", *again]


@pytest.mark.parametrize("nonce", [b"", b"x" * 11, b"x" * 33])
async def test_nonce_of_a_wrong_size_is_not_used(tmp_path: Path, nonce: bytes) -> None:
    stage = Stage(tmp_path)
    stage.attester.nonce = nonce
    async with stage.running() as attestation:
        await asyncio.sleep(5)
        assert attestation.step is AttestationStep.RESTART_WAIT
    assert "QUOTE" not in stage.attester.steps


async def test_success_without_a_token_is_none(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.attester.token = b""
    async with stage.running() as attestation:
        await asyncio.sleep(5)
        assert not attestation.token
        assert "token" in attestation.last_error


async def test_answer_to_another_question_is_none(tmp_path: Path) -> None:
    stage = Stage(tmp_path)

    def confuse(answer: ZAttestResponse) -> None:
        answer.respType = attest_pb2.ATTEST_RESP_NONE

    stage.attester.change = confuse
    async with stage.running() as attestation:
        await asyncio.sleep(1)
        assert attestation.has_tried
        assert attestation.step is AttestationStep.RESTART_WAIT


async def test_waiting_for_the_first_attempt_is_bounded(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    await stage.attestation.wait_tried(3)
    assert asyncio.get_running_loop().time() == pytest.approx(3)
    assert not stage.attestation.has_tried


async def test_changes_are_told(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    seen: list[AttestationStep] = []
    stage.attestation.changed = lambda: seen.append(stage.attestation.step)
    async with stage.running() as attestation:
        await attestation.wait_tried(60)
    assert seen[-1] is AttestationStep.COMPLETE
