"""Runs the node daemon with its clock of the day shifted: ``python -m eaves.testing.shifted_clock YEARS eaves node run --config FILE``.

libfaketime shifts what the C library says. It must be loaded at the start of the process, so this module starts itself anew with it
and then takes it out of the environment: nft and other programs that the daemon runs do not bear it. The clock that measures
durations stays as it is.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_MARK = "EAVES_CLOCK_IS_SHIFTED"


def want_prefix(years: int) -> list[str]:
    """What goes before the command."""
    return [sys.executable, "-m", "eaves.testing.shifted_clock", str(years)]


def main() -> None:
    years, argv = int(sys.argv[1]), sys.argv[2:]
    if _MARK not in os.environ:
        library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
        if library is None:
            sys.exit("libfaketime is missing: apt-get install --no-install-recommends libfaketime")
        shift = {"LD_PRELOAD": str(library), "FAKETIME": f"{years * 365:+d}d", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        # The same process goes on, so that its pid stays the one that the test kills.
        os.execve(sys.executable, [*want_prefix(years), *argv], {**os.environ, **shift, _MARK: "1"})
    for name in ("LD_PRELOAD", _MARK):
        del os.environ[name]
    # Not by the command, which would start itself anew without the library.
    from eaves.node.__main__ import main as run_daemon

    sys.exit(run_daemon([argv[argv.index("--config") + 1]]))


if __name__ == "__main__":
    main()
