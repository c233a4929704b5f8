"""What the firewall of switches adds for interfaces whose network asks for flow logs: counters of each connection. Pure.

Connection tracking does not see what a switch hands on, so what counts is sets of our own, apart from those that let packets pass:
switching the log on or off, or filling it, cuts nothing. ``flows`` reads them:

``sent``, ``got``  packets and bytes of each connection by the app and to it; gone :data:`SILENCE_S` after its last packet
``calls``          the connections that the far side opened; kept as long as the firewall knows the connection

The first packet of a connection is told by a log statement at a bounded pace, for the time of its begin. Sets are bounded: without
room a connection passes and is not counted.

What an app sends is counted where it enters the bridge, since a frame to many meets the rules once for each port that it leaves by;
only the first packet is counted by the rule that lets it through. So a rule's rate does not show in ``sent``, as with Local networks.
No other rule looks keys up in ``sent`` and ``got``: the kernel counts the packet at each look.
"""

from __future__ import annotations

from eaves.node.networks.switch_keys import (
    CLOSING_TIMEOUT,
    FAMILIES,
    OTHER_TIMEOUT,
    STREAM_TIMEOUT,
    WITH_PORTS,
    Way,
    render_key,
    render_pair,
    render_set,
)

SILENCE_S = 120
"""Without a packet for so long a connection counts as ended."""
SIZE = 4096
BEGIN, DNS = "begin", "dns"
"""Last words of the prefixes of log statements."""
_PACE = "limit rate 50/second burst 100 packets"


def name_set(kind: str, number: str, link: str, *, has_ports: bool) -> str:
    """``kind`` is sent, got or calls; ``number`` 4 or 6."""
    return f"{kind}{number}_{link}" if has_ports else f"{kind}peers{number}_{link}"


def render_sets(link: str) -> dict[str, str]:
    """Name → declaration."""
    found = {}
    for number, _, address in FAMILIES:
        for has_ports in (True, False):
            for kind, timeout in (("sent", f"{SILENCE_S}s"), ("got", f"{SILENCE_S}s"), ("calls", OTHER_TIMEOUT)):
                name = name_set(kind, number, link, has_ports=has_ports)
                found[name] = render_set(name, address, has_ports=has_ports, timeout=timeout, size=SIZE)
    return found


def render_chains(link: str, way: Way, log_group: int) -> dict[str, list[str]]:
    """Name → statements: of packets of open connections, and of the first packet of one."""
    begin = f"{_PACE} {_render_log(link, way, BEGIN, log_group)}"
    if way is Way.IN:
        return {
            f"count_to_{link}": [*_render_counting(link, way), *_render_keeping(link, way)],
            f"begin_to_{link}": [begin, *_render_calls(link), f"goto count_to_{link}"],
        }
    return {
        f"count_from_{link}": [*_render_arrivals(link), *_render_keeping(link, way)],
        f"begin_from_{link}": [begin, *_render_counting(link, way)],
    }


def render_arriving(link: str) -> str:
    """What frames meet where they enter the bridge."""
    return f'iifname "{link}" jump count_from_{link}'


def render_names(link: str, log_group: int) -> list[str]:
    """Tells of DNS answers to the app, of servers that it asked."""
    log = _render_log(link, Way.IN, DNS, log_group)
    return [
        f"udp sport 53 {render_key(family, Way.IN)} @flows{number}_{link} {_PACE} {log}"
        for number, family, _ in FAMILIES
    ]


def _render_log(link: str, way: Way, word: str, log_group: int) -> str:
    return f'log prefix "{link} {"out" if way is Way.OUT else "in"} {word}" group {log_group}'


def _render_counting(link: str, way: Way) -> list[str]:
    kind = "sent" if way is Way.OUT else "got"
    statements = []
    for number, family, _ in FAMILIES:
        with_ports, without = (name_set(kind, number, link, has_ports=has_ports) for has_ports in (True, False))
        statements += [
            f"meta l4proto {WITH_PORTS} update @{with_ports} {{ {render_key(family, way)} counter }}",
            f"meta l4proto != {WITH_PORTS} update @{without} {{ {render_pair(family, way)} counter }}",
        ]
    return statements


def _render_arrivals(link: str) -> list[str]:
    """Counts what the app sends in connections that the firewall knows."""
    statements = []
    for number, family, _ in FAMILIES:
        key, pair = render_key(family, Way.OUT), render_pair(family, Way.OUT)
        with_ports, without = (name_set("sent", number, link, has_ports=has_ports) for has_ports in (True, False))
        statements += [
            f"{key} @flows{number}_{link} update @{with_ports} {{ {key} counter }}",
            f"{pair} @peers{number}_{link} update @{without} {{ {pair} counter }}",
        ]
    return statements


def _render_calls(link: str) -> list[str]:
    """A stream gets its longer time with the second packet, so that a flood of first ones leaves sooner."""
    statements = []
    for number, family, _ in FAMILIES:
        with_ports, without = (name_set("calls", number, link, has_ports=has_ports) for has_ports in (True, False))
        statements += [
            f"meta l4proto {WITH_PORTS} update @{with_ports} {{ {render_key(family, Way.IN)} }}",
            f"meta l4proto != {WITH_PORTS} update @{without} {{ {render_pair(family, Way.IN)} }}",
        ]
    return statements


def _render_keeping(link: str, way: Way) -> list[str]:
    """Who opened it is known as long as the connection itself."""
    statements = []
    for number, family, _ in FAMILIES:
        key, pair = render_key(family, way), render_pair(family, way)
        with_ports, without = (name_set("calls", number, link, has_ports=has_ports) for has_ports in (True, False))
        statements += [
            f"{key} @{with_ports} {key} @closing{number}_{link} update @{with_ports} {{ {key} timeout {CLOSING_TIMEOUT} }} return",
            f"{key} @{with_ports} meta l4proto tcp update @{with_ports} {{ {key} timeout {STREAM_TIMEOUT} }} return",
            f"{key} @{with_ports} update @{with_ports} {{ {key} timeout {OTHER_TIMEOUT} }} return",
            f"{pair} @{without} update @{without} {{ {pair} timeout {OTHER_TIMEOUT} }} return",
        ]
    return statements
