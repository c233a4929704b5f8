"""Getting a UUID: which answers end the attempt, when it is tried again."""

from __future__ import annotations

import asyncio
import base64
import itertools
from pathlib import Path

import pytest

from eaves.node.link.calls import Reply
from eaves.node.link.certs import CertificateKeeper
from eaves.node.link.errors import DialError
from eaves.node.link.onboarding import UUID_PAUSE_S, Onboarding
from eaves.testing.authority import DAY, Authority, now
from eaves.testing.scripted_controller import ScriptedController
from eaves.wire import certificates
from eaves.wire.envelope import Signer
from eaves.wire.paths import Endpoint
from eaves.wire.pb.eveuuid.eveuuid_pb2 import UuidResponse
from eaves.wire.pb.register.register_pb2 import ZRegisterMsg

GIVEN = "b0000000-0000-4000-8000-000000000007"

pytestmark = pytest.mark.looptime


def uuid_answer(text: str = GIVEN) -> Reply:
    return Reply(200, UuidResponse(uuid=text).SerializeToString())


class Stage:
    def __init__(self, folder: Path, *, with_key: bool = True) -> None:
        authority = Authority()
        key, certificate = authority.issue(certificates.Profile.CLIENT, "onboarding", now(), DAY)
        self.controller = ScriptedController(folder)
        self.controller.device_id = None
        certs = CertificateKeeper(folder, authority.root_pem, self.controller.fetch_certs, now=now)
        certs.fetch = self.fetch  # type: ignore[method-assign]
        self.path = folder / "uuid"
        self.fetches = 0
        self.onboarding = Onboarding(
            self.controller,
            certs,
            self.path,
            load_signer=(lambda: Signer.for_device(key, certificate)) if with_key else None,
            serial="S-1",
            soft_serial="store-17",
        )
        certs.want_current = self.want_current  # type: ignore[method-assign,assignment]

    async def fetch(self, *, unless_within_s: float = 0.0) -> bool:
        return False

    async def want_current(self) -> None:
        self.fetches += 1


async def test_uuid_is_asked_for_right_after_registering_and_kept(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.controller.answers[Endpoint.UUID] = lambda _: uuid_answer()
    assert await stage.onboarding.obtain() == GIVEN
    register, ask = stage.controller.calls
    assert (register.endpoint, ask.endpoint) == (Endpoint.REGISTER, Endpoint.UUID)
    message = ZRegisterMsg.FromString(register.payload)
    assert (message.serial, message.softSerial) == ("S-1", "store-17")
    pem = base64.b64decode(message.pemCert)
    assert certificates.parse_certificate_pem(pem) == stage.controller.keys.certificate
    later = Stage(tmp_path)
    assert await later.onboarding.load() == GIVEN
    assert later.controller.device_id == GIVEN


@pytest.mark.parametrize("status", [200, 201, 409, 500, 403, 401])
async def test_whatever_register_says_the_uuid_decides(tmp_path: Path, status: int) -> None:
    stage = Stage(tmp_path)
    stage.controller.answers[Endpoint.REGISTER] = lambda _: Reply(status)
    stage.controller.answers[Endpoint.UUID] = lambda _: uuid_answer()
    assert await stage.onboarding.obtain() == GIVEN


async def test_node_without_an_onboarding_key_only_asks(tmp_path: Path) -> None:
    stage = Stage(tmp_path, with_key=False)
    stage.controller.answers[Endpoint.UUID] = lambda _: uuid_answer()
    await stage.onboarding.obtain()
    assert [call.endpoint for call in stage.controller.calls] == [Endpoint.UUID]


async def test_attempts_come_after_one_second_doubling_to_ten_minutes(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.controller.answers[Endpoint.REGISTER] = lambda _: Reply(403)
    stage.controller.answers[Endpoint.UUID] = lambda _: Reply(401)
    task = asyncio.create_task(stage.onboarding.obtain())
    await asyncio.sleep(4 * 3600)
    times = stage.controller.times(Endpoint.UUID)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert 0.9 <= gaps[0] <= 1.1
    assert 540 <= gaps[-1] <= 660
    assert "403" in stage.onboarding.waiting_for
    stage.controller.answers[Endpoint.UUID] = lambda _: uuid_answer()
    assert await task == GIVEN
    assert stage.onboarding.waiting_for == ""


@pytest.mark.parametrize("reply", [Reply(200, b"\xff"), uuid_answer("not a uuid"), uuid_answer(""), DialError("down")])
async def test_nonsense_is_no_uuid(tmp_path: Path, reply: Reply | DialError) -> None:
    stage = Stage(tmp_path)
    answers = [uuid_answer(), reply]
    stage.controller.answers[Endpoint.UUID] = lambda _: answers.pop()
    assert await stage.onboarding.obtain() == GIVEN
    assert len(stage.controller.times(Endpoint.UUID)) == 2


async def test_doubt_asks_again_at_most_once_in_ten_minutes(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.controller.answers[Endpoint.UUID] = lambda _: uuid_answer()
    await stage.onboarding.obtain()
    assert not await stage.onboarding.ask_again()
    assert not await stage.onboarding.ask_again()
    assert len(stage.controller.times(Endpoint.UUID)) == 2
    await asyncio.sleep(UUID_PAUSE_S)
    other = "b0000000-0000-4000-8000-000000000008"
    stage.controller.answers[Endpoint.UUID] = lambda _: uuid_answer(other)
    assert await stage.onboarding.ask_again()
    assert stage.controller.device_id == other


async def test_device_that_the_controller_forgot_registers_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.controller.answers[Endpoint.UUID] = lambda _: uuid_answer()
    await stage.onboarding.obtain()
    stage.controller.calls.clear()
    told: list[bool] = []
    stage.onboarding.changed = lambda: told.append(True)
    other = "b0000000-0000-4000-8000-000000000008"
    answers = [uuid_answer(other), Reply(401)]
    stage.controller.answers[Endpoint.UUID] = lambda _: answers.pop()
    assert await stage.onboarding.ask_again()
    assert [call.endpoint for call in stage.controller.calls] == [Endpoint.UUID, Endpoint.REGISTER, Endpoint.UUID]
    assert (stage.controller.device_id, told) == (other, [True])


async def test_damaged_saved_uuid_is_asked_for_anew(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.path.write_text("garbage")
    assert await stage.onboarding.load() is None
