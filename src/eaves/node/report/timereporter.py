"""Tells the controller at intervals what the machine's clock is set by (ZInfoNTPSources)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from eaves.node.link import pace
from eaves.node.link.calls import Controller
from eaves.node.link.queues import EventQueue
from eaves.node.orders import Orders
from eaves.node.report.pieces import want_message, want_time
from eaves.node.report.timesources import SourceMode, SourceState, TimeSource, load_time_sources
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info import ntpsources_pb2 as ntp
from eaves.wire.pb.info.info_pb2 import ZInfoMsg
from eaves.wire.pb.info.ntpsources_pb2 import NTPSource

_ALL_POLLS = 0o377
_STATES = {
    SourceState.SELECTED: ntp.NTP_SOURCE_STATE_SYNC,
    SourceState.COMBINED: ntp.NTP_SOURCE_STATE_CANDIDATE,
    SourceState.NOT_COMBINED: ntp.NTP_SOURCE_STATE_OUTLIER,
    SourceState.UNREACHABLE: ntp.NTP_SOURCE_STATE_UNREACH,
    SourceState.FALSETICKER: ntp.NTP_SOURCE_STATE_FALSETICKER,
    SourceState.VARIABLE: ntp.NTP_SOURCE_STATE_JITTERY,
}
_MODES = {
    SourceMode.SERVER: ntp.NTP_SOURCE_MODE_CLIENT,
    SourceMode.PEER: ntp.NTP_SOURCE_MODE_PEER,
    SourceMode.CLOCK: ntp.NTP_SOURCE_MODE_REF,
}

LoadSources = Callable[[], Awaitable[Sequence[TimeSource]]]


class TimeReporter:
    def __init__(
        self, controller: Controller, orders: Orders, queue: EventQueue, load: LoadSources = load_time_sources
    ) -> None:
        self._controller = controller
        self._orders = orders
        self._queue = queue
        self._load = load

    async def run(self) -> None:
        """For ever. A machine without a time service tells nothing; one that lost it tells that once."""
        had_sources = False
        while True:
            sources = await self._load()
            device_id = self._controller.device_id
            if device_id is not None and (sources or had_sources):
                self._queue.put("ntp", want_ntp_info(device_id, sources, time.time()).SerializeToString())
            had_sources = bool(sources)
            await asyncio.sleep(pace.pick_delay_s(self._orders.timers.ntpsources_interval_s, 0.8, 1.2))


def want_ntp_info(device_id: str, sources: Sequence[TimeSource], now: float) -> ZInfoMsg:
    """The message about all sources."""
    message = want_message(device_id, info_pb2.ZiNTPSources, now)
    message.ntp_sources.SetInParent()
    message.ntp_sources.sources.extend(map(_want_source, sources))
    return message


def _want_source(source: TimeSource) -> NTPSource:
    return NTPSource(
        authenticated=source.is_authenticated,
        reachable=source.reach == _ALL_POLLS,
        reachability=source.reach,
        state=_STATES[source.state],
        mode=_MODES[source.mode],
        hostname=source.name,
        src_addr=source.local_address,
        dst_addr=source.address,
        dst_port=source.port,
        leap=source.leap,
        stratum=source.stratum,
        ref_id=source.reference,
        ref_time=want_time(source.reference_time),
        poll=source.poll,
        offset=source.offset_s,
        delay=source.delay_s,
        dispersion=source.dispersion_s,
        root_delay=source.root_delay_s,
        root_disp=source.root_dispersion_s,
    )
