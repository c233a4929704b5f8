"""Small pieces of messages in the words of statuses: times, errors, digests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from eaves.kinds.times import render_time
from eaves.wire.pb.info.common_pb2 import SEVERITY_NOTICE, ErrorInfo

_MAX_GENERATION_DIGITS = 18
"""What 64 bits hold in any case."""


class EnumType(Protocol):
    """A generated enum."""

    def Name(self, number: Any) -> str: ...  # noqa: N802 - the generated code's name

    def values(self) -> Sequence[Any]: ...


def time_of(stamp: Timestamp) -> str:
    """RFC 3339, empty for a time that is not set."""
    return render_time(stamp.seconds) if stamp.seconds > 0 else ""


def errors_of(errors: Iterable[ErrorInfo]) -> str:
    """Descriptions of what is wrong with the device itself; notices are no faults."""
    return hindrances_of(error for error in errors if error.severity != SEVERITY_NOTICE)


def hindrances_of(errors: Iterable[ErrorInfo]) -> str:
    """Descriptions of what an app, a volume, an image or a network lacks, with what the device waits for.

    Notices count here: EVE calls a failure so while it has tried a few times only, which may be all it does for hours (pillar,
    types/errortime.go).
    """
    texts = []
    for error in errors:
        text = " ".join(error.description.split())
        if text:
            texts.append(f"{text} ({error.retry_condition})" if error.retry_condition else text)
    return "; ".join(dict.fromkeys(texts))


def digest_of(sha256: str) -> str:
    """``sha256:…`` in lower case; empty stays empty."""
    return f"sha256:{sha256.lower().removeprefix('sha256:')}" if sha256 else ""


def generation_of(version: str) -> int | None:
    """The generation of an object in the version that a device sends back; None for what was never one."""
    return int(version) if version.isdecimal() and len(version) <= _MAX_GENERATION_DIGITS else None


def name_of(enum: EnumType, number: int) -> str:
    """The name of an enum's value; devices newer than our messages send numbers that have none here."""
    return enum.Name(number) if number in enum.values() else f"UNKNOWN_{number}"
