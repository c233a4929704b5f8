"""Samples of a device's metrics → what the device and its apps use now.

Processor time is reported as a counter, so that use is the difference of two samples over the time between them. A workload that
started lately has one sample only; then the time since its start is taken, as the Kubernetes metrics server does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from eaves.controller.observe.metrics import MetricsSummary, Usage
from eaves.kinds.usage import Figures

MIN_WINDOW_S = 10.0
"""Over a shorter time one burst would look like steady use."""
MIN_AGE_S = 180.0
"""Figures are shown at least so long; a device that sends rarely says how long its silence may last."""


class Sample(Struct, frozen=True):
    """One metrics message and when it arrived, in Unix seconds."""

    arrived_at: float
    summary: MetricsSummary


def measure_node(samples: Sequence[Sample], now: float) -> Figures | None:
    """What the device uses. ``samples`` are its newest, oldest first; None when they do not tell, or no longer."""
    return _measure(samples, now, lambda summary: summary.node, from_start=False)


def measure_app(samples: Sequence[Sample], app_id: str, now: float) -> Figures | None:
    """What one of the device's apps uses; None when that is not known."""
    return _measure(samples, now, lambda summary: summary.apps.get(app_id), from_start=True)


def _measure(
    samples: Sequence[Sample], now: float, find: Callable[[MetricsSummary], Usage | None], *, from_start: bool
) -> Figures | None:
    if not samples:
        return None
    latest = samples[-1]
    patience_s = max(MIN_AGE_S, latest.summary.dormant_s)
    after = find(latest.summary)
    if after is None or now - latest.arrived_at > patience_s:
        return None
    at = latest.summary.at
    for sample in reversed(samples[:-1]):
        before, window_s = find(sample.summary), at - sample.summary.at
        if before is None or window_s < MIN_WINDOW_S:
            continue
        if window_s > patience_s or not _is_same_run(before, after, sample.summary.at):
            break
        return _figures(after, after.cpu_ns - before.cpu_ns, window_s, latest)
    window_s = at - after.started_at
    if from_start and after.started_at and window_s >= MIN_WINDOW_S:
        return _figures(after, after.cpu_ns, window_s, latest)
    return None


def _is_same_run(before: Usage, after: Usage, at: float) -> bool:
    """Whether what counted ``before``, at ``at``, still does. Two starts are not compared: EVE tells them by a clock that lags."""
    return before.cpu_ns <= after.cpu_ns and after.started_at <= at


def _figures(usage: Usage, spent_ns: int, window_s: float, latest: Sample) -> Figures:
    return Figures(round(spent_ns / window_s), usage.memory_bytes, window_s, latest.arrived_at)
