"""The node daemon's process, without the command line that ``eaves node run`` read: ``python -m eaves.node [SETTINGS_FILE]``."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import sys
from pathlib import Path

from eaves.kit.errors import EavesError, render_failure
from eaves.kit.logging import start_logging
from eaves.node.bootstrap import run_node
from eaves.node.settings import check_run_dir, load_node_settings

_ARENA_MAX = -8
"""M_ARENA_MAX of mallopt(3)."""


def main(arguments: list[str]) -> int:
    """Run until SIGTERM or SIGINT; 1 when the daemon cannot start, which is told on stderr."""
    # What `ps` and the out-of-memory killer call it.
    Path("/proc/self/comm").write_text("eaves-node", encoding="ascii")
    with contextlib.suppress(AttributeError):
        # One heap for all threads, which are few and wait for disks: each of its own would keep half a megabyte. Children have theirs.
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)
    try:
        settings = load_node_settings(Path(arguments[0]) if arguments else None)
        check_run_dir(settings)
        start_logging(settings.log_level)
        asyncio.run(run_node(settings))
    except EavesError as error:
        print(render_failure("eaves", error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
