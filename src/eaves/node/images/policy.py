"""What holds for all downloads of a node: from its settings and the properties of its config. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from eaves.node.images.budget import Limits
from eaves.node.images.ways import WebProxy
from eaves.wire.timers import Timers

RETRY_LIMIT_S = 600.0
STALLED_AFTER_S = 600.0


class DownloadPolicy(Struct, frozen=True):
    """``retry_limit_s``: how long pauses between attempts grow. ``max_cost``: of the uplinks that may be used."""

    proxy: WebProxy = WebProxy()
    retry_limit_s: float = RETRY_LIMIT_S
    stalled_after_s: float = STALLED_AFTER_S
    max_cuts: int = 5
    rate_bytes_per_s: int = 0
    allow_insecure_auth: bool = False
    max_cost: int = 0
    budget: Limits = Limits()
    defer_delete_s: float = 0.0


def want_policy(base: DownloadPolicy, timers: Timers, named: Mapping[str, str]) -> DownloadPolicy:
    """``base``: of the settings; its limits of time stay unless the config names them (``named``)."""
    return msgspec.structs.replace(
        base,
        retry_limit_s=float(timers.download_retry_s) if "timer.download.retry" in named else base.retry_limit_s,
        stalled_after_s=float(timers.download_stalled_s) if "timer.download.stalled" in named else base.stalled_after_s,
        max_cuts=timers.blob_download_max_retries,
        rate_bytes_per_s=timers.download_rate_kib << 10,
        allow_insecure_auth=timers.datastore_allow_insecure_auth,
        max_cost=timers.download_max_cost,
        budget=Limits(timers.download_budget_day_mib << 20, timers.download_budget_month_mib << 20),
        defer_delete_s=float(timers.defer_content_delete_s),
    )
