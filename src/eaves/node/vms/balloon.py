"""Memory that a machine lends: taken back down to its least while the node is short, returned when there is enough again.

The guest's balloon driver does the work; a guest without one lends nothing, which harms nobody.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

EVERY_S = 5.0
_SHORT_PART, _ENOUGH_PART = 10, 5
"""Short: less than a tenth of the node's memory is available. Enough: more than a fifth. In between all stays as it is."""
_STEP_PART = 16
"""Memory moves in sixteenths of the machine's at least, lest it follow every breath of the node."""
_LEAST_MOVE_BYTES = 1 << 20


class NodeMemory(Struct, frozen=True):
    total_bytes: int
    available_bytes: int


def load_memory() -> NodeMemory:
    """Of this node, by the kernel's own reckoning."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    found = {words[0].rstrip(":"): int(words[1]) << 10 for words in lines}
    return NodeMemory(found["MemTotal"], found["MemAvailable"])


def plan_balloon(node: NodeMemory, actual_bytes: int, *, least_bytes: int, most_bytes: int) -> int | None:
    """What the machine is to have next; None when it stays. ``actual_bytes`` is what it has now."""
    short, enough = node.total_bytes // _SHORT_PART, node.total_bytes // _ENOUGH_PART
    step = most_bytes // _STEP_PART
    target = actual_bytes
    if node.available_bytes < short:
        target = max(least_bytes, actual_bytes - max(step, short - node.available_bytes))
    elif node.available_bytes > enough:
        target = min(most_bytes, actual_bytes + min(step, node.available_bytes - enough))
    return target if abs(target - actual_bytes) >= _LEAST_MOVE_BYTES else None
