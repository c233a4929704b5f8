"""Network namespaces for tests: a node, a router, a neighbour, each with a network stack of its own that ends with the test."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import threading
from collections.abc import Iterator

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """Lives as long as it is open. ``path`` is good for ``nsenter --net``, ``ip link set … netns`` takes ``anchor``'s pid."""

    def __init__(self, fd: int = -1) -> None:
        """``fd``: of a namespace that is there already; without it a new one is made."""
        self._fd = fd
        if fd < 0:
            thread = threading.Thread(target=self._make, name="make namespace")
            thread.start()
            thread.join()
            if self._fd < 0:
                raise OSError("no network namespace can be made")
        self.path = f"/proc/{os.getpid()}/fd/{self._fd}"
        if fd < 0:
            self.run("ip", "link", "set", "lo", "up")

    @classmethod
    def at(cls, path: str) -> Namespace:
        """The namespace that is pinned at ``path``."""
        return cls(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def _make(self) -> None:
        _enter_new()
        self._fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Namespace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def argv(self, *command: str) -> list[str]:
        """The command as one that runs inside."""
        return ["nsenter", f"--net={self.path}", *command]

    def run(self, *command: str, check: bool = True, timeout_s: float = 30) -> str:
        """Run inside; answers what it wrote. Raises CalledProcessError."""
        done = subprocess.run(
            self.argv(*command),
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def batch(self, *lines: str) -> None:
        """Lines for ``ip -batch`` inside."""
        done = subprocess.run(
            self.argv("ip", "-batch", "-"),
            check=False,
            capture_output=True,
            text=True,
            input="\n".join([*lines, ""]),
            timeout=30,
        )
        if done.returncode:
            raise AssertionError(f"{lines}: {done.stderr}")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread, and what it starts, is inside meanwhile."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _set(self._fd)
        try:
            yield
        finally:
            _set(home)
            os.close(home)

    def connect(self, name: str, other: Namespace, other_name: str) -> None:
        """A cable to another namespace: an interface here and one there, both up."""
        fd = f"/proc/{os.getpid()}/fd/{other._fd}"
        self.run("ip", "link", "add", name, "type", "veth", "peer", "name", other_name, "netns", fd)
        self.run("ip", "link", "set", name, "up")
        other.run("ip", "link", "set", other_name, "up")


def _enter_new() -> None:
    if _LIBC.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")


def _set(fd: int) -> None:
    if _LIBC.setns(fd, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
