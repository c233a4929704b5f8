"""Which time servers count, and the files by which the machine's time service is told of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from eaves.kit import process
from eaves.node.desired.port_model import IpSetup, PortSetup, PortsSetup
from eaves.node.ports.errors import PortError
from eaves.node.ports.model import LinkState, SeenLink, SeenManager
from eaves.node.ports.timeservers import TimeService, want_time_servers

CHRONY = "run/chrony-dhcp/eaves-one.sources"
TIMESYNCD = "run/systemd/timesyncd.conf.d/50-eaves-one.conf"


def install(root: Path, *programs: str) -> TimeService:
    for program in programs:
        (root / program).parent.mkdir(parents=True, exist_ok=True)
        (root / program).touch()
    return TimeService("one", root)


def test_the_configs_come_first_and_dhcps_unless_they_are_ignored() -> None:
    ports = (
        PortSetup("wan", "eth0", ip=IpSetup(ntp_servers=("time.example", "192.0.2.1"))),
        PortSetup("shop", "eth1", ip=IpSetup(ntp_servers=("192.0.2.9",), ignores_ntp=True)),
        PortSetup("lte", "wwan0"),
    )
    links = {
        name: SeenLink(name, LinkState.UP, time_servers=("192.0.2.1", "192.0.2.2")) for name in ("eth0", "eth1", "eth7")
    }
    found = want_time_servers(PortsSetup(ports), SeenManager("1", {}, links))
    assert found == {"wan": ("time.example", "192.0.2.1", "192.0.2.2"), "shop": ("192.0.2.9",)}


async def test_chrony_gets_a_file_of_sources_that_goes_again(tmp_path: Path) -> None:
    service = install(tmp_path, "usr/sbin/chronyd", "usr/lib/systemd/systemd-timesyncd")
    await service.apply({"a": ("192.0.2.1", "192.0.2.2"), "b": ("192.0.2.1",)})
    assert (tmp_path / CHRONY).read_text() == "server 192.0.2.1 iburst\nserver 192.0.2.2 iburst\n"
    assert not (tmp_path / TIMESYNCD).exists()
    written = (tmp_path / CHRONY).stat().st_ino
    await service.apply({"a": ("192.0.2.1", "192.0.2.2")})
    assert (tmp_path / CHRONY).stat().st_ino == written, "the same is not written again"
    await service.remove()
    assert not (tmp_path / CHRONY).exists()


async def test_timesyncd_reads_our_part_of_its_config(tmp_path: Path) -> None:
    service = install(tmp_path, "usr/lib/systemd/systemd-timesyncd", "etc/systemd/timesyncd.conf")
    await service.apply({"a": ("192.0.2.1", "time.example")})
    argv = ["systemd-analyze", f"--root={tmp_path}", "cat-config", "systemd/timesyncd.conf"]
    done = await process.run(argv, timeout_s=60)
    assert "[Time]\nNTP=192.0.2.1 time.example\n" in done.text
    await service.remove()
    assert not (tmp_path / TIMESYNCD).exists()


async def test_a_machine_without_a_time_service_is_told_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(PortError) as caught:
        await install(tmp_path).apply({"a": ("192.0.2.1",)})
    assert "chrony" in caught.value.resolution
    await install(tmp_path).remove()
