"""When the certificates of this node's K3s expire, and what to do about it.

K3s renews what has expired or is about to (120 days before the end in current versions, 90 in older ones) whenever it starts. So a node
that runs for long restarts its K3s in time, members one after the other by their names; one that comes back after months starts it as
ever. Only when certificates have expired and the start does not renew them, ``k3s certificate rotate`` does.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from eaves.node.clusters.model import ClusterFolders

DAY_S = 86400.0
RENEW_BEFORE_S = 60 * DAY_S
SPREAD_S = 20 * DAY_S
"""Members of a cluster restart at different times within this."""
CLOCK_SLACK_S = DAY_S


class Validity(Struct, frozen=True):
    """Of a node's leaf certificates. Unix seconds, 0 = there are none."""

    begins_at: float = 0.0
    """Of the newest to begin."""
    expires_at: float = 0.0
    """Of the first to expire."""


def load_validity(folders: ClusterFolders) -> Validity:
    """Blocking; a file that cannot be read counts as none."""
    spans = [span for path in _each_file(folders) if (span := _load_span(path)) is not None]
    if not spans:
        return Validity()
    return Validity(max(begin for begin, _ in spans), min(end for _, end in spans))


def is_expired(validity: Validity, now: float) -> bool:
    return 0 < validity.expires_at <= now


def is_clock_behind(validity: Validity, now: float) -> bool:
    """The clock is far before the certificates' begin: nobody would accept them, and renewed ones would be wrong for everybody else."""
    return validity.begins_at > 0 and now < validity.begins_at - CLOCK_SLACK_S


def is_renewal_due(validity: Validity, started_at: float, now: float, name: str, *, is_ready: bool) -> bool:
    """Whether K3s, running since ``started_at``, is to be restarted so that it renews; once a day at most.

    One that is not ready is left alone until its certificates have expired, which may be why it is not.
    """
    if not validity.expires_at or now - started_at < DAY_S:
        return False
    if not is_ready:
        return is_expired(validity, now)
    share = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return now >= validity.expires_at - RENEW_BEFORE_S + share * SPREAD_S


def _each_file(folders: ClusterFolders) -> Iterator[Path]:
    for folder in (folders.server_tls, folders.server_tls / "etcd", folders.data / "agent"):
        for path in sorted(folder.glob("*.crt")):
            if not path.name.endswith("-ca.crt") and "nochain" not in path.name:
                yield path


def _load_span(path: Path) -> tuple[float, float] | None:
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None
    return _seconds(certificate.not_valid_before_utc), _seconds(certificate.not_valid_after_utc)


def _seconds(moment: datetime.datetime) -> float:
    return moment.timestamp()
