"""Keeps one task of many going: what fails is logged and started again after a growing pause, the others do not notice.

The daemon's services have :mod:`eaves.kit.supervisor`; this is the same guard for things that come and go, one per app.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from eaves.kit.errors import EavesError
from eaves.kit.retry import Backoff

log = logging.getLogger(__name__)

FIRST_DELAY_S = 1.0
LIMIT_DELAY_S = 60.0


async def keep_running(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run until it returns; after an error again."""
    backoff = Backoff(FIRST_DELAY_S, LIMIT_DELAY_S, jitter=0.1)
    while True:
        try:
            await run()
        except (EavesError, OSError) as error:
            log.warning("task failed, it is started again: task=%s error=%s", name, error)
        except Exception:
            log.exception("task failed, it is started again: task=%s", name)
        else:
            return
        await asyncio.sleep(backoff.next_s())
