"""The controller's certificates: fetched, checked against the root, kept across restarts.

``calls`` opens answers with the current set (or, for a while after a rotation, the one before it). A new set is fetched at start,
daily, when the config names another hash, and when an answer is signed by an unknown certificate.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from cryptography import x509
from msgspec import Struct

from eaves.kit import files
from eaves.node.link import pace
from eaves.node.link.errors import AnswerError, LinkError
from eaves.wire import certificates, controller_certs, envelope
from eaves.wire.controller_certs import ControllerCerts
from eaves.wire.errors import CertificateMissError, WireError

log = logging.getLogger(__name__)

INTERVAL_S = 86400.0
RETRY_S = 120.0
"""After a failed fetch."""
MISS_PAUSE_S = 10.0
"""Fetches on request (cert miss) are at least this far apart: an answer that nobody signed rightly must not cause a storm."""

Fetch = Callable[[], Awaitable[bytes]]
"""Gets the body of ``/certs``; raises LinkError."""


class _Saved(Struct):
    """A checkpoint file. ``checked_at``: when the chain was found valid, so that loading does not depend on the clock."""

    payload: bytes
    checked_at: datetime.datetime


class CertificateKeeper:
    """Owns the current and the former certificate set of the controller."""

    def __init__(
        self,
        folder: Path,
        root_pem: bytes,
        fetch: Fetch,
        *,
        now: Callable[[], datetime.datetime],
        is_clock_behind: Callable[[], bool] = lambda: False,
    ) -> None:
        self._path = folder / "controllercerts"
        self._backup = folder / "controllercerts.bak"
        self._root_pem = root_pem
        self._fetch = fetch
        self._now = now
        self._is_clock_behind = is_clock_behind
        self._lock = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._last_fetch: float | None = None
        self.current: ControllerCerts | None = None
        self.former: ControllerCerts | None = None
        self.last_error = ""
        self.interval_s = INTERVAL_S
        self.changed: Callable[[], None] = lambda: None
        """Called after another set was taken."""

    async def load(self) -> None:
        """Take up the saved sets, if there are usable ones."""
        self.current = await asyncio.to_thread(self._load, self._path)
        self.former = await asyncio.to_thread(self._load, self._backup)
        if self.current is None:
            self.current = self.former

    def request_fetch(self) -> None:
        """Ask :meth:`run` to fetch soon."""
        self._wanted.set()

    async def want_current(self) -> ControllerCerts:
        """The current set, fetched when there is none. Raises LinkError or WireError."""
        if self.current is None:
            await self.fetch()
        assert self.current is not None
        return self.current

    async def fetch(self, *, unless_within_s: float = 0.0) -> bool:
        """Fetch, check and save the set; true when it is another one than before. Raises LinkError or WireError.

        ``unless_within_s``: do nothing when the last fetch is less than this ago.
        """
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._last_fetch is not None and now - self._last_fetch < unless_within_s:
                return False
            self._last_fetch = now
            try:
                changed = await self._fetch_set()
            except (LinkError, WireError) as error:
                self.last_error = str(error)
                raise
            self.last_error = ""
            return changed

    async def run(self) -> None:
        """Fetch now, then daily and on request, for ever."""
        while True:
            delay_s = pace.pick_delay_s(self.interval_s)
            try:
                await self.fetch(unless_within_s=MISS_PAUSE_S)
            except (LinkError, WireError) as error:
                log.warning("controller certificates cannot be fetched: error=%s details=%s", error, error.details)
                delay_s = pace.pick_delay_s(RETRY_S)
            if await pace.sleep_or_wake(delay_s, self._wanted):
                await asyncio.sleep(self._pause_s())

    def open(self, body: bytes) -> bytes:
        """The payload of an answer that the controller signed. Raises EnvelopeError; CertificateMissError asks for a fetch."""
        miss: CertificateMissError | None = None
        for certs in (self.current, self.former):
            if certs is None:
                continue
            try:
                return envelope.open_envelope(body, certs.signing_sha256, certs.signing_key)
            except CertificateMissError as error:
                miss = miss or error
        raise miss or CertificateMissError("no controller certificate is known yet")

    def find_ecdh(self, cert_hash: bytes) -> x509.Certificate | None:
        """The controller's key agreement certificate with exactly this ``certHash``."""
        for certs in (self.current, self.former):
            for cert in certs.ecdh if certs else ():
                digest = hashlib.sha256(cert.pem).digest()
                if cert_hash in (cert.cert_hash, digest, digest[:16]):
                    return certificates.parse_certificate_pem(cert.pem, "key agreement certificate")
        return None

    def _pause_s(self) -> float:
        """Until a fetch on request is due; the request stays, a storm of them does not."""
        if self._last_fetch is None:
            return 0.0
        return max(0.0, self._last_fetch + MISS_PAUSE_S - asyncio.get_running_loop().time())

    async def _fetch_set(self) -> bool:
        body = await self._fetch()
        try:
            payload = envelope.parse_envelope(body).payload
        except WireError as error:
            raise AnswerError("/certs is not a signed envelope", element="/certs", details=str(error)) from error
        moment = self._now()
        if self._is_clock_behind():
            moment = max(moment, controller_certs.find_latest_start(payload))
        found = controller_certs.check_controller_certs(payload, self._root_pem, moment)
        if self.current is not None and found.hashes == self.current.hashes:
            return False
        try:
            await asyncio.to_thread(self._save, payload, moment)
        except OSError as error:
            log.warning("controller certificates cannot be saved, used until the next start: error=%s", error)
        if self.current is not None:
            self.former = self.current
        self.current = found
        log.info("controller certificates taken: signing=%s", found.signing_sha256.hex()[:16])
        self.changed()
        return True

    def _save(self, payload: bytes, moment: datetime.datetime) -> None:
        files.want_folder(self._path.parent)
        if (known := files.load_file(self._path)) is not None:
            files.save_file(self._backup, known)
        files.save_file(self._path, msgspec.msgpack.encode(_Saved(payload, moment)))

    def _load(self, path: Path) -> ControllerCerts | None:
        data = files.load_file(path)
        if data is None:
            return None
        try:
            saved = msgspec.msgpack.decode(data, type=_Saved)
            return controller_certs.check_controller_certs(saved.payload, self._root_pem, saved.checked_at)
        except (msgspec.DecodeError, WireError) as error:
            log.warning("saved controller certificates are not used: file=%s error=%s", path, error)
            return None
