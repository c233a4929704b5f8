"""Group commit: what is answered when, and that one job's fault is not another's."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eaves.store.errors import DiskFullError, StoreError, StoreUnavailableError
from eaves.store.sqlite.writer import Writer


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[Writer]:
    connection = sqlite3.connect(tmp_path / "t.db", isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE t (x INTEGER UNIQUE)")
    made = Writer(connection, tmp_path / "t.db")
    yield made
    await made.close()
    connection.close()


def values_in(tmp_path: Path) -> list[int]:
    connection = sqlite3.connect(tmp_path / "t.db")
    rows = connection.execute("SELECT x FROM t ORDER BY x").fetchall()
    connection.close()
    return [row[0] for row in rows]


async def test_jobs_that_wait_share_transactions_and_answer_in_order(writer: Writer, tmp_path: Path) -> None:
    commits: list[str] = []
    seen: list[int] = []

    def job(number: int) -> asyncio.Future[int]:
        def work(connection: sqlite3.Connection) -> int:
            connection.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)
            connection.execute("INSERT INTO t VALUES (?)", (number,))
            return number

        return writer.submit(work, seen.append)

    assert await asyncio.gather(*(job(number) for number in range(200))) == list(range(200))
    assert seen == list(range(200))
    assert values_in(tmp_path) == list(range(200))
    assert 1 <= len(commits) <= 50


@pytest.mark.parametrize("fault", ["duplicate", 2**70, "\ud800", object()])
async def test_a_job_with_a_fault_fails_alone_and_the_others_happen_once(
    writer: Writer, tmp_path: Path, fault: object
) -> None:
    def put(connection: sqlite3.Connection, value: object) -> object:
        connection.execute("INSERT INTO t VALUES (?)", (value,))
        return value

    values: list[object] = [1, 2, 1 if fault == "duplicate" else fault, 3]
    answers = await asyncio.gather(
        *(writer.submit(lambda connection, value=value: put(connection, value)) for value in values),  # type: ignore[misc]
        return_exceptions=True,
    )
    assert isinstance(answers.pop(2), Exception)
    assert answers == [1, 2, 3]
    assert values_in(tmp_path) == [1, 2, 3]


async def test_a_refusal_fails_alone(writer: Writer, tmp_path: Path) -> None:
    def refuse(_connection: sqlite3.Connection) -> None:
        raise StoreError("no")

    answers = await asyncio.gather(
        writer.submit(lambda connection: connection.execute("INSERT INTO t VALUES (1)").rowcount),
        writer.submit(refuse),
        writer.submit(refuse, long=True),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [int, StoreError, StoreError]
    assert values_in(tmp_path) == [1]


async def test_a_defect_in_a_job_leaves_nobody_waiting(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eaves.store.sqlite.writer.GROUP_S", 60.0)  # both jobs are of one group, on a busy machine too
    loop = asyncio.get_running_loop()
    reported: list[object] = []
    loop.set_exception_handler(lambda _loop, context: reported.append(context["exception"]))

    def defect(_connection: sqlite3.Connection) -> None:
        raise KeyError("defect")

    answers = await asyncio.gather(
        writer.submit(lambda connection: connection.execute("INSERT INTO t VALUES (1)").rowcount),
        writer.submit(defect),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [StoreUnavailableError, StoreUnavailableError]
    assert isinstance(reported[0], KeyError)
    assert await writer.submit(lambda connection: connection.execute("INSERT INTO t VALUES (1)").rowcount) == 1


async def test_a_full_disk_fails_the_group_restores_and_passes(writer: Writer, tmp_path: Path) -> None:
    restored: list[bool] = []
    writer.on_rollback.append(lambda: restored.append(True))

    def put(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES (randomblob(100000))")

    await writer.submit(lambda connection: connection.execute("PRAGMA max_page_count = 3").fetchall())
    answers = await asyncio.gather(writer.submit(put), writer.submit(put), return_exceptions=True)
    assert {type(answer) for answer in answers} <= {DiskFullError, type(None)}
    assert DiskFullError in {type(answer) for answer in answers}
    with pytest.raises(DiskFullError):
        await writer.submit(put, long=True)
    assert restored
    await writer.submit(lambda connection: connection.execute("PRAGMA max_page_count = 3000").fetchall())
    await writer.submit(put)
    await writer.submit(put, long=True)
    assert len(values_in(tmp_path)) == 2


async def test_a_caller_that_left_before_its_turn_writes_nothing(writer: Writer, tmp_path: Path) -> None:
    left = writer.submit(lambda connection: connection.execute("INSERT INTO t VALUES (1)").rowcount)
    kept = writer.submit(lambda connection: connection.execute("INSERT INTO t VALUES (2)").rowcount)
    left.cancel()
    await kept
    assert values_in(tmp_path) == [2]


async def test_long_jobs_do_not_starve_short_ones(writer: Writer) -> None:
    order: list[str] = []
    long = [writer.submit(lambda _c: None, lambda _a: order.append("long"), long=True) for _ in range(4)]
    short = [writer.submit(lambda _c: None, lambda _a: order.append("short")) for _ in range(2)]
    await asyncio.gather(*long, *short)
    assert order.index("short") <= 1


async def test_closing_answers_what_was_submitted_and_refuses_the_rest(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "t.db", isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE t (x INTEGER UNIQUE)")
    writer = Writer(connection, tmp_path / "t.db")
    pending = writer.submit(lambda connection: connection.execute("INSERT INTO t VALUES (1)").rowcount)
    await writer.close()
    assert await pending == 1
    with pytest.raises(StoreUnavailableError, match="closed"):
        await writer.submit(lambda _connection: None)
    connection.close()
