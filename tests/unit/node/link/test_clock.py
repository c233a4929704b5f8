"""When a clock is wrong for certain."""

from __future__ import annotations

import datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from eaves.node.link.clock import Clock
from eaves.wire import certificates

MADE = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
YEARS = datetime.timedelta(days=3650)


@pytest.fixture(scope="module")
def root_pem() -> bytes:
    root = certificates.make_ca(ec.generate_private_key(ec.SECP256R1()), "root", MADE, 2 * YEARS)
    return certificates.encode_certificate_pem(root)


def test_a_clock_before_the_root_certificate_is_behind(root_pem: bytes) -> None:
    clock = Clock(root_pem, lambda: MADE - YEARS)
    assert clock.is_behind()
    assert clock.now() == MADE - certificates.BACKDATE


@pytest.mark.parametrize("later", [datetime.timedelta(0), datetime.timedelta(days=1), YEARS])
def test_a_later_clock_is_taken_as_it_is(root_pem: bytes, later: datetime.timedelta) -> None:
    clock = Clock(root_pem, lambda: MADE + later)
    assert not clock.is_behind()
    assert clock.now() == MADE + later


def test_of_several_roots_the_youngest_counts(root_pem: bytes) -> None:
    younger = certificates.make_ca(ec.generate_private_key(ec.SECP256R1()), "root", MADE + YEARS, YEARS)
    both = root_pem + certificates.encode_certificate_pem(younger)
    assert Clock(both, lambda: MADE + YEARS / 2).is_behind()
