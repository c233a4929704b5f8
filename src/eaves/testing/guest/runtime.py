"""The OCI runtime of a guest: crun, as podman takes it on a current Debian. Fetched and unpacked once, kept in the user's cache.

It is not installed on this machine, whose own podman would take it from then on, and fail where control groups have many hierarchies.
"""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path

from eaves.testing.guest.packages import fetch_package, open_cache, run_tool

_PACKAGES = ("crun", "libyajl2")


def want_runtime() -> Path:
    """A folder with ``usr`` for the guest. Blocking; safe between processes. Raises GuestError when a package cannot be had."""
    with open_cache() as folder:
        made = folder / f"crun-{platform.freedesktop_os_release().get('VERSION_CODENAME', 'debian')}"
        if not made.exists():
            with tempfile.TemporaryDirectory(dir=folder, prefix="part.") as part:
                for name in _PACKAGES:
                    work = Path(part) / name
                    work.mkdir()
                    run_tool("dpkg-deb", "--extract", str(fetch_package(name, work)), str(Path(part) / "tree"))
                (Path(part) / "tree").rename(made)
    return made
