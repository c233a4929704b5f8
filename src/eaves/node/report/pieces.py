"""Small pieces that several messages share: times, errors, sizes."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from eaves.node.desired.model import ConfigProblem
from eaves.node.observed import Fault
from eaves.wire.pb.info import common_pb2
from eaves.wire.pb.info.common_pb2 import DeviceEntity, ErrorInfo
from eaves.wire.pb.info.info_pb2 import ZInfoMsg, ZInfoTypes

MIB = 1 << 20


def want_time(seconds: float) -> Timestamp | None:
    """A message field for Unix ``seconds``; None leaves the field out when nothing was observed."""
    if seconds <= 0:
        return None
    whole = int(seconds)
    return Timestamp(seconds=whole, nanos=int((seconds - whole) * 1e9))


def want_time_ns(moment_ns: int) -> Timestamp | None:
    """The same for a time that must come back to the nanosecond."""
    return Timestamp(seconds=moment_ns // 10**9, nanos=moment_ns % 10**9) if moment_ns > 0 else None


def want_message(device_id: str, kind: ZInfoTypes.ValueType, now: float) -> ZInfoMsg:
    """An info message without its content."""
    return ZInfoMsg(ztype=kind, devId=device_id, atTimeStamp=want_time(now))


def want_error(fault: Fault, entity: DeviceEntity, *, is_final: bool = False) -> ErrorInfo:
    """A fault that will be retried is a warning, any other an error."""
    retries = fault.retry_at > 0 and not is_final
    text = f"{fault.message}; {fault.resolution}" if fault.resolution else fault.message
    return ErrorInfo(
        description=text,
        timestamp=want_time(fault.since),
        severity=common_pb2.SEVERITY_WARNING if retries else common_pb2.SEVERITY_ERROR,
        entities=[entity],
        retry_condition="it is tried again by itself" if retries else "",
    )


def want_problem_error(problem: ConfigProblem, entity: DeviceEntity, since: float) -> ErrorInfo:
    """An object that the config asks for and this node cannot give."""
    text = f"{problem.message}; {problem.resolution}" if problem.resolution else problem.message
    return ErrorInfo(
        description=text,
        timestamp=want_time(since),
        severity=common_pb2.SEVERITY_ERROR if problem.is_fatal else common_pb2.SEVERITY_WARNING,
        entities=[entity],
        retry_condition="when the config changes",
    )


def want_mib(size_bytes: int) -> int:
    return size_bytes // MIB
