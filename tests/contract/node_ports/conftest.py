"""A box whose ports a real NetworkManager sets up: wan0 and wan1 lead to routers that lead to the controller's address."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eaves.testing.network_manager import DhcpRouter, ManagedHost
from eaves.testing.port_sections import CONTROLLER


@pytest.fixture
def box() -> Iterator[ManagedHost]:
    with ManagedHost() as found:
        yield found


def _want_router(box: ManagedHost, interface: str, subnet: str) -> DhcpRouter:
    router = DhcpRouter(box.namespace, interface, subnet)
    router.namespace.run("ip", "addr", "add", f"{CONTROLLER}/32", "dev", "lo")
    router.start_dhcp()
    return router


@pytest.fixture
def router(box: ManagedHost) -> Iterator[DhcpRouter]:
    with _want_router(box, "wan0", "10.77.0") as found:
        yield found


@pytest.fixture
def second(box: ManagedHost) -> Iterator[DhcpRouter]:
    with _want_router(box, "wan1", "10.77.1") as found:
        yield found
