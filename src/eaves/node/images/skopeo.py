"""Fetches images from registries with skopeo: manifests to resolve and check a name, blobs into an OCI layout on disk.

The layout stays until the image has been loaded, so that after a cut only the missing blobs are fetched again. The program writes
no progress; the size of the layout on disk is the progress, and when it stops growing the download has stalled.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from eaves.kit import files, process
from eaves.node.images.errors import DownloadStalledError, as_registry_error
from eaves.node.images.reference import Manifest, Source, parse_manifest, render_auth

RESOLVE_LIMIT_S = 60.0
LOOK_EVERY_S = 0.5
TAG = "image"

Progress = Callable[[int], None]
"""Called with the bytes on disk so far."""


class Skopeo:
    """``environment``: where the tools' configuration is, and proxies; ``policy``: path of the signature policy."""

    def __init__(self, environment: Mapping[str, str], policy: str, *, stalled_after_s: float) -> None:
        self._environment = dict(environment)
        self._policy = policy
        self.stalled_after_s = stalled_after_s

    async def resolve(self, source: Source, folder: Path) -> Manifest:
        """What the registry has under the source's name. Raises ImageError."""
        limit_s = min(RESOLVE_LIMIT_S, self.stalled_after_s)
        async with _Access(source, folder) as access:
            try:
                done = await process.run(
                    [*self._base(), "inspect", "--raw", *access.options(""), f"docker://{source.name}"],
                    timeout_s=limit_s,
                    env=self._environment,
                )
            except process.ProcessError as error:
                raise as_registry_error(error, source.name) from error
        return parse_manifest(done.stdout, source.digest, f"image {source.name}")

    async def fetch(self, source: Source, folder: Path, progress: Progress) -> Path:
        """Bring the image into ``folder``; answers the OCI layout that holds it as :data:`TAG`. Raises ImageError."""
        layout = folder / "layout"
        target = f"oci:{layout}:{TAG}"
        async with _Access(source, folder) as access:
            argv = [*self._base(), "copy", "--quiet", *access.options("src-"), f"docker://{source.name}", target]
            copy = asyncio.create_task(process.run(argv, timeout_s=86400, env=self._environment))
            try:
                await self._watch(copy, layout, source, progress)
                await copy
            except process.ProcessError as error:
                raise as_registry_error(error, source.name) from error
            finally:
                copy.cancel()
                with contextlib.suppress(asyncio.CancelledError, process.ProcessError):
                    await copy
        return layout

    async def _watch(
        self, copy: asyncio.Task[process.Completed], layout: Path, source: Source, progress: Progress
    ) -> None:
        known, grown_at = -1, time.monotonic()
        while not copy.done():
            await asyncio.wait([copy], timeout=LOOK_EVERY_S)
            size = await asyncio.to_thread(observe_size, layout)
            if size != known:
                known, grown_at = size, time.monotonic()
                progress(size)
            elif time.monotonic() - grown_at > self.stalled_after_s:
                raise DownloadStalledError(
                    f"nothing came for {self.stalled_after_s:g} s",
                    element=f"image {source.name}",
                    resolution="the download is tried again; check the link and the registry if this persists",
                )

    def _base(self) -> list[str]:
        return ["skopeo", f"--policy={self._policy}"]


class _Access:
    """Files with credentials and CA certificates, there for one call only."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._source = source
        self._folder = folder / "access"

    async def __aenter__(self) -> _Access:
        await asyncio.to_thread(self._save)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _save(self) -> None:
        datastore = self._source.datastore
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if datastore.username:
            files.save_file(self._folder / "auth.json", render_auth(self._source.host, datastore))
        if datastore.ca_pems:
            (self._folder / "certs").mkdir(mode=0o700, exist_ok=True)
            files.save_file(self._folder / "certs" / "ca.crt", "\n".join(datastore.ca_pems).encode())

    def options(self, prefix: str) -> list[str]:
        datastore = self._source.datastore
        options = [f"--{prefix}tls-verify={'false' if datastore.plain_http else 'true'}"]
        if datastore.username:
            options.append(f"--{'authfile' if not prefix else prefix + 'authfile'}={self._folder / 'auth.json'}")
        else:
            options.append(f"--{prefix}no-creds")
        if datastore.ca_pems:
            options.append(f"--{prefix}cert-dir={self._folder / 'certs'}")
        return options


def observe_size(folder: Path) -> int:
    """Bytes of all files below ``folder``; files may come and go meanwhile."""
    total = 0
    for path in folder.glob("**/*"):
        with contextlib.suppress(OSError):
            if path.is_file():
                total += path.stat().st_size
    return total
