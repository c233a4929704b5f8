"""What sets the machine's clock, and when that is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from eaves.node.link.queues import EventQueue
from eaves.node.orders import Orders
from eaves.node.report.timereporter import TimeReporter, want_ntp_info
from eaves.node.report.timesources import SourceState, TimeSource, parse_chrony, parse_timesyncd
from eaves.testing.scripted_controller import ScriptedController
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info import ntpsources_pb2 as ntp
from eaves.wire.pb.info.info_pb2 import ZInfoMsg
from eaves.wire.timers import Timers

# As chronyc 4.3 printed it: a server in step, one that never answered, a name without an address yet.
CHRONY = """\
^,*,127.0.0.1,5,6,377,7,-0.000000122,-0.000000675,0.000004823
^,?,192.0.2.77,0,7,0,4294967295,0.000000000,0.000000000,0.000000000
^,?,ID#0000000001,0,6,0,4294967295,0.000000000,0.000000000,0.000000000
127.0.0.1,7F000001,11123,127.0.0.1,7F000001,Normal,4,Server,5,6,64,-26,0.000000015,0.000000,0.000000,7F7F0101,,1795945411.006437710,0.000000675,0.000009409,0.000000118,0.000177120,0.00,111,111,1111,No,No,Kernel,Kernel,4,4,4,4
192.0.2.77,C000024D,123,[UNSPEC],00000000,Normal,0,Invalid,0,0,1,0,1.000000000,0.000000,0.000000,00000000,,0.000000000,0.000000000,0.000000000,0.000000000,0.000000000,0.00,000,000,0000,No,No,Invalid,Invalid,7,0,0,0
"""
TIMESYNCD = """\
LinkNTPServers=192.0.2.123
ServerName=time.example
ServerAddress=192.0.2.123
PollIntervalUSec=32s
NTPMessage={ Leap=0, Version=4, Mode=4, Stratum=2, Precision=-25, Reference=C0000201, Ignored=no, PacketCount=3, Jitter=1.2ms }
"""


def test_chrony_tells_of_all_sources() -> None:
    good, silent = want_ntp_info("device", parse_chrony(CHRONY), 9.0).ntp_sources.sources
    assert (good.state, good.mode, good.dst_addr, good.dst_port) == (
        ntp.NTP_SOURCE_STATE_SYNC, ntp.NTP_SOURCE_MODE_CLIENT, "127.0.0.1", 11123,
    )  # fmt: skip
    assert (good.reachable, good.reachability, good.stratum, good.poll, good.ref_id) == (True, 255, 5, 6, "7F7F0101")
    assert (good.delay, good.dispersion, good.ref_time.seconds) == (0.000009409, 0.000000118, 1795945411)
    assert (silent.state, silent.reachable, silent.dst_addr) == (ntp.NTP_SOURCE_STATE_UNREACH, False, "192.0.2.77")
    assert not silent.HasField("ref_time")


def test_timesyncd_tells_of_the_server_that_it_asks() -> None:
    (source,) = parse_timesyncd(TIMESYNCD)
    assert (source.name, source.address, source.state) == ("time.example", "192.0.2.123", SourceState.SELECTED)
    assert (source.stratum, source.reference) == (2, "C0000201")
    (waiting,) = parse_timesyncd("ServerName=time.example\nServerAddress=192.0.2.123\n")
    assert waiting.state is SourceState.UNREACHABLE
    assert parse_timesyncd("ServerName=\nServerAddress=\n") == ()


@pytest.mark.parametrize("line", ["^,!,10.0.0.1,5,6,377,7,0,0,0", "^,*,10.0.0.1,x,6,377,7,0,0,0"])
def test_what_no_chrony_prints_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match=r"not a valid|invalid literal"):
        parse_chrony(line)


@pytest.mark.looptime
async def test_sources_are_told_at_intervals_and_their_loss_once(tmp_path: Path) -> None:
    controller = ScriptedController(tmp_path)
    queue = EventQueue(controller.post)
    answers: list[Sequence[TimeSource]] = [(), parse_chrony(CHRONY), (), ()]
    asked = 0

    async def load() -> Sequence[TimeSource]:
        nonlocal asked
        asked += 1
        return answers[min(asked, len(answers)) - 1]

    orders = cast(Orders, SimpleNamespace(timers=Timers()))
    tasks = [asyncio.create_task(TimeReporter(controller, orders, queue, load).run()), asyncio.create_task(queue.run())]
    await asyncio.sleep(5 * 600)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    infos = [ZInfoMsg.FromString(call.payload) for call in controller.calls]
    assert [(info.ztype, len(info.ntp_sources.sources)) for info in infos] == [
        (info_pb2.ZiNTPSources, 2),
        (info_pb2.ZiNTPSources, 0),
    ]
    assert asked >= 4
