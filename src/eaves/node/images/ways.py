"""Ways out of this machine, for downloads. Pure data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct


class WebProxy(Struct, frozen=True):
    """``variables``: such as ``HTTPS_PROXY`` and its value, none = directly; ``pac``: text of a file that decides instead.

    ``ca_pems``: of authorities of a proxy that looks into TLS.
    """

    variables: tuple[tuple[str, str], ...] = ()
    pac: str = ""
    ca_pems: tuple[str, ...] = ()


class Way(Struct, frozen=True):
    """``address``: local one to leave from, empty = the host decides. ``interface``: to leave by whatever routes say, empty likewise.

    ``proxy`` None: the uplink has no word of its own on it, that of the node counts.
    """

    address: str = ""
    interface: str = ""
    proxy: WebProxy | None = None


DIRECT = Way()
"""The host decides."""

ManagedWays = Callable[[int], Awaitable[Sequence[Way] | None]]
"""Ways by ports that the node itself set up, of a cost up to the given one, best first; None = it set up none. Raises EavesError."""

FindWay = Callable[[], Awaitable[Way]]
"""The best way out for what a cluster fetches and ships. Raises EavesError when there is none."""


async def find_host_way() -> Way:
    return DIRECT
