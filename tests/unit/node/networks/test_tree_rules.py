"""Spanning-tree messages and the switches' firewall."""

from __future__ import annotations

from eaves.node.networks.switch_rules import render_switch_ruleset


def test_a_switch_with_a_spanning_tree_hands_no_message_on_from_any_of_its_ports() -> None:
    text = render_switch_ruleset((), "t", trees=("eth1", "eth2", "evv1"))
    assert 'iifname { "eth1", "eth2", "evv1" } ether daddr 01:80:c2:00:00:00 drop' in text
    assert "ether daddr 01:80:c2:00:00:00" not in render_switch_ruleset((), "t")


def test_only_a_change_of_ports_touches_the_rule() -> None:
    same = render_switch_ruleset((), "t", ("trees",), (), (), trees=("eth1", "eth2"), former_trees=("eth1", "eth2"))
    assert "chain trees" not in same
    other = render_switch_ruleset((), "t", ("trees",), (), (), trees=("eth1",), former_trees=("eth1", "eth2"))
    assert "flush chain bridge t trees" in other
    gone = render_switch_ruleset((), "t", ("trees",), (), (), former_trees=("eth1", "eth2"))
    assert "delete chain bridge t trees" in gone
