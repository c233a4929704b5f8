"""Takes what devices report: info, metrics, flow logs, hardware health. Durable before it is acknowledged.

Info goes to the registry's inbox, the newest message of each object, from where the observation reconciler turns it into status; the
rest goes to telemetry. A message that names another device than its signer is refused: a device reports on itself alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.unknown_fields import UnknownFieldSet

from eaves.controller.gateway.clock import Seen
from eaves.controller.gateway.devices import Device
from eaves.controller.gateway.errors import UnprocessableError
from eaves.controller.observe.health import Health, judge_health
from eaves.controller.observe.pressure import Pressure, judge_pressure
from eaves.store.devices import DeviceRegistry, InfoMessage
from eaves.store.telemetry import RecordKind, Telemetry
from eaves.wire.identifiers import DeviceId
from eaves.wire.pb.flowlog.flowlog_pb2 import FlowMessage
from eaves.wire.pb.hardwarehealth.hardware_health_pb2 import ZHardwareHealth
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.metrics.metrics_pb2 import ZMetricMsg

M = TypeVar("M", bound=Message)

_OBJECT_ID: dict[str, Callable[[info_pb2.ZInfoMsg], str]] = {
    "ainfo": lambda message: message.ainfo.AppID,
    "niinfo": lambda message: message.niinfo.networkID,
    "vinfo": lambda message: message.vinfo.uuid,
    "cinfo": lambda message: message.cinfo.uuid,
    "amdinfo": lambda message: f"{message.amdinfo.uuid}/{message.amdinfo.type}",
    "patchInfo": lambda message: message.patchInfo.id,
    "cluster_info": lambda message: message.cluster_info.cluster_id,
}
"""What a message is about, where a device sends one a thing; the others are about the device itself."""

_MAX_OBJECT_ID_CHARS = 128


class Wake(Protocol):
    """Tells the observation reconciler that the inbox has something."""

    def __call__(self) -> None: ...


class TakePressure(Protocol):
    """Hears how scarce a device's storage and memory are."""

    def __call__(self, device_id: DeviceId, pressure: Pressure) -> None: ...


class TakeHealth(Protocol):
    """Hears what of a device's hardware fails."""

    def __call__(self, device_id: DeviceId, health: Health) -> None: ...


class Ingest:
    """The endpoints."""

    def __init__(
        self,
        registry: DeviceRegistry,
        telemetry: Telemetry,
        wake: Wake,
        take_pressure: TakePressure,
        take_health: TakeHealth,
        now_s: Callable[[], float],
        time_ns: Callable[[], int],
    ) -> None:
        self._registry = registry
        self._telemetry = telemetry
        self._wake = wake
        self._take_pressure = take_pressure
        self._take_health = take_health
        self._now_s = now_s
        self._time_ns = time_ns

    async def take_info(self, device: Device, payload: bytes) -> None:
        """Keep an info message. One older than what is known of the same object, or of an unknown kind, is acknowledged and ignored.

        The former is held for a while, in case the device's clock turns out to have gone back: devices say most things once.
        """
        message = _parse(info_pb2.ZInfoMsg, payload)
        _check_device(device, message.devId)
        content = message.WhichOneof("InfoContent")
        if content is None:
            if len(UnknownFieldSet(message)):
                # Of a later version of the API. A refusal would fill the device's log with errors.
                return
            raise UnprocessableError("info message without content")
        object_id = _OBJECT_ID.get(content, _no_object)(message)
        if len(object_id) > _MAX_OBJECT_ID_CHARS:
            raise UnprocessableError("id in the info message is too long")
        at_ns = self._moment(message.atTimeStamp)
        await self._see(device, at_ns)
        info = InfoMessage(device.id, int(message.ztype), object_id, at_ns, payload)
        if not await self._save(device, info) and at_ns < device.clock.newest_ns:
            device.held.add(info)

    async def _see(self, device: Device, at_ns: int) -> None:
        """Take note of a message's time. What was held counts when the clock went back, and is old when it did not."""
        match device.clock.see(at_ns, self._now_s()):
            case Seen.NEWER:
                device.held.clear()
            case Seen.WENT_BACK:
                for info in device.held.take():
                    await self._save(device, info)

    async def _save(self, device: Device, info: InfoMessage) -> bool:
        is_kept = await self._registry.save_info(info, newest_ns=device.clock.newest_ns)
        if is_kept:
            self._wake()
        return is_kept

    async def take_metrics(self, device: Device, payload: bytes) -> None:
        message = _parse(ZMetricMsg, payload)
        _check_device(device, message.devID)
        at_ns = self._moment(message.atTimeStamp)
        await self._see(device, at_ns)
        await self._telemetry.append_record(RecordKind.METRICS, device.id, at_ns, payload)
        self._take_pressure(device.id, judge_pressure(message.dm))

    async def take_flows(self, device: Device, payload: bytes) -> None:
        message = _parse(FlowMessage, payload)
        _check_device(device, message.devId)
        await self._telemetry.append_record(RecordKind.FLOWS, device.id, self._time_ns(), payload)

    async def take_hardware_health(self, device: Device, payload: bytes) -> None:
        message = _parse(ZHardwareHealth, payload)
        _check_device(device, message.dev_id)
        at_ns = self._moment(message.at_time_stamp)
        await self._telemetry.append_record(RecordKind.HARDWARE_HEALTH, device.id, at_ns, payload)
        self._take_health(device.id, judge_health(message))

    def _moment(self, timestamp: Timestamp) -> int:
        """The message's own time; the time of arrival when it has none or one that cannot be."""
        at_ns = timestamp.seconds * 10**9 + timestamp.nanos
        return at_ns if 0 < at_ns < 2**63 else self._time_ns()


def _no_object(_message: info_pb2.ZInfoMsg) -> str:
    return ""


def _parse(kind: type[M], payload: bytes) -> M:
    try:
        return kind.FromString(payload)
    except DecodeError as error:
        raise UnprocessableError(f"payload is not a {kind.DESCRIPTOR.name}") from error


def _check_device(device: Device, named: str) -> None:
    if named.lower() != device.id:
        raise UnprocessableError("message is about another device than the one that signed it", code="WrongDevice")
