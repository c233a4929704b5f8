"""Apps that are no longer desired stay connected until their workload has stopped. Pure, but for who asks whether one has."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from eaves.node.networks.model import Layout, WantedNetns


def keep_leaving(wanted: Layout, former: Iterable[WantedNetns], is_in_use: Callable[[str], bool]) -> Layout:
    """``wanted`` with those of ``former`` that it lacks and whose app ``is_in_use``.

    Not those whose networks go too: the bridge of one may be another network's by now, with which that app has nothing to do. Nor those
    whose address somebody else has.
    """
    here = {netns.app_id for netns in wanted.netns}
    made = {(bridge.network_id, bridge.link, False) for bridge in wanted.bridges}
    made |= {(switch.network_id, switch.link, True) for switch in wanted.switches}
    taken = {vif.address for vif in wanted.vifs}
    leaving = tuple(
        netns
        for netns in former
        if netns.app_id not in here
        and all(
            (vif.network_id, vif.bridge, vif.is_switched) in made and (vif.is_switched or vif.address not in taken)
            for vif in netns.vifs
        )
        and is_in_use(netns.app_id)
    )
    return replace(wanted, netns=(*wanted.netns, *leaving))
