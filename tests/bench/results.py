"""Results of benchmarks: one JSON file each in ``build/bench``, a line on the terminal.

A benchmark that has a peer runs it in the same run on the same machine, so that ``ratio`` (value / peer_value) means something on a
noisy machine; alone, the figures are medians of ``runs``.
"""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

FOLDER = Path("build/bench")


class Result(Struct, frozen=True):
    """One figure. ``better`` is higher or lower; ``goal`` is in the same unit, None when there is none."""

    name: str
    value: float
    unit: str
    better: str
    runs: Sequence[float]
    goal: float | None = None
    peer: str = ""
    peer_value: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return None if not self.peer_value else self.value / self.peer_value

    @property
    def is_met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal


def median_result(
    name: str,
    unit: str,
    better: str,
    runs: Sequence[float],
    *,
    goal: float | None = None,
    peer: str = "",
    peer_runs: Sequence[float] = (),
    note: str = "",
) -> Result:
    """A result from repeated runs, and the peer's runs taken in turn with them."""
    peer_value = statistics.median(peer_runs) if peer_runs else None
    return Result(name, statistics.median(runs), unit, better, tuple(runs), goal, peer, peer_value, note)


def save_result(result: Result) -> Path:
    """Write ``build/bench/NAME.json`` and say it on the terminal."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    document = {
        "name": result.name,
        "value": round(result.value, 4),
        "unit": result.unit,
        "better": result.better,
        "goal": result.goal,
        "peer": result.peer or None,
        "peer_value": None if result.peer_value is None else round(result.peer_value, 4),
        "ratio": None if result.ratio is None else round(result.ratio, 3),
        "runs": [round(run, 4) for run in result.runs],
        "machine": describe_machine(),
        "note": result.note,
    }
    path = FOLDER / f"{result.name}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    print(render_result(result), flush=True)
    return path


def render_result(result: Result) -> str:
    text = f"bench: {result.name:<24} {result.value:10.3f} {result.unit}"
    if result.ratio is not None:
        text += f"  ({result.peer}: {result.peer_value:.3f}, ratio {result.ratio:.2f})"
    if result.is_met is not None:
        text += f"  goal {result.goal:g} {'met' if result.is_met else 'MISSED'}"
    return f"{text}  {result.note}".rstrip()


def describe_machine() -> dict[str, str | int]:
    """What a reader needs to compare figures."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count() or 0,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
