"""Finds calls that block the loop, in tests: everything but the short reads and writes that the store makes there on purpose."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from blockbuster import blockbuster_ctx

STORE_ON_LOOP = {
    "eaves/store/sqlite/database.py": {"read", "snapshot"},
    "eaves/store/sqlite/writer.py": {"_run_group", "_roll_back"},
    "eaves/store/sqlite/objects.py": {"__init__", "list", "_read_history"},
    "eaves/store/sqlite/telemetry.py": {"read_logs", "list_runs", "_has_lines_after"},
}
"""Functions of the store that use SQLite on the loop's thread; :mod:`eaves.store.sqlite.database` says why."""


@contextlib.contextmanager
def nothing_blocks(*modules: str) -> Iterator[None]:
    """Within, a blocking call from ``modules`` on the loop raises BlockingError."""
    with blockbuster_ctx(list(modules)) as detector:
        for name, function in detector.functions.items():
            if name.startswith("sqlite3."):
                for file, functions in STORE_ON_LOOP.items():
                    function.can_block_in(file, functions)
        yield
