"""Apps that have left the config and still run: connected as before, or not at all."""

from __future__ import annotations

from eaves.node.desired.model import DesiredNetwork, DesiredNode
from eaves.node.networks.dns import render_app_hosts, render_resolv_conf
from eaves.node.networks.layout import plan_layout
from eaves.node.networks.leaving import keep_leaving
from eaves.node.networks.model import Layout, NetworkState, SeenHost
from eaves.node.networks.routing import Ways
from tests.unit.node.networks.test_layout import INSTANCE, app, network, on


def plan(networks: tuple[DesiredNetwork, ...], *names: str, state: NetworkState) -> tuple[Layout, NetworkState]:
    apps = tuple(app(name, on(networks[0])) for name in names)
    desired = DesiredNode("device", "1", "", apps=apps, networks=networks)
    return plan_layout(desired, state, SeenHost(), INSTANCE, Ways(), None)


def ids(layout: Layout) -> list[str]:
    return [netns.app_id for netns in layout.netns]


def test_an_app_that_still_stops_stays_connected() -> None:
    former, state = plan((network(),), "web", "shell", state=NetworkState())
    wanted, _ = plan((network(),), "web", state=state)
    assert ids(keep_leaving(wanted, former.netns, lambda _: True)) == ["app-web", "app-shell"]
    assert ids(keep_leaving(wanted, former.netns, lambda _: False)) == ["app-web"]


def test_an_app_is_not_connected_to_the_network_that_took_the_bridge_of_its_own() -> None:
    former, state = plan((network(),), "web", state=NetworkState())
    other = network("other", "10.2.0.0/24")
    wanted, _ = plan((other,), "shell", state=state)
    assert former.netns[0].vifs[0].bridge == wanted.bridges[0].link, "else this shows nothing"
    kept = keep_leaving(wanted, former.netns, lambda _: True)
    assert ids(kept) == ["app-shell"]
    for netns in kept.netns:
        assert render_resolv_conf(netns, kept)
        assert render_app_hosts(netns, kept)
