"""An operator who works on while daemons die: keeps what the controller acknowledged, to be compared with what is there in the end."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable
from types import TracebackType

import httpx2

from eaves.testing.system import ControllerHost, Operator

PAUSE_S = 0.05
"""Between writes; the machine has other things to do too."""


class OperatorLoad:
    """Creates a ConfigMap at each step and every ``change_every`` steps calls ``change`` with a number to write somewhere.

    Use as a context manager; it works in a thread with a client of its own. A write that failed is repeated until it is
    acknowledged, as an operator would do who cannot know whether it arrived.
    """

    def __init__(
        self,
        controller: ControllerHost,
        namespace: str,
        change: Callable[[Operator, int], None],
        *,
        change_every: int = 40,
    ) -> None:
        self._operator = Operator(controller.kubeconfig)
        self._namespace = namespace
        self._change = change
        self._change_every = change_every
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="operator load")
        self._failure: BaseException | None = None
        self.created: dict[str, str] = {}
        """Name → value of every acknowledged ConfigMap."""
        self.changed_to = 0
        """The last acknowledged number."""

    def __enter__(self) -> OperatorLoad:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(60)
        self._operator.close()
        if error is None and self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            for step in itertools.count(1):
                self._repeat(functools.partial(self._create, step))
                if step % self._change_every == 0:
                    number = step // self._change_every
                    if self._repeat(functools.partial(self._change, self._operator, number)):
                        self.changed_to = number
                if self._stopping.wait(PAUSE_S):
                    return
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            self._failure = error

    def _create(self, step: int) -> None:
        name, value = f"note-{step}", f"value-{step * 7919}"
        if self._operator.get("configmaps", name, self._namespace) is None:
            self._operator.create("configmaps", {"metadata": {"name": name}, "data": {"value": value}}, self._namespace)
        self.created[name] = value

    def _repeat(self, write: Callable[[], None]) -> bool:
        """True when it was acknowledged, False when the load ends before."""
        while not self._stopping.is_set():
            try:
                write()
            except httpx2.HTTPError:
                self._stopping.wait(PAUSE_S)
            else:
                return True
        return False
