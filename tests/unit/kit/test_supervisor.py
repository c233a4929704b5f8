"""The supervisor: a failing service restarts with back-off and disturbs no other."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from eaves.kit.errors import EavesError
from eaves.kit.supervisor import Supervisor


@pytest.mark.looptime
async def test_a_failing_service_is_restarted_with_growing_delays(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = Supervisor(first_delay_s=1.0, limit_delay_s=4.0)
    starts: list[float] = []

    async def fail() -> None:
        starts.append(asyncio.get_running_loop().time())
        if len(starts) == 6:
            supervisor.stop()
            await asyncio.Event().wait()
        raise EavesError("no route", element="link")

    supervisor.add("link", fail)
    await supervisor.run()
    gaps = [b - a for a, b in itertools.pairwise(starts)]
    assert gaps == [pytest.approx(want, rel=0.11) for want in (1, 2, 4, 4, 4)]
    assert "service=link error=link: no route" in caplog.text
    assert "Traceback" not in caplog.text


async def test_other_services_go_on_and_end_in_reverse_order() -> None:
    supervisor = Supervisor()
    ended: list[str] = []
    both_run = asyncio.Barrier(2)

    def service(name: str):  # type: ignore[no-untyped-def]
        async def run() -> None:
            try:
                await both_run.wait()
                supervisor.stop()
                await asyncio.Event().wait()
            finally:
                ended.append(name)

        return run

    async def done() -> None:
        return

    supervisor.add("first", service("first"))
    supervisor.add("done", done)
    supervisor.add("second", service("second"))
    await asyncio.wait_for(supervisor.run(), 5)
    assert ended == ["second", "first"]
    assert {status.name: status.state for status in supervisor.statuses()}["done"] == "done"


def test_names_are_unique() -> None:
    supervisor = Supervisor()

    async def nothing() -> None:
        return

    supervisor.add("a", nothing)
    with pytest.raises(ValueError, match="two services are named a"):
        supervisor.add("a", nothing)
