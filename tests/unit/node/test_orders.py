"""What a config makes the node do besides running apps: commands, timers, maintenance, certificates."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path

import pytest

from eaves.node.counters import BootReason, CounterFile
from eaves.node.desired.model import DesiredNode
from eaves.node.link.certs import CertificateKeeper
from eaves.node.link.checkpoint import Checkpoint
from eaves.node.link.identity import FileKeys
from eaves.node.orders import Orders
from eaves.testing.authority import Authority, now
from eaves.testing.device_configs import want_config
from eaves.wire import certificates, cipher
from eaves.wire.pb.config.devcommon_pb2 import ConfigItem
from eaves.wire.pb.config.devconfig_pb2 import ConfigResponse, EdgeDevConfig
from eaves.wire.pb.evecommon.acipherinfo_pb2 import EncryptionBlock


class Engine:
    def __init__(self) -> None:
        self.applied: list[DesiredNode] = []
        self.has_gone_down = False
        self._changed = asyncio.Condition()

    async def apply(self, desired: DesiredNode) -> None:
        self.applied.append(desired)
        async with self._changed:
            self._changed.notify_all()

    async def go_down(self) -> None:
        self.has_gone_down = True

    async def wait_applied(self, count: int) -> DesiredNode:
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: len(self.applied) >= count)
        return self.applied[-1]


class Stage:
    def __init__(self, folder: Path, *, counters: Path | None = None) -> None:
        self.folder = folder
        self.authority = Authority()
        self.keys = FileKeys.open(folder / "keys", datetime.datetime.now(datetime.UTC))
        self.engine = Engine()
        self.certs = CertificateKeeper(folder, self.authority.root_pem, self.fetch, now=now)
        self.counters = CounterFile(counters or folder / "boot.json")
        self.checkpoint = Checkpoint(folder, lambda body: body)
        self.mark = folder / "rebooted"
        self.goodbyes = 0
        self.orders = Orders(
            self.engine,
            self.keys,
            self.certs,
            self.counters,
            self.checkpoint,
            reboot_command=("touch", str(self.mark)),
            before_reboot=self.say_goodbye,
        )

    async def fetch(self) -> bytes:
        return self.authority.signer.seal(self.authority.certs_payload())

    async def say_goodbye(self) -> None:
        self.goodbyes += 1

    async def apply(self, config: EdgeDevConfig, hash_: str = "h") -> None:
        await self.orders.apply(config, hash_)

    async def rebooted(self) -> bool:
        if self.orders._reboot is not None:
            await self.orders._reboot
        return self.mark.exists()


def with_counter(counter: int | None, command: str = "reboot") -> EdgeDevConfig:
    config = want_config()
    if counter is not None:
        getattr(config, command).counter = counter
    return config


async def test_machines_are_ended_before_the_reboot(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    await stage.counters.start("boot", 0.5)
    await stage.apply(with_counter(5))
    assert not stage.engine.has_gone_down
    await stage.apply(with_counter(6))
    assert await stage.rebooted()
    assert stage.engine.has_gone_down


async def test_first_reboot_counter_is_noted_and_the_next_one_reboots(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    await stage.counters.start("boot", 0.5)
    await stage.apply(with_counter(5))
    assert not await stage.rebooted()
    assert len(stage.engine.applied) == 1
    await stage.apply(with_counter(6))
    assert stage.orders.is_rebooting
    assert await stage.rebooted()
    assert stage.goodbyes == 1
    assert len(stage.engine.applied) == 1, "the machine goes down, nothing new is started"
    again = CounterFile(tmp_path / "boot.json")
    await again.start("next boot", 1.0)
    assert (again.record.boot_reason, again.record.reboot_counter) == (BootReason.REBOOT_CMD, 6)


async def test_same_counter_after_the_boot_does_not_reboot_again(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    await first.apply(with_counter(5))
    await first.apply(with_counter(6))
    assert await first.rebooted()
    first.mark.unlink()
    second = Stage(tmp_path)
    await second.counters.start("next boot", 1.0)
    await second.apply(with_counter(6))
    assert not await second.rebooted()
    assert len(second.engine.applied) == 1


async def test_command_that_goes_away_is_forgotten(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    for counter in (5, None, 9):
        await stage.apply(with_counter(counter))
    assert not await stage.rebooted()
    assert stage.counters.record.reboot_counter == 9


async def test_reboot_that_cannot_be_noted_is_refused(tmp_path: Path) -> None:
    stage = Stage(tmp_path, counters=Path("/proc/nowhere/boot.json"))
    await stage.apply(with_counter(5))
    await stage.apply(with_counter(6))
    assert not await stage.rebooted()
    assert "disk is full" in stage.orders.command_problem
    assert len(stage.engine.applied) == 2


async def test_failed_reboot_goes_on_with_the_config(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.orders._reboot_command = ("false",)
    task = asyncio.create_task(stage.orders.run())
    try:
        await stage.apply(with_counter(5))
        await stage.apply(with_counter(6))
        assert not await stage.rebooted()
        await stage.engine.wait_applied(2)
        assert "reboot failed" in stage.orders.command_problem
        assert not stage.orders.is_rebooting
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_shutdown_stops_apps_until_the_next_boot(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    await stage.counters.start("boot", 1.0)
    await stage.apply(with_counter(1, "shutdown"))
    assert stage.engine.applied[-1].apps[0].activate
    await stage.apply(with_counter(2, "shutdown"))
    assert not stage.engine.applied[-1].apps[0].activate
    await stage.counters.start("boot", 2.0)
    await stage.apply(with_counter(2, "shutdown"))
    assert not stage.engine.applied[-1].apps[0].activate
    await stage.counters.start("next boot", 3.0)
    await stage.apply(with_counter(2, "shutdown"))
    assert stage.engine.applied[-1].apps[0].activate


async def test_maintenance_stops_apps_and_keeps_what_they_have(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    normal = want_config()
    body = ConfigResponse(config=normal, configHash="h1").SerializeToString()
    await stage.checkpoint.save(body, is_normal=True)
    await stage.apply(normal, "h1")
    maintenance = EdgeDevConfig(maintenance_mode=True)
    await stage.checkpoint.save(ConfigResponse(config=maintenance).SerializeToString(), is_normal=False)
    await stage.apply(maintenance, "h2")
    desired = stage.engine.applied[-1]
    assert [app.activate for app in desired.apps] == [False]
    assert len(desired.volumes) == 2
    assert desired.config_hash == "h2"


async def test_timers_out_of_bounds_keep_the_former_value_and_say_so(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    await stage.apply(want_config(items={"timer.config.interval": "30"}))
    assert stage.orders.timers.config_interval_s == 30
    config = want_config(items={"timer.config.interval": "1"})
    config.configItems.append(ConfigItem(key="no.such.item", value="x"))
    await stage.apply(config)
    assert stage.orders.timers.config_interval_s == 30
    assert "5" in stage.orders.item_statuses["timer.config.interval"].error
    assert stage.orders.item_statuses["no.such.item"].error


async def test_secret_under_a_rotated_key_is_read_after_the_certificates_were_fetched(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    await stage.certs.fetch()
    stage.authority.rotate_ecdh()
    config = want_config(user_data="")
    pem = stage.keys.ecdh_certificate_pem
    context = cipher.want_context(
        certificates.hash_of_pem(pem, 16), certificates.hash_of_pem(stage.authority.ecdh_pem, 16)
    )
    config.cipherContexts.append(context)
    key = cipher.KeyRing(stage.authority.ecdh_key).key_for_certificate(certificates.parse_certificate_pem(pem))
    block = EncryptionBlock(protectedUserData="VE9LRU49eA==")
    config.apps[0].cipherData.CopyFrom(
        cipher.encrypt_block(key, context.contextId, bytes(16), block.SerializeToString())
    )
    config.apps[0].userData = ""
    stage.certs.changed = stage.orders.note_certificates
    tasks = [asyncio.create_task(stage.orders.run())]
    try:
        await stage.apply(config)
        assert stage.engine.applied[-1].apps == ()
        assert "not known yet" in stage.orders.problems[0].message
        await stage.certs.fetch()
        desired = await stage.engine.wait_applied(2)
        assert desired.apps[0].env["TOKEN"].reveal() == "x"
        assert stage.orders.problems == ()
        ciphers = stage.orders.ciphers
        assert (ciphers.successes, ciphers.not_ready, ciphers.failed) == (1, 1, 0)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest.mark.parametrize("change", ["contextId", "deviceCertHash", "encryptionScheme"])
async def test_block_that_is_not_for_this_node_is_a_problem_of_its_app(tmp_path: Path, change: str) -> None:
    stage = Stage(tmp_path)
    await stage.certs.fetch()
    config = want_config()
    pem = stage.keys.ecdh_certificate_pem
    context = cipher.want_context(
        certificates.hash_of_pem(pem, 16), certificates.hash_of_pem(stage.authority.ecdh_pem, 16)
    )
    config.apps[0].userData = ""
    config.apps[0].cipherData.cipherContextId = context.contextId
    match change:
        case "contextId":
            context.contextId = "another"
        case "deviceCertHash":
            context.deviceCertHash = bytes(16)
        case _:
            context.encryptionScheme = 0  # type: ignore[assignment]  # a number is what comes over the wire
    config.cipherContexts.append(context)
    await stage.apply(config)
    (problem,) = stage.orders.problems
    assert problem.code == "DecryptionFailed"
    assert problem.element == "app web"
