"""What the firewall of switches adds for interfaces whose network asks for flow logs."""

from __future__ import annotations

import re

from msgspec.structs import replace

from eaves.node.desired.model import AclAction, AclDirection, AclRule
from eaves.node.networks import switch_counts, switch_rules
from eaves.node.networks.model import WantedVif

GROUP = 77
RULES = (
    AclRule(11, "web", AclDirection.EGRESS, AclAction.ALLOW, protocol="tcp", remote_port="80"),
    AclRule(12, "no", AclDirection.BOTH, AclAction.DROP),
)


def vif(name: str, *, flow_log: bool) -> WantedVif:
    made = WantedVif(name, "n", "eth0", f"evv{name}", "n", "evbr0", "", 0, "", "02:00:00:00:00:01", 1500, RULES)
    return replace(made, is_switched=True, flow_log=flow_log)


LOGGED, QUIET = vif("a", flow_log=True), vif("b", flow_log=False)


def render(*vifs: WantedVif, former: tuple[WantedVif, ...] | None = None, around: str = "") -> str:
    chains, sets = (re.findall(rf"^  {what} (\S+) {{", around, re.MULTILINE) for what in ("chain", "set"))
    return switch_rules.render_switch_ruleset(vifs, "t", chains, sets, former, GROUP)


def chain(text: str, name: str) -> list[str]:
    found = re.search(rf"^  chain {name} {{\n(.*?)^  }}", text, re.MULTILINE | re.DOTALL)
    assert found, text
    return [line.strip() for line in found.group(1).splitlines()]


def test_only_interfaces_that_ask_are_counted_and_only_their_drops_are_told() -> None:
    text = render(LOGGED, QUIET)
    for name in switch_counts.render_sets("evva"):
        assert f"  set {name} {{" in text
    for name in (*switch_counts.render_sets("evvb"), "count_from_evvb", "begin_to_evvb"):
        assert f"{name} {{" not in text
    assert [line for line in text.splitlines() if " log prefix " in line and "evvb" in line] == []
    plain = render(replace(LOGGED, flow_log=False), QUIET)
    assert "counter" not in plain
    assert " log " not in plain


def test_drops_name_direction_and_rule() -> None:
    text = render(LOGGED)
    out, into = chain(text, "from_evva"), chain(text, "to_evva")
    told = [line for line in (*out, *into) if 'log prefix "' in line]
    assert [re.findall(r'"(.*?)"', line)[-1] for line in told if " dns" not in line] == [
        "evva out 12",
        "evva out 0",
        "evva in 12",
        "evva in 0",
    ]
    assert all("limit rate" in line and line.endswith(f"group {GROUP}") for line in told), "a flood is told at a pace"
    assert out[-1] == into[-1] == "drop"


def test_what_the_app_sends_is_counted_at_its_port_after_its_address_was_checked() -> None:
    lines = chain(render(LOGGED, QUIET), "arriving")
    assert lines[1:] == [
        'iifname "evva" ether saddr != 02:00:00:00:00:01 drop',
        'iifname "evvb" ether saddr != 02:00:00:00:00:01 drop',
        'iifname "evva" jump count_from_evva',
    ]


def test_no_other_rule_looks_keys_up_in_sets_that_count() -> None:
    looks = [
        line
        for line in render(LOGGED).splitlines()
        if re.search(r"@(sent|got)", line) and not re.search(r"update @(sent|got)\w+ \{ [^}]* counter \}$", line)
    ]
    assert looks == [], "the kernel counts at each look"


def test_every_set_that_counts_is_bounded_and_forgets() -> None:
    for text in switch_counts.render_sets("evva").values():
        assert f"size {switch_counts.SIZE};" in text
        assert re.search(r"timeout \d+[sm];", text)


def test_switching_the_log_leaves_the_connections_of_both() -> None:
    around = render(replace(LOGGED, flow_log=False), QUIET)
    on = render(LOGGED, QUIET, former=(replace(LOGGED, flow_log=False), QUIET), around=around)
    off = render(replace(LOGGED, flow_log=False), QUIET, former=(LOGGED, QUIET), around=render(LOGGED, QUIET))
    for text in (on, off):
        assert not re.search(r"delete set bridge t (flows|peers|closing)", text)
        assert not re.search(r"chain (bridge t )?(from|to|open_from|open_to)_evvb", text)
    assert {name for name in switch_counts.render_sets("evva") if f"delete set bridge t {name}\n" in off} == set(
        switch_counts.render_sets("evva")
    )
    assert "delete chain bridge t count_from_evva" in off
