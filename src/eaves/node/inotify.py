"""inotify(7) for folders: an event instead of looking at every log file every second."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path

_EVENTS = 0x002 | 0x080 | 0x100
"""IN_MODIFY, IN_MOVED_TO, IN_CREATE."""
_HEADER = struct.Struct("iIII")

_libc = ctypes.CDLL(None, use_errno=True)


class FolderWatch:
    """Calls back when something in a watched folder is written, made or moved in. Belongs to one event loop."""

    def __init__(self) -> None:
        descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if descriptor < 0:
            raise _error("inotify")
        self._descriptor = descriptor
        self._callbacks: dict[int, Callable[[], None]] = {}
        asyncio.get_running_loop().add_reader(descriptor, self._receive)

    def add(self, folder: Path, callback: Callable[[], None]) -> int:
        """Answers the watch's number for :meth:`remove`. Raises OSError."""
        number = _libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _EVENTS)
        if number < 0:
            raise _error(str(folder))
        self._callbacks[number] = callback
        return int(number)

    def remove(self, number: int) -> None:
        if self._callbacks.pop(number, None) is not None:
            _libc.inotify_rm_watch(self._descriptor, number)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._callbacks.clear()

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._descriptor, 1 << 16)
            called = set()
            position = 0
            while position < len(data):
                number, _, _, length = _HEADER.unpack_from(data, position)
                position += _HEADER.size + length
                if number not in called and (callback := self._callbacks.get(number)):
                    called.add(number)
                    callback()


def _error(what: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code), what)
