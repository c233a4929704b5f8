"""Which ways downloads leave by: uplinks whose cost is low enough, cheapest first, each with its own proxy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from eaves.node.images.errors import ImageError
from eaves.node.images.policy import DownloadPolicy
from eaves.node.images.ways import Way
from eaves.node.link.uplinks import Uplink, load_addresses, plan_attempts
from eaves.node.networks.model import Port


class NoUplinkError(ImageError):
    code = "NoUplinkForDownloads"


FindWays = Callable[[DownloadPolicy], Awaitable[Sequence[Way]]]
"""Ways that downloads may take, best first; never none. Raises EavesError when there is none."""


async def list_ways(
    ports: Sequence[Port], policy: DownloadPolicy, *, load: Callable[[], Any] = load_addresses
) -> Sequence[Way]:
    """By the uplinks of the settings; the host's own when there are none. Raises NoUplinkError."""
    uplinks = [Uplink(port.label, port.interface, port.cost) for port in ports if port.is_uplink]
    if not uplinks:
        return (Way(),)
    allowed = [uplink for uplink in uplinks if uplink.cost <= policy.max_cost]
    addresses: Mapping[str, Sequence[str]] = await load() if allowed else {}
    found = [Way(attempt.source) for attempt in plan_attempts(allowed, addresses, frozenset(), 0)] if allowed else []
    if not found:
        raise want_no_uplink(policy.max_cost)
    return found


def want_no_uplink(max_cost: int) -> NoUplinkError:
    """The error for when none will do."""
    return NoUplinkError(
        f"no uplink with an address has a cost of {max_cost} or less",
        resolution="wait for one, or raise the property network.download.max.cost",
    )
