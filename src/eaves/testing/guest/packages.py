"""Debian packages for guests: fetched once, kept in the user's cache, never installed on this machine."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
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


def want_packages(name: str) -> list[Path]:
    """Its file and those of what it needs and this machine lacks. Raises GuestError when they cannot be had; blocking."""
    with open_cache() as folder:
        return [_want_package(folder, found) for found in (name, *_list_missing(name))]


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


def _list_missing(name: str) -> list[str]:
    shown = run_tool("apt-cache", "depends", "--important", name)
    needed = [line.split()[1] for line in shown.splitlines() if line.startswith("  Depends: ")]
    return [package for package in needed if not _is_installed(package)]


def _is_installed(package: str) -> bool:
    argv = ["dpkg-query", "--show", "--showformat", "${db:Status-Status}", package]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.startswith("installed")


def _want_package(folder: Path, name: str) -> Path:
    shown = run_tool("apt-cache", "policy", name)
    version = next((line.split()[1] for line in shown.splitlines() if line.strip().startswith("Candidate:")), "")
    made = folder / f"{name}_{version.replace(':', '-')}.deb"
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=folder, prefix="part.") as part:
            fetch_package(name, Path(part)).rename(made)
    return made
