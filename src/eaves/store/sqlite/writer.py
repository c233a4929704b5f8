"""Group commit: every write of one file goes through one connection, many in one transaction.

A job is a function that reads, checks and writes through the connection. Jobs that wait are run one after the other in one
transaction, then the transaction is committed, which waits for the disk, and then all of them are answered. While one group
commits the next gathers.

Where the work is done: jobs are short (10–50 µs) and run on the loop's thread, only ``COMMIT`` runs in a thread of its own. So
no statement waits for the interpreter lock, and the loop never waits for the disk. A job that is known to be long is submitted
with ``long``: its whole transaction, which it shares with other long ones, runs in the thread.

The contract of a job: it raises a :class:`~eaves.store.errors.StoreError` only before its first write (that is its answer, the
others of the group are unaffected), and it can be run again after a roll-back.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from eaves.store.errors import StoreError, StoreUnavailableError
from eaves.store.sqlite.faults import wrap_fault

T = TypeVar("T")

GROUP_JOBS = 256
LONG_GROUP_JOBS = 16
GROUP_S = 0.003
"""A group takes no more jobs after this long on the loop; the rest go with the next."""

JOB_FAULTS = (
    ValueError,
    TypeError,
    OverflowError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.IntegrityError,
)
"""What a value that SQLite cannot hold, or a broken constraint, raises: the fault of one job, not of the group."""


class Job(Generic[T]):
    """``then`` is called on the loop after the commit, in commit order, before the answer is given."""

    __slots__ = ("answer", "future", "refusal", "run", "then")

    def __init__(
        self, run: Callable[[sqlite3.Connection], T], then: Callable[[T], None] | None, future: asyncio.Future[T]
    ) -> None:
        self.run = run
        self.then = then
        self.future = future
        self.answer: T | None = None
        self.refusal: Exception | None = None


class Writer:
    """The one user of the writing connection. ``on_rollback`` functions restore what jobs keep in memory about uncommitted writes."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.on_rollback: list[Callable[[], None]] = []
        self._connection = connection
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._short: collections.deque[Job[Any]] = collections.deque()
        self._long: collections.deque[Job[Any]] = collections.deque()
        self._is_busy = False
        self._turn_of_short = True
        self._is_closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._commands: queue.SimpleQueue[tuple[list[Job[Any]], bool] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=f"commit-{path.name}", daemon=True)
        self._thread.start()

    def submit(
        self,
        run: Callable[[sqlite3.Connection], T],
        then: Callable[[T], None] | None = None,
        *,
        long: bool = False,
    ) -> asyncio.Future[T]:
        """Queue a job; its future has the answer once that is durable, or the StoreError."""
        future: asyncio.Future[T] = self._loop.create_future()
        if self._is_closed:
            future.set_exception(StoreUnavailableError("the store is closed", element=f"store {self._path.name}"))
            return future
        (self._long if long else self._short).append(Job(run, then, future))
        if not self._is_busy:
            self._is_busy = True
            self._idle.clear()
            # Not at once: the jobs that other tasks submit in this turn of the loop belong in the same group.
            self._loop.call_soon(self._start)
        return future

    async def close(self) -> None:
        """Answer everything that was submitted, then let go of the connection, which the caller closes."""
        self._is_closed = True
        await self._idle.wait()
        self._commands.put(None)
        await asyncio.to_thread(self._thread.join)

    def _start(self) -> None:
        """Begin the next group, or rest."""
        if self._long and not (self._short and self._turn_of_short):
            self._turn_of_short = True
            group = [self._long.popleft() for _ in range(min(len(self._long), LONG_GROUP_JOBS))]
            self._commands.put(([job for job in group if not job.future.cancelled()], True))
        elif self._short:
            self._turn_of_short = False
            self._run_group()
        else:
            self._is_busy = False
            self._idle.set()

    def _run_group(self) -> None:
        group: list[Job[Any]] = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            changes = self._connection.total_changes
            fault = self._fill(group)
        except sqlite3.Error as error:
            self._roll_back()
            self._refuse(group, wrap_fault(error, self._path))
            self._loop.call_soon(self._start)
            return
        except BaseException as error:
            # A defect in a job: nobody of the group may wait for ever.
            self._roll_back()
            self._refuse(group, StoreUnavailableError("a write failed", details=repr(error)))
            self._loop.call_soon(self._start)
            raise
        if fault is not None:
            self._roll_back()
            self._short.extendleft(reversed(group))
            self._loop.call_soon(self._start)
        elif self._connection.total_changes == changes:
            # Nothing was written, so there is nothing to wait for.
            self._connection.execute("COMMIT")
            self._finish(group, None)
        else:
            self._commands.put((group, False))

    def _fill(self, group: list[Job[Any]]) -> Job[Any] | None:
        """Run waiting jobs. Answers the one whose values broke the transaction, which is not in the group then."""
        deadline = time.perf_counter() + GROUP_S
        while self._short and len(group) < GROUP_JOBS:
            job = self._short.popleft()
            if job.future.cancelled():
                continue
            group.append(job)
            try:
                job.answer = job.run(self._connection)
                job.refusal = None
            except StoreError as error:
                job.refusal = error
            except JOB_FAULTS as error:
                group.pop()
                _set_exception(job, error)
                return job
            if time.perf_counter() > deadline:
                break
        return None

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        for restore in self.on_rollback:
            restore()

    def _serve(self) -> None:
        """The thread: commits groups, runs long jobs."""
        while (command := self._commands.get()) is not None:
            group, is_long = command
            error: sqlite3.Error | None = None
            try:
                if is_long:
                    _run_long_group(group, self._connection)
                else:
                    self._connection.execute("COMMIT")
            except sqlite3.Error as fault:
                error = fault
            self._loop.call_soon_threadsafe(self._finish, group, error)

    def _finish(self, group: list[Job[Any]], error: sqlite3.Error | None) -> None:
        if error is not None:
            self._roll_back()
            self._refuse(group, wrap_fault(error, self._path))
        else:
            for job in group:
                if job.refusal is None and job.then is not None:
                    job.then(job.answer)
            for job in group:
                if job.refusal is not None:
                    _set_exception(job, job.refusal)
                elif not job.future.done():
                    job.future.set_result(job.answer)
        self._start()

    @staticmethod
    def _refuse(group: list[Job[Any]], error: Exception) -> None:
        for job in group:
            _set_exception(job, error)


def _run_long_group(group: list[Job[Any]], connection: sqlite3.Connection) -> None:
    """Run and commit; from the start again without a job whose values broke the transaction."""
    jobs = list(group)
    while jobs:
        connection.execute("BEGIN IMMEDIATE")
        faulty = _run_long_jobs(jobs, connection)
        if faulty is None:
            connection.execute("COMMIT")
            return
        connection.execute("ROLLBACK")
        jobs.remove(faulty)


def _run_long_jobs(jobs: list[Job[Any]], connection: sqlite3.Connection) -> Job[Any] | None:
    for job in jobs:
        try:
            job.answer = job.run(connection)
            job.refusal = None
        except StoreError as error:
            job.refusal = error
        except JOB_FAULTS as error:
            job.refusal = error
            return job
    return None


def _set_exception(job: Job[Any], error: Exception) -> None:
    if not job.future.done():
        job.future.set_exception(error)
