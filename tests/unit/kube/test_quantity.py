"""Quantities are exact."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.kube import quantity
from eaves.kube.quantity import FORMAT, SUFFIX, QuantityError


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("1", 1),
        ("-1", -1),
        ("+1", 1),
        ("1.", 1),
        (".5", Fraction(1, 2)),
        ("500m", Fraction(1, 2)),
        ("1u", Fraction(1, 10**6)),
        ("1n", Fraction(1, 10**9)),
        ("1k", 1000),
        ("1M", 10**6),
        ("1G", 10**9),
        ("1T", 10**12),
        ("1P", 10**15),
        ("1E", 10**18),
        ("1Ki", 1024),
        ("128Mi", 128 << 20),
        ("1.5Gi", 3 << 29),
        ("1Ti", 1 << 40),
        ("1Pi", 1 << 50),
        ("1Ei", 1 << 60),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1e-3", Fraction(1, 1000)),
        (7, 7),
        ("0.1", Fraction(1, 10)),
    ],
)
def test_text_is_read_exactly(text: str | int, number: Fraction | int) -> None:
    assert quantity.parse_quantity(text) == number


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", FORMAT),
        ("abc", FORMAT),
        ("1 ", FORMAT),
        ("1.2.3", FORMAT),
        ("1e3Mi", FORMAT),
        ("1,5", FORMAT),
        ("0x10", FORMAT),
        ("1_000", FORMAT),
        ("١", FORMAT),
        ("1K", SUFFIX),
        ("1mi", SUFFIX),
        ("1e", SUFFIX),
        ("1e+", SUFFIX),
        ("--1", SUFFIX),
        (True, FORMAT),
        (1.5, None),
    ],
)
def test_what_is_no_quantity_is_told_as_kubernetes_does(text: str | float, fault: str | None) -> None:
    if fault is None:
        assert quantity.parse_quantity(text) == Fraction(3, 2)
        return
    with pytest.raises(QuantityError) as caught:
        quantity.parse_quantity(text)
    assert caught.value.message == fault


@pytest.mark.parametrize(("text", "count"), [("1.5", 2), ("100m", 1), ("1n", 1), ("0", 0), ("2Ki", 2048), (5, 5)])
def test_bytes_are_rounded_up(text: str | int, count: int) -> None:
    assert quantity.parse_bytes(text) == count


@pytest.mark.parametrize(("text", "millis"), [("2", 2000), ("100m", 100), ("0.1", 100), ("1u", 1), ("1500m", 1500)])
def test_thousandths_are_rounded_up(text: str, millis: int) -> None:
    assert quantity.parse_millis(text) == millis


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (1, "1"),
        (1000, "1000"),
        (1024, "1Ki"),
        (1536, "1536"),
        (268435456, "256Mi"),
        (3 << 29, "1536Mi"),
        (1 << 60, "1Ei"),
    ],
)
def test_bytes_are_shown_with_the_largest_exact_suffix(count: int, text: str) -> None:
    assert quantity.render_bytes(count) == text


@given(st.integers(0, 1 << 62))
def test_shown_bytes_are_read_back(count: int) -> None:
    assert quantity.parse_bytes(quantity.render_bytes(count)) == count


@given(st.integers(-(10**12), 10**12), st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "e3", "e-3"]))
def test_sign_only_changes_the_sign(number: int, suffix: str) -> None:
    assert quantity.parse_quantity(f"{number}{suffix}") == -quantity.parse_quantity(f"{-number}{suffix}")
