"""Runs the node daemon with another clock of the day: ``python -m eaves.testing.shifted_clock SHIFT eaves node run --config FILE``.

``SHIFT`` is a number of years, or the path of a file in which libfaketime finds the shift whenever it has changed. libfaketime shifts
what the C library says. It must be loaded at the start of the process, so this module starts itself anew with it and then takes it out
of the environment: nft and other programs that the daemon runs do not bear it, nor does ``time.sleep``, so that it is for what waits on
an event loop alone. The clock that measures durations stays as it is.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_MARK = "EAVES_CLOCK_IS_SHIFTED"


def want_prefix(shift: int | str) -> list[str]:
    """What goes before the command. ``shift``: years, or a file."""
    return [sys.executable, "-m", "eaves.testing.shifted_clock", str(shift)]


def find_library() -> Path | None:
    """libfaketime; None when it is not installed."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


def main() -> None:
    shift, argv = sys.argv[1], sys.argv[2:]
    if _MARK not in os.environ:
        library = find_library()
        if library is None:
            sys.exit("libfaketime is missing: apt-get install --no-install-recommends libfaketime")
        wanted = {"LD_PRELOAD": str(library), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_CACHE_DURATION": "1"}
        if shift.startswith("/"):
            wanted["FAKETIME_TIMESTAMP_FILE"] = shift
        else:
            wanted["FAKETIME"] = f"{int(shift) * 365:+d}d"
        # The same process goes on, so that its pid stays the one that the test kills.
        os.execve(sys.executable, [*want_prefix(shift), *argv], {**os.environ, **wanted, _MARK: "1"})
    for name in ("LD_PRELOAD", _MARK):
        del os.environ[name]
    # Not by the command, which would start itself anew without the library.
    from eaves.node.__main__ import main as run_daemon

    sys.exit(run_daemon([argv[argv.index("--config") + 1]]))


if __name__ == "__main__":
    main()
