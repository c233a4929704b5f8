"""Debian packages for guests: fetched into the user's cache, never installed on this machine."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eaves.kit.errors import EavesError


class GuestError(EavesError):
    """A guest cannot be made or does not come up."""

    code = "GuestUnavailable"


@contextmanager
def open_cache() -> Iterator[Path]:
    """The cache's folder, for one process at a time. Blocking."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eaves" / "guest"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def fetch_package(name: str, folder: Path) -> Path:
    """Raises GuestError."""
    # apt's own user cannot write into a private folder; it then fetches as root and says so.
    run_tool("apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", name, cwd=folder)
    return next(folder.glob("*.deb"))


def run_tool(*argv: str, cwd: Path | None = None) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        text = (done.stderr or done.stdout).strip()
        raise GuestError(f"{argv[0]} failed: {text[-500:]}", resolution="run make setup, and check the package sources")
    return done.stdout
