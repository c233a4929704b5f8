"""Which uplinks downloads leave by: those whose cost is low enough, cheapest first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eaves.node.images.errors import ImageError
from eaves.node.images.policy import DownloadPolicy
from eaves.node.link.uplinks import Uplink, load_addresses, plan_attempts
from eaves.node.networks.model import Port


class NoUplinkError(ImageError):
    code = "NoUplinkForDownloads"


async def list_addresses(
    ports: Sequence[Port], policy: DownloadPolicy, *, load: Callable[[], Any] = load_addresses
) -> Sequence[str]:
    """Local addresses to leave from; none when no uplinks are configured. Raises NoUplinkError."""
    uplinks = [Uplink(port.label, port.interface, port.cost) for port in ports if port.is_uplink]
    if not uplinks:
        return ()
    allowed = [uplink for uplink in uplinks if uplink.cost <= policy.max_cost]
    addresses: Mapping[str, Sequence[str]] = await load() if allowed else {}
    found = [attempt.source for attempt in plan_attempts(allowed, addresses, frozenset(), 0)] if allowed else []
    if not found:
        raise NoUplinkError(
            f"no uplink with an address has a cost of {policy.max_cost} or less",
            resolution="wait for one, or raise the property network.download.max.cost",
        )
    return found
