"""What all tests share."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and nothing about what is tested.
settings.register_profile("eaves", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("eaves")


def pytest_configure() -> None:
    """Say that the main thread has no event loop.

    Otherwise pytest-asyncio, asking for the one to restore later, has one made on Python 3.11, and whatever test runs when it is
    collected fails for a loop that it never saw.
    """
    asyncio.set_event_loop(None)
