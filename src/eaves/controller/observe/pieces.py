"""Small pieces of messages in the words of statuses: times, errors, digests."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from eaves.kinds.times import render_time
from eaves.wire.pb.info.common_pb2 import SEVERITY_NOTICE, ErrorInfo


def time_of(stamp: Timestamp) -> str:
    """RFC 3339, empty for a time that is not set."""
    return render_time(stamp.seconds) if stamp.seconds > 0 else ""


def errors_of(errors: Iterable[ErrorInfo]) -> str:
    """Descriptions of what went wrong, with what the device waits for; notices are no faults."""
    texts = []
    for error in errors:
        if not error.description or error.severity == SEVERITY_NOTICE:
            continue
        text = error.description.strip()
        texts.append(f"{text} ({error.retry_condition})" if error.retry_condition else text)
    return "; ".join(dict.fromkeys(texts))


def digest_of(sha256: str) -> str:
    """``sha256:…`` in lower case; empty stays empty."""
    return f"sha256:{sha256.lower().removeprefix('sha256:')}" if sha256 else ""
