"""Finds a K3s to test with: a given one, an official release, or the stand-in of ``tests/k3s``.

In this order: the program that ``EAVES_K3S_BINARY`` names (its images beside it, or named by ``EAVES_K3S_IMAGES``); an official release in
``~/.cache/eaves/k3s``, fetched there with its checksums verified where GitHub can be reached; the stand-in, where its programs have been
built. Else :class:`NoK3sError` says what to do, and tests that need a cluster are reported by name as not run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from eaves.testing import k3s_images, kubernetes

OFFICIAL = ("v1.34.2+k3s1", "v1.33.6+k3s1")
"""Official releases to test with, newest first."""
REPOSITORY = Path(__file__).resolve().parents[3]
_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
_DOWNLOADS = "https://github.com/k3s-io/k3s/releases/download"
_PROBE_S = 3.0
_PROBE_AGAIN_S = 86_400.0


class NoK3sError(Exception):
    """There is none. The text says why and what to do."""


class Release(NamedTuple):
    """A K3s on this machine. ``images``: its air-gap image archive. ``is_standin``: it is the stand-in of ``tests/k3s``."""

    version: str
    program: Path
    images: Path
    is_standin: bool


def find_releases() -> list[Release]:
    """What there is, newest first: two versions, of which the second may be upgraded to the first, or one. Raises NoK3sError."""
    given = os.environ.get("EAVES_K3S_BINARY", "")
    if given:
        return [_describe(Path(program)) for program in given.split(":")]
    official = [found for version in OFFICIAL if (found := _find_official(version)) is not None]
    if official:
        return official
    needless = kubernetes.list_needless()
    missing = [module.name for module in kubernetes.list_missing() if module.name not in needless]
    if missing:
        try:
            kubernetes.find_go()
        except kubernetes.BuildError as error:
            raise NoK3sError(f"no K3s: set EAVES_K3S_BINARY to one, or {error}") from error
        raise NoK3sError(
            f"no K3s: set EAVES_K3S_BINARY to one, or run tools/build_kubernetes.py (not built: {', '.join(missing)})"
        )
    images = k3s_images.want_bundle()
    versions = [v for v in kubernetes.VERSIONS if kubernetes.find_module(kubernetes.module_of(v)) is not None]
    return [Release(version, _install_standin(version), images, True) for version in versions]


def read_version(program: Path) -> str:
    """As ``k3s --version`` tells it, such as ``v1.34.2+k3s1``."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()[2]


def _describe(program: Path) -> Release:
    named = os.environ.get("EAVES_K3S_IMAGES", "")
    beside = sorted(program.parent.glob(f"k3s-airgap-images-{_ARCHITECTURE}.tar*"))
    if not named and not beside:
        raise NoK3sError(f"no images for {program}: put k3s-airgap-images-{_ARCHITECTURE}.tar.zst beside it")
    return Release(read_version(program), program, Path(named) if named else beside[0], False)


def _install_standin(version: str) -> Path:
    """The stand-in as one executable file, whose content names the version that it bears."""
    text = (
        "#!/bin/sh\n"
        f"export K3S_STANDIN_VERSION='{version}' XDG_CACHE_HOME='{kubernetes.cache_folder().parents[1]}'\n"
        f"exec '{sys.executable}' -P -c 'import sys; sys.path.append(\"{REPOSITORY}\"); "
        'from tests.k3s.__main__ import main; sys.exit(main(sys.argv[1:]))\' "$@"\n'
    )
    made = hashlib.sha256(text.encode()).hexdigest()[:16]
    program = kubernetes.cache_folder() / "stand-ins" / made / "k3s"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        partial = program.with_name(f"k3s.{os.getpid()}")
        partial.write_text(text)
        partial.chmod(0o755)
        partial.replace(program)
    return program


def _find_official(version: str) -> Release | None:
    folder = kubernetes.cache_folder().parent / "k3s" / version
    images = f"k3s-airgap-images-{_ARCHITECTURE}.tar.zst"
    program = "k3s" if _ARCHITECTURE == "amd64" else f"k3s-{_ARCHITECTURE}"
    if not (folder / "verified").exists() and not (
        _may_download(folder.parent) and _download(folder, version, program, images)
    ):
        return None
    return Release(version, folder / program, folder / images, False)


def _may_download(folder: Path) -> bool:
    """Asked once a day, so that machines without a way out lose no time."""
    note = folder / "unreachable"
    with contextlib.suppress(OSError):
        if time.time() - note.stat().st_mtime < _PROBE_AGAIN_S:
            return False
    try:
        with urllib.request.urlopen(
            f"{_DOWNLOADS}/{_quote(OFFICIAL[0])}/sha256sum-{_ARCHITECTURE}.txt", timeout=_PROBE_S
        ):
            return True
    except OSError:
        folder.mkdir(parents=True, exist_ok=True)
        note.touch()
        return False


def _download(folder: Path, version: str, *names: str) -> bool:
    """All or nothing: ``verified`` is written when each file has the digest that the release's list gives."""
    folder.mkdir(parents=True, exist_ok=True)
    root = f"{_DOWNLOADS}/{_quote(version)}"
    try:
        with urllib.request.urlopen(f"{root}/sha256sum-{_ARCHITECTURE}.txt", timeout=30) as answer:
            digests = dict(
                reversed(line.split()) for line in answer.read().decode().splitlines() if len(line.split()) == 2
            )
        for name in names:
            with urllib.request.urlopen(f"{root}/{name}", timeout=60) as answer, (folder / name).open("wb") as file:
                shutil.copyfileobj(answer, file)
            with (folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digests.get(name):
                    (folder / name).unlink()
                    return False
            (folder / name).chmod(0o755)
    except OSError:
        return False
    (folder / "verified").touch()
    return True


def _quote(version: str) -> str:
    return version.replace("+", "%2B")
