"""Config polling: what is applied, kept and refused, and what each status code leads to."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from eaves.node.link.attestation import Attestation, AttestationStep
from eaves.node.link.calls import Reply
from eaves.node.link.certs import CertificateKeeper
from eaves.node.link.checkpoint import BACKUP_PAUSE_S, Checkpoint
from eaves.node.link.config import ConfigPoller
from eaves.node.link.errors import DialError, LinkError
from eaves.node.link.onboarding import Onboarding
from eaves.testing.authority import Authority, now
from eaves.testing.device_configs import want_config
from eaves.testing.scripted_controller import DEVICE_ID, ScriptedController
from eaves.wire.errors import SignatureError
from eaves.wire.paths import Endpoint
from eaves.wire.pb.config.devconfig_pb2 import ConfigRequest, ConfigResponse, EdgeDevConfig
from eaves.wire.pb.eveuuid.eveuuid_pb2 import UuidResponse

pytestmark = pytest.mark.looptime

OTHER_ID = "a0000000-0000-4000-8000-000000000099"


def open_plain(body: bytes) -> bytes:
    """A signature stands for itself here: bodies that begin with ``!`` are forged."""
    if body.startswith(b"!"):
        raise SignatureError("forged")
    return body


class Stage:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.controller = ScriptedController(folder)
        self.controller.answers[Endpoint.CONFIG] = self.answer
        self.replies: list[Reply | LinkError] = []
        self.attestation = Attestation(self.controller, folder / "token", version="0.1")
        certs = CertificateKeeper(folder, Authority().root_pem, self.controller.fetch_certs, now=now)
        self.onboarding = Onboarding(
            self.controller, certs, folder / "uuid", load_signer=None, serial="", soft_serial=""
        )
        self.checkpoint = Checkpoint(folder, open_plain)
        self.applied: list[tuple[str, str]] = []
        self.poller = ConfigPoller(self.controller, self.attestation, self.onboarding, self.checkpoint, self.apply)

    async def apply(self, config: EdgeDevConfig, config_hash: str) -> None:
        self.applied.append((config.id.version, config_hash))

    def answer(self, _: bytes) -> Reply | LinkError:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def requests(self) -> list[ConfigRequest]:
        calls = self.controller.calls
        return [ConfigRequest.FromString(call.payload) for call in calls if call.endpoint is Endpoint.CONFIG]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Look every second of the loop's clock, which runs on while a thread writes a file: a time alone says nothing of what
        has been done by then."""
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end
            await asyncio.sleep(1)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.attestation.token, self.attestation.step = b"token", AttestationStep.COMPLETE
        self.attestation._tried.set()
        task = asyncio.create_task(self.poller.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


def config_reply(
    version: str, hash_: str, *, device: str = DEVICE_ID, seconds: int = 0, maintenance: bool = False
) -> Reply:
    config = want_config(version=version)
    config.id.uuid = device
    config.maintenance_mode = maintenance
    if seconds:
        config.config_timestamp.seconds = seconds
    body = ConfigResponse(config=config, configHash=hash_).SerializeToString()
    return Reply(200, body, body)


async def test_hash_and_token_are_sent_and_an_unchanged_config_is_applied_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.replies = [config_reply("1", "h1"), Reply(304)]
    async with stage.running():
        await asyncio.sleep(600)
    assert stage.applied == [("1", "h1")]
    first, *rest = stage.requests()
    assert (first.configHash, first.integrity_token) == ("", b"token")
    assert {request.configHash for request in rest} == {"h1"}
    times = stage.controller.times(Endpoint.CONFIG)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(18 <= gap <= 60 for gap in gaps)


async def test_full_answer_with_the_known_hash_is_unchanged(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.replies = [config_reply("1", "h1"), config_reply("1", "h1")]
    async with stage.running():
        await asyncio.sleep(300)
    assert stage.applied == [("1", "h1")]


@pytest.mark.looptime(False)
async def test_wake_polls_at_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.replies = [config_reply("1", "h1"), config_reply("2", "h2"), Reply(304)]
    async with stage.running():
        await stage.until(lambda: len(stage.applied) == 1)
        began = time.monotonic()
        stage.poller.wake()
        await stage.until(lambda: len(stage.applied) == 2)
    # Unasked it would have waited for 18 seconds at least.
    assert time.monotonic() - began < 18
    assert [hash_ for _, hash_ in stage.applied] == ["h1", "h2"]


async def test_saved_config_is_applied_without_a_controller(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.replies = [config_reply("1", "h1"), Reply(304)]
    async with stage.running():
        await asyncio.sleep(1)
    again = Stage(tmp_path)
    assert await again.poller.load()
    assert again.applied == [("1", "h1")]
    again.replies = [DialError("down")]
    async with again.running():
        await asyncio.sleep(100)
    assert {request.configHash for request in again.requests()} == {""}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (config_reply("2", "h2", device=OTHER_ID), "is for device"),
        (config_reply("2", "h2", device=""), "names no device"),
        (config_reply("2", "h2", seconds=500), "older"),
    ],
)
async def test_config_for_another_device_or_from_the_past_is_refused(tmp_path: Path, bad: Reply, words: str) -> None:
    stage = Stage(tmp_path)
    stage.replies = [config_reply("1", "h1", seconds=1000), bad, bad, config_reply("3", "h3", seconds=1000), Reply(304)]
    async with stage.running():
        await stage.until(lambda: words in stage.poller.problem)
        assert stage.applied == [("1", "h1")]
        await stage.until(lambda: len(stage.applied) == 2)
        assert stage.applied == [("1", "h1"), ("3", "h3")]
        assert stage.poller.problem == ""


async def test_obsolete_config_is_refused_after_a_restart_too(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.replies = [config_reply("1", "h1", seconds=1000), Reply(304)]
    async with stage.running():
        await asyncio.sleep(1)
    again = Stage(tmp_path)
    await again.poller.load()
    again.replies = [config_reply("0", "h0", seconds=900)]
    async with again.running():
        await asyncio.sleep(100)
    assert again.applied == [("1", "h1")]


async def test_forbidden_restarts_attestation(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.replies = [Reply(403)]
    async with stage.running():
        await asyncio.sleep(1)
    assert stage.attestation.step is AttestationStep.RESTART_WAIT


@pytest.mark.parametrize("doubtful", [Reply(400), Reply(401), Reply(404), config_reply("1", "h1", device=OTHER_ID)])
async def test_the_uuid_is_doubted_when_the_controller_does_not_know_it(tmp_path: Path, doubtful: Reply) -> None:
    stage = Stage(tmp_path)
    stage.replies = [doubtful]
    async with stage.running():
        await asyncio.sleep(1250)
    # Once in ten minutes, also for a device that never had a config.
    assert 2 <= len(stage.controller.times(Endpoint.UUID)) <= 3


async def test_a_device_that_got_another_uuid_takes_its_config_with_the_next_poll(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    answer = UuidResponse(uuid=OTHER_ID).SerializeToString()
    stage.controller.answers[Endpoint.UUID] = lambda _: Reply(200, answer, answer)
    stage.replies = [config_reply("1", "h1", device=OTHER_ID), config_reply("1", "h1", device=OTHER_ID), Reply(304)]
    async with stage.running():
        await stage.until(lambda: stage.applied == [("1", "h1")])
    assert stage.controller.device_id == OTHER_ID
    assert stage.poller.problem == ""


@pytest.mark.parametrize(
    "reply", [Reply(503), Reply(429), DialError("down"), Reply(200, b"\xff\xff", b"x"), Reply(200)]
)
async def test_other_failures_change_nothing_and_polling_goes_on(tmp_path: Path, reply: Reply | LinkError) -> None:
    stage = Stage(tmp_path)
    stage.replies = [config_reply("1", "h1"), reply, reply, config_reply("2", "h2"), Reply(304)]
    async with stage.running():
        await asyncio.sleep(400)
    assert stage.applied == [("1", "h1"), ("2", "h2")]


# Checkpoint


async def saved(folder: Path) -> str:
    response = await Checkpoint(folder, open_plain).load()
    return "" if response is None else response.configHash


async def test_lost_newest_config_falls_back_to_the_one_before(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, open_plain)
    for number in (1, 2):
        await checkpoint.save(config_reply(str(number), f"h{number}").body, is_normal=True)
        await asyncio.sleep(BACKUP_PAUSE_S)
    assert await saved(tmp_path) == "h2"
    for damage in (b"", b"\0\0", b"!" + (tmp_path / "lastconfig").read_bytes()):
        (tmp_path / "lastconfig").write_bytes(damage or b"\xff")
        assert await saved(tmp_path) == "h1"
    (tmp_path / "lastconfig.bak").unlink()
    assert await saved(tmp_path) == ""


async def test_backup_is_made_of_the_first_after_a_start_and_then_rarely(tmp_path: Path) -> None:
    await Checkpoint(tmp_path, open_plain).save(config_reply("0", "h0").body, is_normal=True)
    checkpoint = Checkpoint(tmp_path, open_plain)
    for number in (1, 2, 3):
        await checkpoint.save(config_reply(str(number), f"h{number}").body, is_normal=True)
    assert (tmp_path / "lastconfig.bak").read_bytes() == config_reply("0", "h0").body
    await asyncio.sleep(BACKUP_PAUSE_S)
    await checkpoint.save(config_reply("4", "h4").body, is_normal=True)
    assert (tmp_path / "lastconfig.bak").read_bytes() == config_reply("3", "h3").body


async def test_config_before_maintenance_is_kept_until_it_ends(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, open_plain)
    await checkpoint.save(config_reply("1", "h1").body, is_normal=True)
    for number in (2, 3):
        await checkpoint.save(config_reply(str(number), f"h{number}", maintenance=True).body, is_normal=False)
    normal = await checkpoint.load_normal()
    assert normal is not None
    assert normal.configHash == "h1"
    await checkpoint.save(config_reply("4", "h4").body, is_normal=True)
    assert await checkpoint.load_normal() is None


async def test_full_disk_applies_the_config_all_the_same(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.poller._checkpoint = Checkpoint(Path("/proc/nowhere"), open_plain)
    stage.replies = [config_reply("1", "h1"), Reply(304)]
    async with stage.running():
        await asyncio.sleep(1)
    assert stage.applied == [("1", "h1")]
