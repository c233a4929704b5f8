"""Keeps the running controller's certificates current: renews in time, takes up what ``rotate-certs`` or the operator wrote.

Devices and configs follow: ``/certs`` is sealed anew, every config is compiled with the new keys, connected nodes are told. So do the
ConfigMaps of namespaces by which programs know the authorities of the API.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from eaves.controller.deviceside import DeviceSide
from eaves.controller.identity import Identity
from eaves.controller.serving import TlsFiles

log = logging.getLogger(__name__)

LOOK_EVERY_S = 3.0
RENEW_EVERY_S = 3600.0

_Stamp = tuple[tuple[str, int, int], ...]


class CertificateKeeper:
    """Run :meth:`run` under the supervisor. ``watched`` are folders and files whose change means new certificates; ``tell_authority``
    is called when clients of the API have to trust others.
    """

    def __init__(
        self,
        identity: Identity,
        tls: TlsFiles,
        side: DeviceSide,
        watched: Sequence[Path],
        tell_authority: Callable[[], None],
    ) -> None:
        self._identity = identity
        self._tls = tls
        self._side = side
        self._watched = watched
        self._tell_authority = tell_authority

    async def run(self) -> None:
        stamp = await asyncio.to_thread(load_stamp, self._watched)
        loop = asyncio.get_running_loop()
        renew_at = loop.time() + RENEW_EVERY_S
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now_stamp = await asyncio.to_thread(load_stamp, self._watched)
            if now_stamp == stamp and loop.time() < renew_at:
                continue
            await self.refresh()
            stamp = await asyncio.to_thread(load_stamp, self._watched)
            renew_at = loop.time() + RENEW_EVERY_S

    async def refresh(self) -> None:
        """Renew what is due, take up what changed. Raises KeyFileError, CertificateFilesError; the old ones serve on then."""
        authority = self._identity.current.authority_pem
        has_changed = await asyncio.to_thread(self._identity.reload)
        if self._identity.current.authority_pem != authority:
            log.info("authorities of the API changed")
            self._tell_authority()
        await asyncio.to_thread(self._tls.reload)
        if not has_changed:
            return
        certs_hash = self._identity.current.certs_hash
        log.info("controller certificates changed: certs=%s", certs_hash[:16])
        self._side.configs.shelf.unseal_all()
        self._side.configs.want_all()
        self._side.hub.tell_certs(certs_hash)


def load_stamp(paths: Sequence[Path]) -> _Stamp:
    """Something that differs when a file was written: names, sizes and times of the files (in folders too)."""
    found = []
    for path in paths:
        for file in sorted(path.glob("*.pem")) if path.is_dir() else (path,):
            try:
                status = file.stat()
            except FileNotFoundError:
                continue
            found.append((str(file), status.st_mtime_ns, status.st_size))
    return tuple(found)
