"""Wanted layout and seen host → steps, and that doing the steps ends it."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from eaves.node.networks.model import Layout, Route, Rule, SeenHost, SeenLink, WantedBridge, WantedNetns, WantedVif
from eaves.node.networks.plan import (
    MakeBridge,
    MakeNetns,
    MakeTaps,
    MakeVifs,
    RemoveLink,
    RemoveNetns,
    SetGuestRoutes,
    SetRouting,
    Step,
    TunePort,
    plan_links,
    plan_routing,
)


def bridge(number: int = 0) -> WantedBridge:
    return WantedBridge(f"n{number}", f"evbr{number}", f"10.{number}.0.1/24", f"10.{number}.0.0/24", 1500, False)


def netns(name: str, number: int = 0, address: str = "10.0.0.2", *, is_virtual: bool = False) -> WantedNetns:
    vif = WantedVif(
        app_id=name,
        name="default",
        inside="eth0",
        link=f"evv{name}",
        network_id=f"n{number}",
        bridge=f"evbr{number}",
        address=address,
        prefix_length=24,
        gateway=f"10.{number}.0.1",
        mac="02:00:00:00:00:01",
        mtu=1500,
    )
    return WantedNetns(name, name, (name,), (vif,), vif.gateway, is_virtual)


def perform(seen: SeenHost, steps: list[Step]) -> SeenHost:
    """What the kernel would show after the steps."""
    links, pinned, routed = dict(seen.links), set(seen.netns), dict(seen.guest_routes)
    for step in steps:
        match step:
            case MakeBridge(wanted, _, _, is_filtered):
                links[wanted.link] = SeenLink(
                    wanted.link, "bridge", True, wanted.mtu, wanted.network_id, "", (wanted.address,), is_filtered
                )
            case RemoveLink(link):
                links.pop(link, None)
            case MakeNetns(app_id):
                pinned.add(app_id)
                routed.pop(app_id, None)
            case RemoveNetns(app_id):
                pinned.discard(app_id)
            case SetGuestRoutes(wanted_netns):
                routed[wanted_netns.app_id] = wanted_netns.routes
            case MakeVifs(wanted_netns, vifs, stale, is_filtered):
                routed[wanted_netns.app_id] = wanted_netns.routes
                for name in stale:
                    links.pop(name, None)
                for vif in vifs:
                    links[vif.link] = SeenLink(
                        vif.link, "veth", True, vif.mtu, vif.mark, vif.bridge, (), False, not is_filtered, is_filtered
                    )
            case MakeTaps(_, vifs, stale, _, is_filtered):
                for name in stale:
                    links.pop(name, None)
                for vif in vifs:
                    links[vif.link] = SeenLink(
                        vif.link, "tun", True, vif.mtu, vif.mark, vif.bridge, (), False, not is_filtered, is_filtered
                    )
            case TunePort(vif, is_filtered):
                links[vif.link] = msgspec.structs.replace(
                    links[vif.link], is_up=True, master=vif.bridge, isolated=not is_filtered, hairpin=is_filtered
                )
    return msgspec.structs.replace(seen, links=links, netns=frozenset(pinned), guest_routes=routed)


def test_empty_host_gets_everything_in_order() -> None:
    steps = plan_links(Layout((bridge(),), (netns("a"),)), SeenHost())
    assert [type(step) for step in steps] == [MakeBridge, MakeNetns, MakeVifs]


def test_right_host_is_left_alone() -> None:
    layout = Layout((bridge(),), (netns("a"), netns("b", address="10.0.0.3")))
    seen = perform(SeenHost(), plan_links(layout, SeenHost()))
    assert plan_links(layout, seen) == []


def test_changed_address_remakes_only_that_interface() -> None:
    layout = Layout((bridge(),), (netns("a"), netns("b", address="10.0.0.3")))
    seen = perform(SeenHost(), plan_links(layout, SeenHost()))
    moved = Layout((bridge(),), (netns("a"), netns("b", address="10.0.0.9")))
    (step,) = plan_links(moved, seen)
    assert isinstance(step, MakeVifs)
    assert step.netns.app_id == "b"
    assert step.stale == ("evvb",)


def test_virtual_machine_gets_taps_and_no_namespace() -> None:
    layout = Layout((bridge(),), (netns("a", is_virtual=True),))
    assert [type(step) for step in plan_links(layout, SeenHost())] == [MakeBridge, MakeTaps]
    seen = perform(SeenHost(), plan_links(layout, SeenHost()))
    assert plan_links(layout, seen) == []
    assert plan_links(Layout((bridge(),)), seen) == [RemoveLink("evva")]


def test_changed_tap_is_kept_because_a_guest_holds_it_open() -> None:
    layout = Layout((bridge(),), (netns("a", is_virtual=True),))
    seen = perform(SeenHost(), plan_links(layout, SeenHost()))
    (step,) = plan_links(Layout((bridge(),), (netns("a", address="10.0.0.9", is_virtual=True),)), seen)
    assert isinstance(step, MakeTaps)
    assert (step.existing, step.stale) == (("evva",), ())


def test_container_that_becomes_a_virtual_machine_gets_another_link() -> None:
    seen = perform(SeenHost(), plan_links(Layout((bridge(),), (netns("a"),)), SeenHost()))
    make, remove = plan_links(Layout((bridge(),), (netns("a", is_virtual=True),)), seen)
    assert isinstance(make, MakeTaps)
    assert make.stale == ("evva",)
    assert remove == RemoveNetns("a")


def test_bridge_filter_that_appears_changes_the_mode_of_ports() -> None:
    layout = Layout((bridge(),), (netns("a"),))
    seen = perform(SeenHost(), plan_links(layout, SeenHost()))
    steps = plan_links(layout, msgspec.structs.replace(seen, has_bridge_filter=True))
    assert [type(step) for step in steps] == [MakeBridge, TunePort]


def test_surplus_goes_interfaces_before_bridges() -> None:
    layout = Layout((bridge(),), (netns("a"),))
    seen = perform(SeenHost(), plan_links(layout, SeenHost()))
    assert plan_links(Layout(), seen) == [RemoveLink("evva"), RemoveLink("evbr0"), RemoveNetns("a")]


LAYOUTS = st.builds(
    lambda numbers, names, virtual: Layout(
        tuple(bridge(number) for number in numbers),
        tuple(
            netns(name, sorted(numbers)[index % len(numbers)], f"10.0.0.{index + 2}", is_virtual=virtual)
            for index, name in enumerate(sorted(names))
        )
        if numbers
        else (),
    ),
    st.sets(st.integers(0, 3)),
    st.sets(st.sampled_from("abcdef")),
    st.booleans(),
)


@settings(max_examples=800)
@given(before=LAYOUTS, after=LAYOUTS, lost=st.sets(st.integers(0, 20)), has_filter=st.booleans())
def test_from_any_state_a_few_rounds_lead_to_rest(
    before: Layout, after: Layout, lost: set[int], has_filter: bool
) -> None:
    seen = perform(SeenHost(), plan_links(before, SeenHost()))
    links = {name: link for index, (name, link) in enumerate(seen.links.items()) if index not in lost}
    seen = msgspec.structs.replace(seen, links=links, has_bridge_filter=has_filter)
    for _ in range(3):
        seen = perform(seen, plan_links(after, seen))
    assert plan_links(after, seen) == []
    assert set(seen.links) == {b.link for b in after.bridges} | {vif.link for vif in after.vifs}


def test_routes_of_an_app_change_without_touching_its_interfaces() -> None:
    layout = Layout((bridge(),), (netns("a"), netns("b", address="10.0.0.3")))
    seen = perform(SeenHost(), plan_links(layout, SeenHost()))
    wanted = msgspec.structs.replace(layout.netns[1], routes=(("10.9.0.0/16", "10.0.0.1"),))
    assert plan_links(Layout((bridge(),), (layout.netns[0], wanted)), seen) == [SetGuestRoutes(wanted)]


def test_a_new_daemon_sets_routes_again_since_it_does_not_know_them() -> None:
    layout = Layout((bridge(),), (netns("a"),))
    seen = perform(SeenHost(), plan_links(layout, SeenHost()))
    steps = plan_links(layout, msgspec.structs.replace(seen, guest_routes={}))
    assert steps == [SetGuestRoutes(layout.netns[0])]


def test_routing_changes_table_by_table_and_only_where_something_differs() -> None:
    kept, old, new = (
        Route(70, "10.0.0.0/24", "evbr0"),
        Route(70, "0.0.0.0/0", "a", "1.1.1.1"),
        Route(71, "0.0.0.0/0", "b", "2.2.2.2"),
    )
    specific, nowhere = Rule(29000, 70, "evbr0", is_specific=True), Rule(29700, 0, "evbr0")
    seen = SeenHost(routes=frozenset({kept, old}), rules=frozenset({specific}))
    moved = Route(70, "0.0.0.0/0", "b", "2.2.2.2")
    first, second = plan_routing(Layout(routes=(kept, moved, new), rules=(specific, nowhere)), seen)
    assert first == SetRouting(70, (moved,), (), (nowhere,), ())
    assert second == SetRouting(71, (new,), (), (), ())
    assert plan_routing(Layout(), seen) == [SetRouting(70, (), (old, kept), (), (specific,))]
    right = SeenHost(routes=frozenset({kept}), rules=frozenset({specific}))
    assert plan_routing(Layout(routes=(kept,), rules=(specific,)), right) == []
