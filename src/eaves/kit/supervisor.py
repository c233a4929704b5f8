"""Names, guards and restarts the long-lived tasks of a daemon.

A daemon's ``bootstrap`` lists its services; each is an ``async def run()`` that is meant to run until cancelled. One that fails
is logged with its name and started again after a back-off, the others go on. One that returns is done. This is the one place,
besides the per-object throttle of a reconciler, that catches every exception.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from msgspec import Struct

from eaves.kit.errors import EavesError
from eaves.kit.retry import Backoff

log = logging.getLogger(__name__)

Service = Callable[[], Awaitable[None]]

HEALTHY_AFTER_S = 60.0
"""A service that ran this long before failing starts its back-off anew."""


class ServiceStatus(Struct, frozen=True):
    """How one service fares. ``state`` is running, waiting (for its next start) or done."""

    name: str
    state: str
    failures: int
    last_error: str


class Supervisor:
    """Runs services until :meth:`stop`; use :meth:`run` as the daemon's main coroutine."""

    def __init__(self, *, first_delay_s: float = 0.5, limit_delay_s: float = 60.0) -> None:
        self._first_delay_s = first_delay_s
        self._limit_delay_s = limit_delay_s
        self._services: list[tuple[str, Service]] = []
        self._status: dict[str, ServiceStatus] = {}
        self._stopping = asyncio.Event()

    def add(self, name: str, service: Service) -> None:
        """Register a service before :meth:`run`; names are unique."""
        if any(known == name for known, _ in self._services):
            raise ValueError(f"two services are named {name}")
        self._services.append((name, service))

    def stop(self) -> None:
        """Ask :meth:`run` to cancel all services and return. Safe to call from a signal handler of the loop."""
        self._stopping.set()

    def statuses(self) -> list[ServiceStatus]:
        return list(self._status.values())

    async def run(self) -> None:
        """Run until :meth:`stop`; services are cancelled in reverse order of their registration and awaited."""
        tasks = [asyncio.create_task(self._keep(name, service), name=name) for name, service in self._services]
        try:
            await self._stopping.wait()
        finally:
            for task in reversed(tasks):
                task.cancel()
                await asyncio.wait([task])

    async def _keep(self, name: str, service: Service) -> None:
        backoff = Backoff(self._first_delay_s, self._limit_delay_s, jitter=0.1)
        failures, last_error = 0, ""
        while True:
            started = time.monotonic()
            self._status[name] = ServiceStatus(name, "running", failures, last_error)
            try:
                await service()
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - the guard that this module exists for
                failures, last_error = failures + 1, f"{type(error).__name__}: {error}"
                _log_failure(name, error)
            else:
                self._status[name] = ServiceStatus(name, "done", failures, last_error)
                return
            if time.monotonic() - started >= HEALTHY_AFTER_S:
                backoff.reset()
            delay_s = backoff.next_s()
            self._status[name] = ServiceStatus(name, "waiting", failures, last_error)
            await asyncio.sleep(delay_s)


def _log_failure(name: str, error: Exception) -> None:
    """An error of ours is a state of the world and gets one line; anything else is a defect and gets its traceback."""
    if isinstance(error, EavesError):
        log.error("service failed, it will be restarted: service=%s error=%s details=%s", name, error, error.details)
    else:
        log.error("service failed, it will be restarted: service=%s", name, exc_info=error)
