"""The epoch of the controller's store: a number that devices get in their config, and that is another one after the store lost something.

A device whose config names another ``controller_epoch`` tells everything anew (eve-api: "change => device re-sends all info messages").
It changes when the store is new, when its file is not the one that was there at the last start (a copy was put back, or the folder was
moved), when a device proves that it had a later config than the store knows of, and by ``eaves controller new-epoch``. An ordinary
restart leaves it.

The epoch is a time and no count: a backup that is put back twice would count to the same number twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Callable
from pathlib import Path

from eaves.store.credentials import SettingStore

log = logging.getLogger(__name__)

_EPOCH = "epoch"
_FILE = "epoch/file"
_MAC_DIGITS = 16
_MOST_DIGITS = 12
"""Of a time: enough for ten thousand years."""


class StoreEpoch:
    """Reads and raises the epoch; it is there from the first :meth:`want` on."""

    def __init__(self, settings: SettingStore, now: Callable[[], float], file: Path | None = None) -> None:
        """``file`` is the store's own; None = it is not looked at."""
        self._settings = settings
        self._now = now
        self._file = file
        self._value = 0
        self._opening = asyncio.Lock()

    async def want(self) -> int:
        """The epoch, Unix seconds of its making. The first call looks at the store's file."""
        if not self._value:
            async with self._opening:
                if not self._value:
                    await self._open()
        return self._value

    async def renew(self) -> int:
        """Another epoch from now on."""
        known = int(await self._settings.load_setting(_EPOCH) or b"0")
        value = max(int(self._now()), known + 1)
        await self._settings.save_setting(_EPOCH, str(value).encode())
        self._value = value
        return value

    async def _open(self) -> None:
        value = int(await self._settings.want_setting(_EPOCH, str(int(self._now())).encode()))
        if self._file is not None:
            inode = str((await asyncio.to_thread(self._file.stat)).st_ino).encode()
            if await self._settings.want_setting(_FILE, inode) != inode:
                log.warning("the store's file is another one than at the last start; devices are asked for everything")
                value = await self.renew()
                await self._settings.save_setting(_FILE, inode)
        self._value = value


def stamp_hash(content_hash: str, made_s: int, device_id: str, secret: bytes) -> str:
    """A config's hash as the device gets it and sends it back, with the config's time, which no device can invent."""
    return f"{content_hash}.{made_s}.{_mac(made_s, device_id, secret)}"


def content_of(stamped: str) -> str:
    """What :func:`stamp_hash` was given."""
    return stamped.partition(".")[0]


def parse_stamp(stamped: str, device_id: str, secret: bytes) -> int:
    """The time of the config whose hash the device names; 0 when this controller did not make it for this device."""
    _, _, rest = stamped.partition(".")
    digits, _, mac = rest.partition(".")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > _MOST_DIGITS:
        return 0
    is_ours = hmac.compare_digest(mac.encode(), _mac(int(digits), device_id, secret).encode())
    return int(digits) if is_ours else 0


def _mac(made_s: int, device_id: str, secret: bytes) -> str:
    text = f"config time {made_s} {device_id}".encode()
    return hmac.new(secret, text, hashlib.sha256).hexdigest()[:_MAC_DIGITS]
