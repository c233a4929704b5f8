"""Use of processors and memory, from samples of counters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eaves.controller.observe.metrics import MetricsSummary, Usage
from eaves.controller.observe.usage import Sample, measure_app, measure_node
from eaves.kinds.usage import Figures

NOW = 1795543200.0
MIB = 1 << 20
SECOND = 10**9


def sample(at: float, *, node: Usage | None = None, dormant_s: int = 0, **apps: Usage) -> Sample:
    """Arrived half a second after the device took it."""
    return Sample(at + 0.5, MetricsSummary(at, node or Usage(), apps, dormant_s))


def app(cpu_s: float, started_at: float = NOW - 1000) -> Usage:
    return Usage(cpu_ns=round(cpu_s * SECOND), memory_bytes=10 * MIB, started_at=started_at)


def test_use_is_the_difference_of_the_newest_two_samples() -> None:
    samples = [sample(NOW - 100, a=app(5)), sample(NOW - 60, a=app(10)), sample(NOW, a=app(25))]
    assert measure_app(samples, "a", NOW + 1) == Figures(SECOND // 4, 10 * MIB, 60.0, NOW + 0.5)


def test_samples_too_near_to_each_other_are_passed_over() -> None:
    samples = [sample(NOW - 50, a=app(0)), sample(NOW - 2, a=app(9)), sample(NOW, a=app(10))]
    assert measure_app(samples, "a", NOW) == Figures(SECOND // 5, 10 * MIB, 50.0, NOW + 0.5)


def test_a_new_app_is_measured_since_its_start() -> None:
    fresh = app(3, started_at=NOW - 15)
    assert measure_app([sample(NOW - 60), sample(NOW, a=fresh)], "a", NOW) == Figures(
        SECOND // 5, 10 * MIB, 15.0, NOW + 0.5
    )
    assert measure_app([sample(NOW, a=app(3, started_at=NOW - 9))], "a", NOW) is None
    assert measure_app([sample(NOW, a=app(3, started_at=0.0))], "a", NOW) is None


def test_a_restarted_app_is_measured_since_its_restart() -> None:
    samples = [sample(NOW - 60, a=app(1)), sample(NOW, a=app(4, started_at=NOW - 20))]
    assert measure_app(samples, "a", NOW) == Figures(SECOND // 5, 10 * MIB, 20.0, NOW + 0.5)


def test_a_counter_that_went_back_is_another_run() -> None:
    samples = [sample(NOW - 60, a=app(100)), sample(NOW, a=app(50))]
    found = measure_app(samples, "a", NOW)
    assert found is not None
    assert found.window_s == 1000.0


def test_what_the_newest_sample_does_not_tell_is_not_known() -> None:
    assert measure_app([], "a", NOW) is None
    assert measure_app([sample(NOW - 60, a=app(1)), sample(NOW)], "a", NOW) is None


def test_old_figures_are_not_shown() -> None:
    samples = [sample(NOW - 60, a=app(1)), sample(NOW, a=app(2))]
    assert measure_app(samples, "a", NOW + 180) is not None
    assert measure_app(samples, "a", NOW + 181) is None
    slow = [sample(NOW - 3600, a=app(1)), sample(NOW, a=app(2), dormant_s=9000)]
    assert measure_app(slow, "a", NOW + 9000) is not None


def test_a_silence_between_two_samples_is_no_window() -> None:
    nodes = [sample(NOW - 86400, node=Usage(cpu_ns=0)), sample(NOW, node=Usage(cpu_ns=SECOND))]
    assert measure_node(nodes, NOW) is None


def test_a_start_that_is_told_by_a_clock_that_lags_is_the_same() -> None:
    """EVE tells how long an app runs at another moment than the one of its counters."""
    samples = [sample(NOW - 60, a=app(1, NOW - 1000)), sample(NOW, a=app(31, NOW - 990))]
    assert measure_app(samples, "a", NOW) == Figures(SECOND // 2, 10 * MIB, 60.0, NOW + 0.5)


def test_a_node_needs_two_samples_whatever_its_boot_time() -> None:
    boot = Usage(cpu_ns=100 * SECOND, memory_bytes=MIB, started_at=NOW - 86400)
    later = Usage(cpu_ns=130 * SECOND, memory_bytes=2 * MIB, started_at=NOW - 86400.3)
    assert measure_node([sample(NOW - 60, node=boot)], NOW) is None
    assert measure_node([sample(NOW - 60, node=boot), sample(NOW, node=later)], NOW) == Figures(
        SECOND // 2, 2 * MIB, 60.0, NOW + 0.5
    )


def test_the_devices_clock_may_be_years_off() -> None:
    years = 5 * 365 * 86400
    samples = [
        Sample(NOW - 60, sample(NOW - years - 60, a=app(1, NOW - years - 1000)).summary),
        Sample(NOW, sample(NOW - years, a=app(31, NOW - years - 1000)).summary),
    ]
    assert measure_app(samples, "a", NOW) == Figures(SECOND // 2, 10 * MIB, 60.0, NOW)


@given(
    st.lists(
        st.tuples(
            st.floats(NOW - 1e6, NOW + 1e6), st.integers(0, 2**63), st.floats(0, NOW + 1e6), st.integers(0, 2**31)
        ),
        max_size=4,
    )
)
def test_any_samples_give_sane_figures_or_none(rows: list[tuple[float, int, float, int]]) -> None:
    samples = [
        Sample(NOW, MetricsSummary(at, Usage(cpu_ns=cpu, started_at=start), {"a": Usage(cpu_ns=cpu)}, dormant))
        for at, cpu, start, dormant in rows
    ]
    for found in (measure_node(samples, NOW), measure_app(samples, "a", NOW)):
        assert found is None or (found.cpu_nanos >= 0 and found.window_s >= 10)
