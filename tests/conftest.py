"""What all tests share."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import HealthCheck, settings

from eaves.testing import chroot
from eaves.testing.k3s import NoK3sError, Release, find_releases

# How long an example takes says how busy the machine is, and nothing about what is tested.
settings.register_profile("eaves", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("eaves")


def pytest_configure() -> None:
    """Say that the main thread has no event loop.

    Otherwise pytest-asyncio, asking for the one to restore later, has one made on Python 3.11, and whatever test runs when it is
    collected fails for a loop that it never saw.
    """
    asyncio.set_event_loop(None)
    if chroot.is_chroot():
        # Workers inherit it. Where it may not be done, the tests of exec say so and are skipped.
        with contextlib.suppress(OSError):
            chroot.enter_root()


@pytest.fixture(scope="session")
def releases() -> list[Release]:
    """What there is of K3s here, the newest first; without any, tests of clusters are skipped with the remedy."""
    try:
        return find_releases()
    except NoK3sError as error:
        pytest.skip(str(error))
